-- The run row is lease, chain head, budget and queue entry in one; the journal is its append-only story.
-- Lock order everywhere: authority, run, effect, approval.

create sequence worker_numbers as int;

create table runs (
  tenant text not null,
  id text primary key,
  kind text not null default 'run' check (kind in ('run', 'authority')),
  thread text not null,
  requester text check (kind = 'authority' or requester is not null),
  status text not null default 'queued'
    check (status in ('queued', 'running', 'waiting', 'done', 'failed', 'denied', 'stopped', 'cancelled')),
  reason text,
  message text not null default '',
  input jsonb not null,
  answers jsonb not null default '[]',
  correlation text not null,
  plan jsonb,
  plan_hash text,
  waits_for text,
  attempt int not null default 1,
  fence int not null default 0,
  worker int,
  beat timestamptz,
  cancel text,
  seq int not null default 0,
  head bytea not null,
  limit_tokens bigint not null, spent_tokens bigint not null default 0, reserved_tokens bigint not null default 0,
  limit_micros bigint not null, spent_micros bigint not null default 0, reserved_micros bigint not null default 0,
  limit_calls bigint not null, spent_calls bigint not null default 0, reserved_calls bigint not null default 0,
  spent_millis bigint not null default 0,
  created timestamptz not null default clock_timestamp(),
  ended timestamptz,
  foreign key (tenant, requester) references principals
);
create unique index runs_one_open_per_thread on runs (tenant, thread)
  where kind = 'run' and status in ('queued', 'running', 'waiting');
create index runs_recent on runs (tenant, created desc);
create index runs_active on runs (status) where status in ('queued', 'running');

create table journal (
  tenant text not null,
  run text not null references runs,
  seq int not null,
  prev bytea not null,
  hash bytea not null,
  body text not null,
  kind text not null generated always as ((body::jsonb) ->> 'kind') stored,
  key text generated always as ((body::jsonb) ->> 'key') stored,
  effect text generated always as ((body::jsonb) ->> 'effect') stored,
  call_hash text generated always as ((body::jsonb) ->> 'call') stored,
  primary key (run, seq)
);
create unique index journal_once on journal (run, key) where key is not null;
create index journal_effect on journal (effect) where effect is not null;
create index journal_calls on journal (run, call_hash) where call_hash is not null;

alter table runs enable row level security;
alter table runs force row level security;
alter table journal enable row level security;
alter table journal force row level security;
create policy tenant on runs using (tenant = current_tenant()) with check (tenant = current_tenant());
create policy tenant on journal using (tenant = current_tenant()) with check (tenant = current_tenant());
create policy system on runs to cs_system using (true) with check (true);
grant select on runs, journal to cs_app;
grant select, update on runs to cs_system;
grant usage on sequence worker_numbers to cs_app;

create function journal_is_append_only() returns trigger language plpgsql as $$
begin
  raise exception 'the journal is append-only: % refused', tg_op using errcode = 'insufficient_privilege';
end $$;
create trigger journal_no_change before update or delete on journal
  for each row execute function journal_is_append_only();
create trigger journal_no_truncate before truncate on journal
  for each statement execute function journal_is_append_only();
alter table journal enable always trigger journal_no_change;
alter table journal enable always trigger journal_no_truncate;

create function journal_announce() returns trigger language plpgsql as $$
begin
  perform pg_notify('journal', new.run || ':' || new.seq);
  return null;
end $$;
create trigger journal_announce after insert on journal for each row execute function journal_announce();

create function journal_genesis(p_run text) returns bytea language sql immutable as $$
  select sha256(convert_to('countersign journal ' || p_run, 'UTF8'))
$$;

-- Extends the chain of a run and moves its budget with the same update; the caller holds the run row's lock.
-- Bodies are objects with at least `kind`; costs are objects {tokens, micros, calls, millis} or null for nothing.
create function journal_record(p_run runs, p_reserve jsonb, p_spend jsonb, variadic p_bodies jsonb[]) returns int
language plpgsql set search_path = public, pg_temp as $$
declare
  v_seq int := p_run.seq; v_head bytea := p_run.head; v_hash bytea; v_text text; v_body jsonb;
begin
  foreach v_body in array p_bodies loop
    v_seq := v_seq + 1;
    v_text := (v_body || jsonb_build_object(
      'at', to_char(clock_timestamp() at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')))::text;
    v_hash := sha256(v_head || convert_to(p_run.id, 'UTF8') || int4send(v_seq) || convert_to(v_text, 'UTF8'));
    insert into journal (tenant, run, seq, prev, hash, body)
    values (p_run.tenant, p_run.id, v_seq, v_head, v_hash, v_text);
    v_head := v_hash;
  end loop;
  if p_reserve is null and p_spend is null then
    update runs set seq = v_seq, head = v_head where id = p_run.id;
    return v_seq;
  end if;
  update runs set seq = v_seq, head = v_head,
         reserved_tokens = reserved_tokens + coalesce((p_reserve ->> 'tokens')::bigint, 0),
         reserved_micros = reserved_micros + coalesce((p_reserve ->> 'micros')::bigint, 0),
         reserved_calls = reserved_calls + coalesce((p_reserve ->> 'calls')::bigint, 0),
         spent_tokens = spent_tokens + coalesce((p_spend ->> 'tokens')::bigint, 0),
         spent_micros = spent_micros + coalesce((p_spend ->> 'micros')::bigint, 0),
         spent_calls = spent_calls + coalesce((p_spend ->> 'calls')::bigint, 0),
         spent_millis = spent_millis + coalesce((p_spend ->> 'millis')::bigint, 0)
   where id = p_run.id;
  return v_seq;
end $$;

-- Extends the chain of a run whose row the caller may not have read.
create function journal_extend(p_run text, variadic p_bodies jsonb[]) returns int
language plpgsql set search_path = public, pg_temp as $$
declare v_run runs;
begin
  select * into strict v_run from runs where id = p_run for no key update;
  return journal_record(v_run, null, null, variadic p_bodies);
end $$;

-- What a reservation gives back; integers stay exact.
create function negative(p_cost jsonb) returns jsonb language sql immutable as $$
  select jsonb_build_object('tokens', -(p_cost ->> 'tokens')::bigint, 'micros', -(p_cost ->> 'micros')::bigint,
                            'calls', -(p_cost ->> 'calls')::bigint)
$$;

-- Kinds that only the functions of authority, gateway and approvals write: nobody else can tell these stories.
create function is_reserved_kind(p_kind text) returns boolean language sql immutable as $$
  select coalesce(p_kind in ('requested', 'planned', 'proposed', 'permitted', 'outcome', 'interrupted', 'resolved',
    'read', 'held', 'vote', 'vote_refused', 'question', 'approval', 'kill', 'unkill', 'policy', 'knowledge',
    'answered', 'cancel', 'resumed', 'ended'), true)
$$;

-- Appends one entry; an entry with a key is written at most once per run, and the recorded one is returned.
create function append(p_run text, p_fence int, p_body jsonb)
returns table (code text, fresh boolean, body jsonb)
language plpgsql security definer set search_path = public, pg_temp as $$
declare v_run runs; v_old text;
begin
  select * into v_run from runs where id = p_run for no key update;
  if not found then return query select 'not_found', false, null::jsonb; return; end if;
  if is_reserved_kind(p_body ->> 'kind') then return query select 'forbidden', false, null::jsonb; return; end if;
  if p_fence is not null and v_run.fence <> p_fence then
    return query select 'lease_lost', false, null::jsonb; return;
  end if;
  if p_body ? 'key' then
    select j.body into v_old from journal j where j.run = p_run and j.key = p_body ->> 'key';
    if found then return query select 'ok', false, v_old::jsonb; return; end if;
  end if;
  perform journal_record(v_run, null, null, p_body);
  return query select 'ok', true, p_body;
end $$;

-- Accepts a request: one run on one thread, refused as `busy` while the thread has an open one.
create function start_run(p jsonb)
returns table (code text, id text, open_run text)
language plpgsql security definer set search_path = public, pg_temp as $$
declare v_open text;
begin
  perform pg_advisory_xact_lock(7300, hashtext(current_tenant() || '/' || (p ->> 'thread')));
  select r.id into v_open from runs r
   where r.thread = p ->> 'thread' and r.kind = 'run' and r.status in ('queued', 'running', 'waiting');
  if found then return query select 'busy', null::text, v_open; return; end if;
  insert into runs (tenant, id, thread, requester, input, correlation, head, limit_tokens, limit_micros, limit_calls)
  values (current_tenant(), p ->> 'id', p ->> 'thread', current_principal(), p -> 'input', p ->> 'correlation',
          journal_genesis(p ->> 'id'), (p ->> 'tokens')::bigint, (p ->> 'micros')::bigint, (p ->> 'calls')::bigint);
  perform journal_extend(p ->> 'id', jsonb_build_object(
    'kind', 'requested', 'key', 'requested', 'user', current_principal(), 'thread', p ->> 'thread',
    'correlation', p ->> 'correlation', 'input', p -> 'input'));
  return query select 'ok', p ->> 'id', null::text;
end $$;

-- Takes a queued run for a worker; the fence grows with each lease.
create function lease_run(p_run text, p_worker int)
returns table (tenant text, id text, thread text, requester text, fence int, input jsonb, correlation text)
language sql security definer set search_path = public, pg_temp as $$
  update runs r set status = 'running', fence = r.fence + 1, worker = p_worker, beat = clock_timestamp()
   where r.id = p_run and r.status = 'queued'
  returning r.tenant, r.id, r.thread, r.requester, r.fence, r.input, r.correlation
$$;

-- Queues again what dead workers (their session lock is gone) or hung ones (no beat) left running.
create function sweep_runs(p_hung interval)
returns table (id text)
language sql security definer set search_path = public, pg_temp as $$
  update runs r set status = 'queued', worker = null, beat = clock_timestamp()
   where r.status = 'running'
     and (r.beat < clock_timestamp() - p_hung
          or not exists (select 1 from pg_locks l
                          where l.locktype = 'advisory' and l.classid = 7100 and l.objid = r.worker
                            and l.objsubid = 2 and l.granted
                            and l.database = (select oid from pg_database where datname = current_database())))
  returning r.id
$$;

-- Runs that stay queued without any worker taking them: their wake-up may have been lost.
create function forgotten_runs(p_age interval)
returns table (id text)
language sql security definer set search_path = public, pg_temp as $$
  update runs r set beat = clock_timestamp()
   where r.status = 'queued' and coalesce(r.beat, r.created) < clock_timestamp() - p_age
  returning r.id
$$;

create function beat_runs(p_worker int)
returns void language sql security definer set search_path = public, pg_temp as $$
  update runs set beat = clock_timestamp() where worker = p_worker and status = 'running'
$$;

-- Remembers the plan that a run follows now and the budget that it brings.
create function adopt_plan(p_run text, p_fence int, p jsonb)
returns table (code text)
language plpgsql security definer set search_path = public, pg_temp as $$
declare v_run runs;
begin
  select * into v_run from runs where runs.id = p_run for no key update;
  if v_run.fence is distinct from p_fence or v_run.status <> 'running' then
    return query select 'lease_lost'; return;
  end if;
  if v_run.plan_hash is distinct from p ->> 'hash' then
    perform void_run_approvals(p_run, 'approval_stale');
    update runs set plan = p -> 'plan', plan_hash = p ->> 'hash',
           limit_tokens = (p ->> 'tokens')::bigint, limit_micros = (p ->> 'micros')::bigint,
           limit_calls = (p ->> 'calls')::bigint
     where runs.id = p_run;
    perform journal_extend(p_run, (p -> 'facts')
      || jsonb_build_object('kind', 'planned', 'role', 'planner', 'plan', p ->> 'hash'));
  end if;
  return query select 'ok';
end $$;

-- Ends one attempt of a run, whatever the ending; a stopped run may be resumed by a person.
create function finish_run(p_run text, p_fence int, p_status text, p_reason text, p_message text, p_body jsonb)
returns table (code text)
language plpgsql security definer set search_path = public, pg_temp as $$
declare v_run runs;
begin
  select * into v_run from runs where runs.id = p_run for no key update;
  if v_run.fence is distinct from p_fence or v_run.status <> 'running' then
    return query select 'lease_lost'; return;
  end if;
  perform void_run_approvals(p_run, 'run_ended');
  perform journal_extend(p_run, p_body || jsonb_build_object('kind', 'ended', 'key', 'ended:' || v_run.attempt,
    'status', p_status, 'reason', p_reason, 'plan', v_run.plan_hash));
  update runs set status = p_status, reason = p_reason, message = p_message, worker = null,
         ended = clock_timestamp(), waits_for = null
   where runs.id = p_run;
  return query select 'ok';
end $$;

-- Puts a stopped run back into the queue, by a person.
create function resume_run(p_run text)
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
  perform journal_extend(p_run, jsonb_build_object('kind', 'resumed', 'key', 'resumed:' || v_run.attempt,
    'user', current_principal()));
  update runs set status = 'queued', attempt = attempt + 1, reason = null, message = '', ended = null,
         cancel = null, beat = clock_timestamp() where runs.id = p_run;
  return query select 'ok', 'queued';
end $$;

revoke execute on function journal_record(runs, jsonb, jsonb, jsonb[]), journal_extend(text, jsonb[]), negative(jsonb),
  is_reserved_kind(text), append(text, int, jsonb), start_run(jsonb),
  lease_run(text, int), sweep_runs(interval), forgotten_runs(interval), beat_runs(int),
  adopt_plan(text, int, jsonb), finish_run(text, int, text, text, text, jsonb), resume_run(text) from public;
grant execute on function append(text, int, jsonb), start_run(jsonb),
  lease_run(text, int), sweep_runs(interval), forgotten_runs(interval), beat_runs(int),
  adopt_plan(text, int, jsonb), finish_run(text, int, text, text, text, jsonb), resume_run(text) to cs_app;

-- Last, because only the owner may say who executes.
grant create on schema public to cs_system;
alter function lease_run(text, int) owner to cs_system;
alter function sweep_runs(interval) owner to cs_system;
alter function forgotten_runs(interval) owner to cs_system;
alter function beat_runs(int) owner to cs_system;
revoke create on schema public from cs_system;
