-- The life of a run: start, lease, wait, resume, end. Called by records.py.

-- What a run may spend: tokens, millionths of the accounting currency, calls.
create or replace function limits_of(v runs) returns jsonb language sql immutable
return jsonb_build_array(v.limit_tokens, v.limit_micros, v.limit_calls);
revoke execute on function limits_of(runs) from public;

-- Accepts a request: one run on one thread, refused as `busy` while the thread has an open one.
create or replace function start_run(p jsonb)
returns table (code text, id text, open_run text)
language plpgsql security definer set search_path = public, pg_temp as $$
declare v_open text; v_run runs;
begin
  perform pg_advisory_xact_lock(7300, hashtext(current_tenant() || '/' || (p ->> 'thread')));
  select r.id into v_open from runs r
   where r.thread = p ->> 'thread' and r.kind = 'run' and r.status in ('queued', 'running', 'waiting');
  if found then return query select 'busy', null::text, v_open; return; end if;
  -- A thread is one person's: what is in it goes on with it.
  if exists (select 1 from runs r where r.thread = p ->> 'thread' and r.kind = 'run'
                and r.requester <> current_principal()) then
    raise exception 'thread % is another person''s', p ->> 'thread' using errcode = 'insufficient_privilege';
  end if;
  insert into runs
    (tenant, id, thread, flow, requester, input, correlation, head, limit_tokens, limit_micros, limit_calls)
  values (current_tenant(), p ->> 'id', p ->> 'thread', p ->> 'flow', current_principal(), p -> 'input',
          p ->> 'correlation', journal_genesis(p ->> 'id'), (p ->> 'tokens')::bigint, (p ->> 'micros')::bigint,
          (p ->> 'calls')::bigint)
  returning * into v_run;
  perform journal_record(v_run, null, null, jsonb_build_object(
    'kind', 'requested', 'key', 'requested', 'user', current_principal(), 'thread', p ->> 'thread',
    'correlation', p ->> 'correlation', 'input', p -> 'input', 'flow', v_run.flow, 'limits', limits_of(v_run),
    'rows', jsonb_build_array(governed_row(v_run))));
  return query select 'ok', p ->> 'id', null::text;
end $$;
revoke execute on function start_run(jsonb) from public;
grant execute on function start_run(jsonb) to cs_app;

-- Remembers the plan that a run follows now and the budget that it brings.
create or replace function adopt_plan(p_run text, p_fence int, p jsonb)
returns table (code text)
language plpgsql security definer set search_path = public, pg_temp as $$
declare v_run runs; v_end record;
begin
  select * into v_run from runs where runs.id = p_run for no key update;
  if not is_led(v_run, p_fence) then
    return query select 'lease_lost'; return;
  end if;
  if v_run.plan_hash is distinct from p ->> 'hash' then
    perform void_run_approvals(p_run, 'approval_stale');
    -- Read again: what was voided is on record. The row is told as it will be, and changed once.
    select * into v_run from runs where runs.id = p_run;
    v_run.plan := p -> 'plan';
    v_run.plan_hash := p ->> 'hash';
    v_run.limit_tokens := (p ->> 'tokens')::bigint;
    v_run.limit_micros := (p ->> 'micros')::bigint;
    v_run.limit_calls := (p ->> 'calls')::bigint;
    select * into v_end from journal_write(v_run, null, array[journal_told_by_app(p -> 'facts')
      || jsonb_build_object('kind', 'planned', 'role', 'planner', 'plan', p ->> 'hash', 'document', p -> 'plan',
        'limits', limits_of(v_run), 'checkpoint', p ->> 'checkpoint', 'rows', jsonb_build_array(governed_row(v_run)))]);
    update runs set plan = v_run.plan, plan_hash = v_run.plan_hash, limit_tokens = v_run.limit_tokens,
           limit_micros = v_run.limit_micros, limit_calls = v_run.limit_calls, seq = v_end.new_seq, head = v_end.new_head
     where runs.id = p_run;
  end if;
  return query select 'ok';
end $$;
revoke execute on function adopt_plan(text, int, jsonb) from public;
grant execute on function adopt_plan(text, int, jsonb) to cs_app;

-- Ends one attempt of a run, whatever the ending; a stopped run may be resumed by a person.
create or replace function finish_run(p_run text, p_fence int, p_status text, p_reason text, p_message text,
                                      p_body jsonb)
returns table (code text)
language plpgsql security definer set search_path = public, pg_temp as $$
declare v_run runs; v_end record;
begin
  select * into v_run from runs where runs.id = p_run for no key update;
  if not is_led(v_run, p_fence) then
    return query select 'lease_lost'; return;
  end if;
  perform void_run_approvals(p_run, 'run_ended');
  -- As in adopt_plan: the row is told as it will be, and changed once.
  select * into v_run from runs where runs.id = p_run;
  v_run.status := p_status;
  v_run.reason := p_reason;
  v_run.message := p_message;
  v_run.ended := clock_timestamp();
  select * into v_end from journal_write(v_run, null, array[journal_told_by_app(p_body) || jsonb_build_object(
    'kind', 'ended', 'key', 'ended:' || v_run.attempt, 'status', p_status, 'reason', p_reason, 'message', p_message,
    'plan', v_run.plan_hash, 'rows', jsonb_build_array(governed_row(v_run)))]);
  update runs set status = v_run.status, reason = v_run.reason, message = v_run.message, worker = null,
         ended = v_run.ended, waits_for = null, seq = v_end.new_seq, head = v_end.new_head
   where runs.id = p_run;
  return query select 'ok';
end $$;
revoke execute on function finish_run(text, int, text, text, text, jsonb) from public;
grant execute on function finish_run(text, int, text, text, text, jsonb) to cs_app;

-- Puts a stopped run back into the queue, by a person.
create or replace function resume_run(p_run text)
returns table (code text, status text)
language plpgsql security definer set search_path = public, pg_temp as $$
declare v_run runs;
begin
  select * into v_run from runs where runs.id = p_run for no key update;
  if not found then return query select 'not_found', null::text; return; end if;
  if v_run.status <> 'stopped' then return query select 'conflict', v_run.status; return; end if;
  perform pg_advisory_xact_lock(7300, hashtext(current_tenant() || '/' || v_run.thread));
  if exists (select 1 from runs r where r.thread = v_run.thread and r.kind = 'run' and r.id <> p_run
              and r.status in ('queued', 'running', 'waiting')) then
    return query select 'busy', v_run.status; return;
  end if;
  update runs set status = 'queued', attempt = attempt + 1, reason = null, message = '', ended = null,
         cancel = null, beat = clock_timestamp() where runs.id = p_run returning * into v_run;
  perform journal_record(v_run, null, null, jsonb_build_object('kind', 'resumed', 'key', 'resumed:' || v_run.attempt - 1,
    'user', current_principal(), 'rows', jsonb_build_array(governed_row(v_run))));
  return query select 'ok', 'queued';
end $$;
revoke execute on function resume_run(text) from public;
grant execute on function resume_run(text) to cs_app;

-- Parks a run after its graph returned: waiting if the question is still open, else queued again at once.
create or replace function park_run(p_run text, p_fence int, p_waits_for text, p_answers int)
returns table (code text, status text)
language plpgsql security definer set search_path = public, pg_temp as $$
declare v_run runs; v_open boolean; v_status text;
begin
  select * into v_run from runs r where r.id = p_run for no key update;
  if not is_led(v_run, p_fence) then
    return query select 'lease_lost', v_run.status; return;
  end if;
  if p_waits_for = 'clarify' then v_open := jsonb_array_length(v_run.answers) <= p_answers;
  else select a.status = 'open' into v_open from approvals a where a.id = p_waits_for;
  end if;
  v_status := case when v_run.cancel is null and v_open then 'waiting' else 'queued' end;
  -- While people look at a failed audit, the run says so.
  update runs r set status = v_status, waits_for = case v_status when 'waiting' then p_waits_for end, worker = null,
         beat = clock_timestamp(), reason = case v_status when 'waiting' then
           (select 'audit_failed' from approvals a where a.id = p_waits_for and a.kind = 'audit') end
   where r.id = p_run;
  -- It is no entry, but what callers wait for who wait for an answer.
  if v_status = 'waiting' then perform pg_notify('journal', p_run || ':' || v_run.seq || ':parked'); end if;
  return query select 'ok', v_status;
end $$;
revoke execute on function park_run(text, int, text, int) from public;
grant execute on function park_run(text, int, text, int) to cs_app;

-- Lets go of a run without an entry; nobody takes it for a while.
create or replace function put_run_back(p_run text, p_fence int) returns void
language sql security definer set search_path = public, pg_temp as $$
  update runs set status = 'queued', worker = null, beat = clock_timestamp() + interval '10 s'
   where id = p_run and is_led(runs, p_fence)
$$;
revoke execute on function put_run_back(text, int) from public;
grant execute on function put_run_back(text, int) to cs_app;

-- The requester's next message, when the run asked a question.
create or replace function answer_run(p_run text, p_text text)
returns table (code text, woken boolean)
language plpgsql security definer set search_path = public, pg_temp as $$
declare v_run runs;
begin
  select * into v_run from runs r where r.id = p_run for no key update;
  if not found or v_run.requester <> current_principal() then return query select 'not_found', false; return; end if;
  if v_run.status <> 'waiting' or v_run.waits_for <> 'clarify' then return query select 'conflict', false; return; end if;
  update runs set answers = answers || to_jsonb(p_text), status = 'queued', waits_for = null, beat = clock_timestamp()
   where id = p_run returning * into v_run;
  perform journal_record(v_run, null, null, jsonb_build_object('kind', 'answered', 'user', current_principal(),
    'text', p_text, 'rows', jsonb_build_array(governed_row(v_run))));
  return query select 'ok', true;
end $$;
revoke execute on function answer_run(text, text) from public;
grant execute on function answer_run(text, text) to cs_app;

-- Ends a run that waits; a running one is told and stops at its next claim.
create or replace function cancel_run(p_run text, p_reason text)
returns table (code text, status text)
language plpgsql security definer set search_path = public, pg_temp as $$
declare v_run runs; v_was text;
begin
  select * into v_run from runs r where r.id = p_run for no key update;
  if not found then return query select 'not_found', null::text; return; end if;
  if v_run.status in ('done', 'failed', 'denied', 'cancelled') then
    return query select 'conflict', v_run.status; return;
  end if;
  v_was := v_run.status;
  update runs r set cancel = p_reason where r.id = p_run returning * into v_run;
  perform journal_record(v_run, null, null, jsonb_build_object('kind', 'cancel', 'by', current_principal(),
    'reason', p_reason, 'rows', jsonb_build_array(governed_row(v_run))));
  if v_was = 'running' then return query select 'ok', v_was; return; end if;
  perform void_run_approvals(p_run, 'cancelled');
  update runs r set status = 'cancelled', reason = 'cancelled', ended = clock_timestamp(), waits_for = null
   where r.id = p_run returning * into v_run;
  -- A stopped run has ended before; that it will not go on is another ending.
  perform journal_record(v_run, null, null, jsonb_build_object('kind', 'ended',
    'key', 'ended:' || v_run.attempt || case v_was when 'stopped' then ':cancelled' else '' end, 'status', 'cancelled',
    'reason', 'cancelled', 'plan', v_run.plan_hash, 'rows', jsonb_build_array(governed_row(v_run))));
  return query select 'ok', 'cancelled';
end $$;
revoke execute on function cancel_run(text, text) from public;
grant execute on function cancel_run(text, text) to cs_app;

-- Closes questions that nobody answered in time, in every tenant, and queues their runs.
create or replace function expire_approvals() returns table (id text)
language plpgsql security definer set search_path = public, pg_temp as $$
declare v record;
begin
  for v in select e.approval, e.run, e.tenant from overdue_approvals() e loop
    perform enter(v.tenant, null, '{}', null);
    perform 1 from runs r where r.id = v.run for no key update;
    if close_approval(v.approval, 'expired', 'approval_timeout', null, null) then
      id := v.run; return next;
    end if;
  end loop;
  perform enter(null, null, '{}', '{}');
end $$;
revoke execute on function expire_approvals() from public, cs_app;
grant execute on function expire_approvals() to cs_worker;

-- Owned by the system role, which works for no tenant and sees what its policies name.
set local role cs_system;

-- Open questions past their time, of every tenant.
create or replace function overdue_approvals() returns table (approval text, run text, tenant text)
language sql security definer set search_path = public, pg_temp as $$
  select a.id, a.run, a.tenant from approvals a
   where a.status = 'open' and a.expires <= clock_timestamp() order by a.run
$$;
revoke execute on function overdue_approvals() from public;
grant execute on function overdue_approvals() to cs_owner;

-- Takes a queued run for a worker; the fence grows with each lease.
create or replace function lease_run(p_run text, p_worker int, p_flows text[])
returns table (tenant text, id text, thread text, flow text, requester text, fence int, input jsonb, correlation text)
language sql security definer set search_path = public, pg_temp as $$
  update runs r set status = 'running', fence = r.fence + 1, worker = p_worker, beat = clock_timestamp()
   where r.id = p_run and r.status = 'queued' and r.flow = any(p_flows)
  returning r.tenant, r.id, r.thread, r.flow, r.requester, r.fence, r.input, r.correlation
$$;
revoke execute on function lease_run(text, int, text[]) from public, cs_app;
grant execute on function lease_run(text, int, text[]) to cs_worker;

-- Says that a worker is alive.
create or replace function beat_runs(p_worker int)
returns void language sql security definer set search_path = public, pg_temp as $$
  update runs set beat = clock_timestamp() where worker = p_worker and status = 'running'
$$;
revoke execute on function beat_runs(int) from public, cs_app;
grant execute on function beat_runs(int) to cs_worker;

-- Queues again what dead workers (their session lock is gone) or hung ones (no beat) left running.
create or replace function sweep_runs(p_hung interval)
returns table (id text)
language sql security definer set search_path = public, pg_temp as $$
  -- A clock that was set back leaves beats of a time to come: hung workers are then counted from now.
  update runs set beat = clock_timestamp() where status = 'running' and beat > clock_timestamp() + p_hung;
  update runs r set status = 'queued', worker = null, beat = clock_timestamp()
   where r.status = 'running'
     and (r.beat < clock_timestamp() - p_hung
          or not exists (select 1 from pg_locks l
                          where l.locktype = 'advisory' and l.classid = 7100 and l.objid = r.worker
                            and l.objsubid = 2 and l.granted and l.mode = 'ExclusiveLock'
                            and l.database = (select oid from pg_database where datname = current_database())))
  returning r.id
$$;
revoke execute on function sweep_runs(interval) from public, cs_app;
grant execute on function sweep_runs(interval) to cs_worker;

reset role;
