-- What people are asked and what they answered: one approval is a list of resolved action digests.

create table approvals (
  tenant text not null,
  id text primary key,
  run text not null references runs,
  round int not null,
  requester text not null,
  status text not null default 'open'
    check (status in ('open', 'approved', 'rejected', 'edited', 'expired', 'void')),
  reason text,
  need int not null check (need >= 1),
  groups text[] not null,
  requester_excluded boolean not null,
  nonce text not null,
  exposure bigint not null,
  step text not null,
  plan_hash text not null,
  policy text not null,
  rules jsonb not null,
  pins jsonb not null,
  shown jsonb not null,
  edited jsonb,
  decided_by text,
  opened timestamptz not null default clock_timestamp(),
  expires timestamptz not null,
  decided timestamptz,
  valid_until timestamptz
);
create unique index approvals_one_open_per_run on approvals (run) where status = 'open';
create index approvals_recent on approvals (tenant, opened desc);

create table approval_items (
  tenant text not null,
  approval text not null references approvals,
  digest text not null,
  step text not null,
  tool text not null,
  amount bigint not null,
  consumed timestamptz,
  effect text,
  primary key (approval, digest)
);

create table votes (
  tenant text not null,
  approval text not null references approvals,
  approver text not null,
  decision text not null check (decision in ('approve', 'reject', 'edit')),
  reason text not null,
  channel text not null,
  nonce text not null,
  at timestamptz not null default clock_timestamp(),
  primary key (approval, approver)
);

alter table approvals enable row level security;
alter table approvals force row level security;
alter table approval_items enable row level security;
alter table approval_items force row level security;
alter table votes enable row level security;
alter table votes force row level security;
create policy tenant on approvals using (tenant = current_tenant()) with check (tenant = current_tenant());
create policy tenant on approval_items using (tenant = current_tenant()) with check (tenant = current_tenant());
create policy tenant on votes using (tenant = current_tenant()) with check (tenant = current_tenant());
grant select on approvals, approval_items, votes to cs_app;

-- Opens the question for a held action and those asked with it, or finds the one already open (a node may run twice).
create function hold(p jsonb)
returns table (code text, approval text)
language plpgsql security definer set search_path = public, pg_temp as $$
declare v_run runs; v_last approvals; v_code text; v_expires timestamptz;
begin
  perform authority_lock_shared();
  v_code := authority_refusal(p);
  if v_code is not null then return query select v_code, null::text; return; end if;
  select * into v_run from runs r where r.id = p ->> 'run' for no key update;
  v_code := run_refusal(v_run, p);
  if v_code is not null then return query select v_code, null::text; return; end if;
  select a.* into v_last from approvals a join approval_items i on i.approval = a.id
   where a.run = v_run.id and i.digest = p ->> 'digest' order by a.round desc limit 1;
  if v_last.status = 'open' and v_last.expires > clock_timestamp() then
    return query select 'held', v_last.id; return;
  elsif v_last.status = 'open' then
    perform close_approval(v_last.id, 'expired', 'approval_timeout', null, null);
    return query select 'approval_timeout', v_last.id; return;
  elsif v_last.status = 'rejected' then return query select 'approval_rejected', v_last.id; return;
  elsif v_last.status = 'expired' then return query select 'approval_timeout', v_last.id; return;
  end if;
  -- Agreed to between the claim that asked for it and now: claim again instead of asking twice.
  v_code := covering_approval(p);
  if v_code is not null then return query select 'approved', v_code; return; end if;
  -- What people saw before is no longer what this run wants.
  perform void_run_approvals(v_run.id, 'approval_stale');
  v_expires := clock_timestamp() + make_interval(secs => (p ->> 'ttl')::int);
  insert into approvals (tenant, id, run, round, requester, need, groups, requester_excluded, nonce, exposure, step,
                         plan_hash, policy, rules, pins, shown, expires)
  values (v_run.tenant, p ->> 'id', v_run.id,
          1 + (select count(*) from approvals a where a.run = v_run.id), v_run.requester, (p ->> 'need')::int,
          array(select jsonb_array_elements_text(p -> 'groups')), (p ->> 'requester_excluded')::boolean, p ->> 'nonce',
          (p ->> 'exposure')::bigint, p ->> 'step', p ->> 'plan', p ->> 'policy', p -> 'rules', p -> 'pins',
          p -> 'shown', v_expires);
  insert into approval_items (tenant, approval, digest, step, tool, amount)
  select v_run.tenant, p ->> 'id', x.digest, x.step, x.tool, x.amount
    from jsonb_to_recordset(p -> 'items') as x (digest text, step text, tool text, amount bigint);
  perform journal_extend(v_run.id,
    jsonb_build_object('kind', 'proposed', 'role', p ->> 'role', 'step', p ->> 'step', 'tool', p ->> 'tool',
      'user', p ->> 'user', 'plan', p ->> 'plan', 'args', p -> 'args', 'digest', p ->> 'digest'),
    jsonb_build_object('kind', 'held', 'step', p ->> 'step', 'approval', p ->> 'id', 'need', (p ->> 'need')::int,
      'groups', p -> 'groups', 'exposure', (p ->> 'exposure')::bigint, 'rules', p -> 'rules', 'policy', p ->> 'policy',
      'pins', p -> 'pins', 'plan', p ->> 'plan', 'actions', jsonb_array_length(p -> 'items'), 'expires', v_expires));
  return query select 'held', p ->> 'id';
end $$;

-- Ends an open question and wakes its run; the caller holds the run row's lock.
create function close_approval(p_approval text, p_status text, p_reason text, p_by text, p_edited jsonb)
returns boolean language plpgsql set search_path = public, pg_temp as $$
declare v_run text; v_woken boolean;
begin
  update approvals a set status = p_status, reason = p_reason, decided_by = p_by, edited = p_edited,
         decided = clock_timestamp(),
         valid_until = case p_status when 'approved' then clock_timestamp() + interval '1 hour' end
   where a.id = p_approval and a.status = 'open' returning a.run into v_run;
  if not found then return false; end if;
  perform journal_extend(v_run, jsonb_build_object('kind', 'approval', 'approval', p_approval, 'status', p_status,
    'reason', p_reason, 'by', p_by));
  update runs set status = 'queued', waits_for = null, beat = clock_timestamp()
   where id = v_run and status = 'waiting' and waits_for = p_approval returning true into v_woken;
  return coalesce(v_woken, false);
end $$;

-- Whether this person may cast this vote; null means yes. Order matters: the first reason is the one told.
create function vote_refusal(v approvals, p jsonb, p_decision text) returns text
language plpgsql stable set search_path = public, pg_temp as $$
declare v_person principals;
begin
  select * into v_person from principals q where q.id = current_principal();
  return case
    when v.nonce <> coalesce(p ->> 'nonce', '') then 'wrong_nonce'
    when v_person.id is null then 'forbidden'
    when v.requester_excluded and v.requester = v_person.id then 'requester_excluded'
    when cardinality(v.groups) > 0 and not v.groups && v_person.groups then 'needs_another_group'
    when exists (select 1 from votes w where w.approval = v.id and w.approver = v_person.id) then 'duplicate_vote'
    when p_decision = 'approve' and v.exposure > case when v.need = 1 then v_person.limit_alone
                                                      else v_person.limit_joint end then 'over_limit'
  end;
end $$;

-- One answer of one person. The run row is locked first, so that parking and deciding cannot miss each other.
create function decide(p jsonb)
returns table (code text, run text, status text, votes int, need int, decided_by text, woken boolean)
language plpgsql security definer set search_path = public, pg_temp as $$
declare v approvals; v_code text; v_votes int; v_kind text := p ->> 'decision'; v_woken boolean := false;
begin
  select a.run into v.run from approvals a where a.id = p ->> 'approval';
  perform 1 from runs r where r.id = v.run for no key update;
  select * into v from approvals a where a.id = p ->> 'approval' for update;
  if not found then
    return query select 'not_found', null::text, null::text, 0, 0, null::text, false; return;
  end if;
  if v.status = 'open' and v.expires <= clock_timestamp() then
    v_woken := close_approval(v.id, 'expired', 'approval_timeout', null, null);
    v.status := 'expired';
  end if;
  v_code := case v.status when 'open' then vote_refusal(v, p, v_kind) when 'expired' then 'approval_expired'
                 when 'void' then 'approval_void' else 'approval_decided' end;
  if v_code is not null then
    perform journal_extend(v.run, jsonb_build_object('kind', 'vote_refused', 'approval', v.id,
      'by', current_principal(), 'decision', v_kind, 'code', v_code));
    select count(*) into v_votes from votes w where w.approval = v.id and w.decision = 'approve';
    return query select v_code, v.run, v.status, v_votes, v.need, v.decided_by, v_woken; return;
  end if;
  if v_kind = 'ask' then
    perform journal_extend(v.run, jsonb_build_object('kind', 'question', 'approval', v.id, 'by', current_principal(),
      'to', v.requester, 'question', p ->> 'reason'));
    select count(*) into v_votes from votes w where w.approval = v.id and w.decision = 'approve';
    return query select 'ok', v.run, 'open', v_votes, v.need, null::text, false; return;
  end if;
  insert into votes values (v.tenant, v.id, current_principal(), v_kind, coalesce(p ->> 'reason', ''),
    p ->> 'channel', p ->> 'nonce');
  perform journal_extend(v.run, jsonb_build_object('kind', 'vote', 'approval', v.id, 'by', current_principal(),
    'decision', v_kind, 'reason', p ->> 'reason', 'channel', p ->> 'channel', 'nonce', p ->> 'nonce'));
  select count(*) into v_votes from votes w where w.approval = v.id and w.decision = 'approve';
  if v_kind = 'reject' then
    v_woken := close_approval(v.id, 'rejected', p ->> 'reason', current_principal(), null);
  elsif v_kind = 'edit' then
    v_woken := close_approval(v.id, 'edited', p ->> 'reason', current_principal(), p -> 'edited');
  elsif v_votes >= v.need then
    v_woken := close_approval(v.id, 'approved', null, current_principal(), null);
  end if;
  return query select 'ok', v.run, (select a.status from approvals a where a.id = v.id), v_votes, v.need,
                      current_principal(), v_woken;
end $$;

-- Parks a run after its graph returned: waiting if the question is still open, else queued again at once.
create function park_run(p_run text, p_fence int, p_waits_for text, p_answers int)
returns table (code text, status text)
language plpgsql security definer set search_path = public, pg_temp as $$
declare v_run runs; v_open boolean; v_status text;
begin
  select * into v_run from runs r where r.id = p_run for no key update;
  if v_run.fence is distinct from p_fence or v_run.status <> 'running' then
    return query select 'lease_lost', v_run.status; return;
  end if;
  if p_waits_for = 'clarify' then v_open := jsonb_array_length(v_run.answers) <= p_answers;
  else select a.status = 'open' into v_open from approvals a where a.id = p_waits_for;
  end if;
  v_status := case when v_run.cancel is null and v_open then 'waiting' else 'queued' end;
  update runs r set status = v_status, waits_for = case v_status when 'waiting' then p_waits_for end, worker = null,
         beat = clock_timestamp() where r.id = p_run;
  return query select 'ok', v_status;
end $$;

-- The requester's next message, when the run asked a question.
create function answer_run(p_run text, p_text text)
returns table (code text, woken boolean)
language plpgsql security definer set search_path = public, pg_temp as $$
declare v_run runs;
begin
  select * into v_run from runs r where r.id = p_run for no key update;
  if not found or v_run.requester <> current_principal() then return query select 'not_found', false; return; end if;
  if v_run.status <> 'waiting' or v_run.waits_for <> 'clarify' then return query select 'conflict', false; return; end if;
  perform journal_extend(p_run, jsonb_build_object('kind', 'answered', 'user', current_principal(), 'text', p_text));
  update runs set answers = answers || to_jsonb(p_text), status = 'queued', waits_for = null, beat = clock_timestamp()
   where id = p_run;
  return query select 'ok', true;
end $$;

create function void_run_approvals(p_run text, p_reason text) returns void
language plpgsql set search_path = public, pg_temp as $$
declare v_id text;
begin
  for v_id in select a.id from approvals a where a.run = p_run and a.status = 'open' loop
    perform close_approval(v_id, 'void', p_reason, current_principal(), null);
  end loop;
end $$;

-- Ends a run that waits; a running one is told and stops at its next claim.
create function cancel_run(p_run text, p_reason text)
returns table (code text, status text)
language plpgsql security definer set search_path = public, pg_temp as $$
declare v_run runs;
begin
  select * into v_run from runs r where r.id = p_run for no key update;
  if not found then return query select 'not_found', null::text; return; end if;
  if v_run.status in ('done', 'failed', 'denied', 'cancelled') then
    return query select 'conflict', v_run.status; return;
  end if;
  perform journal_extend(p_run, jsonb_build_object('kind', 'cancel', 'by', current_principal(), 'reason', p_reason));
  if v_run.status = 'running' then
    update runs r set cancel = p_reason where r.id = p_run;
    return query select 'ok', 'running'; return;
  end if;
  update runs r set status = 'cancelled', cancel = p_reason, reason = 'cancelled', ended = clock_timestamp(),
         waits_for = null where r.id = p_run;
  perform void_run_approvals(p_run, 'cancelled');
  if v_run.status <> 'stopped' then
    perform journal_extend(p_run, jsonb_build_object('kind', 'ended', 'key', 'ended:' || v_run.attempt,
      'status', 'cancelled', 'reason', 'cancelled', 'plan', v_run.plan_hash));
  end if;
  return query select 'ok', 'cancelled';
end $$;

-- Voids every open approval that rests on a knowledge item; the caller holds the exclusive authority lock.
create function void_approvals_pinning(p_knowledge text) returns setof text
language plpgsql set search_path = public, pg_temp as $$
declare v record;
begin
  for v in select a.id, a.run from approvals a
            where a.status = 'open' and a.pins @> jsonb_build_array(jsonb_build_object('id', p_knowledge))
            order by a.run loop
    perform 1 from runs r where r.id = v.run for no key update;
    if close_approval(v.id, 'void', 'stale_knowledge', current_principal(), null) then return next v.run; end if;
  end loop;
end $$;

-- Closes questions that nobody answered in time, in every tenant, and queues their runs.
create function expire_approvals() returns table (id text)
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

create policy system on approvals to cs_system using (true);
grant select on approvals to cs_system;
create function overdue_approvals() returns table (approval text, run text, tenant text)
language sql security definer set search_path = public, pg_temp as $$
  select a.id, a.run, a.tenant from approvals a
   where a.status = 'open' and a.expires <= clock_timestamp() order by a.run
$$;
revoke execute on function overdue_approvals() from public;
grant execute on function overdue_approvals() to cs_owner;
grant create on schema public to cs_system;
alter function overdue_approvals() owner to cs_system;
revoke create on schema public from cs_system;

-- The chain of entries that belong to no run: stop switches, policies, knowledge.
create function authority_chain() returns text
language plpgsql set search_path = public, pg_temp as $$
declare v_id text := 'authority-' || current_tenant();
begin
  insert into runs (tenant, id, kind, thread, status, input, correlation, head, limit_tokens, limit_micros, limit_calls)
  values (current_tenant(), v_id, 'authority', v_id, 'done', '{}', v_id, journal_genesis(v_id), 0, 0, 0)
  on conflict do nothing;
  return v_id;
end $$;

-- Pulls or releases the stop switch; once this has committed, no claim commits under it.
create function kill(p_kind text, p_name text, p_reason text)
returns table (code text) language plpgsql security definer set search_path = public, pg_temp as $$
begin
  perform authority_lock_exclusive();
  insert into kills (tenant, kind, name, reason, by)
  values (current_tenant(), p_kind, p_name, p_reason, current_principal()) on conflict do nothing;
  delete from permits.permit t
   where t.tenant = current_tenant() and t.consumed is null
     and case p_kind when 'all' then true when 'run' then t.run = p_name when 'agent' then t.actor = p_name
                     when 'tool' then t.tool = p_name when 'user' then t.subject = p_name end;
  perform journal_extend(authority_chain(), jsonb_build_object('kind', 'kill', 'scope', p_kind, 'name', p_name,
    'by', current_principal(), 'reason', p_reason));
  return query select 'ok';
end $$;

create function unkill(p_kind text, p_name text)
returns table (code text) language plpgsql security definer set search_path = public, pg_temp as $$
begin
  perform authority_lock_exclusive();
  delete from kills k where k.kind = p_kind and k.name = p_name;
  if not found then return query select 'not_found'; return; end if;
  perform journal_extend(authority_chain(), jsonb_build_object('kind', 'unkill', 'scope', p_kind, 'name', p_name,
    'by', current_principal()));
  return query select 'ok';
end $$;

-- Makes a policy set the one in force; open questions asked under another are void.
create function activate_policy(p_hash text)
returns table (code text, run text) language plpgsql security definer set search_path = public, pg_temp as $$
declare v record;
begin
  perform authority_lock_exclusive();
  if (select a.policy from authority a) = p_hash then return query select 'same', null::text; return; end if;
  insert into authority (tenant, policy) values (current_tenant(), p_hash)
  on conflict (tenant) do update set policy = excluded.policy, changed = clock_timestamp();
  perform journal_extend(authority_chain(), jsonb_build_object('kind', 'policy', 'policy', p_hash,
    'by', current_principal()));
  code := 'ok'; run := null; return next;
  for v in select a.id, a.run from approvals a where a.status = 'open' and a.policy <> p_hash order by a.run loop
    perform 1 from runs r where r.id = v.run for no key update;
    if close_approval(v.id, 'void', 'stale_policy', current_principal(), null) then
      run := v.run; return next;
    end if;
  end loop;
end $$;

-- A person says what became of an effect whose outcome nobody could find out, or that its run left unfinished.
create function resolve_effect(p_effect text, p_state text, p_note text)
returns table (code text, state text, run text) language plpgsql security definer set search_path = public, pg_temp as $$
declare v_run runs; v effects;
begin
  select r.* into v_run from runs r where r.id = (select e.run from effects e where e.id = p_effect) for no key update;
  select * into v from effects e where e.id = p_effect for update;
  if not found then return query select 'not_found', null::text, null::text; return; end if;
  if v.state <> 'in_doubt' and (v.state <> 'claimed' or v_run.status in ('queued', 'running', 'waiting')) then
    return query select 'conflict', v.state, v.run; return;
  end if;
  delete from permits.permit t where t.effect = p_effect and t.consumed is null;
  update effects e set state = p_state, settled = clock_timestamp(),
         outcome = coalesce(e.outcome, '{}') || jsonb_build_object('resolved_by', current_principal(), 'note', p_note)
   where e.id = p_effect;
  perform journal_record(v_run, negative(v.cost), v.cost, jsonb_build_object('kind', 'resolved', 'effect', p_effect,
    'state', p_state, 'by', current_principal(), 'note', p_note, 'step', v.step, 'tool', v.tool, 'cost', v.cost));
  return query select 'ok', p_state, v.run;
end $$;

revoke execute on function hold(jsonb), close_approval(text, text, text, text, jsonb),
  vote_refusal(approvals, jsonb, text), decide(jsonb), park_run(text, int, text, int), answer_run(text, text),
  void_run_approvals(text, text), cancel_run(text, text), void_approvals_pinning(text), expire_approvals(),
  authority_chain(), kill(text, text, text), unkill(text, text), activate_policy(text),
  resolve_effect(text, text, text) from public;
grant execute on function hold(jsonb), decide(jsonb), park_run(text, int, text, int), answer_run(text, text),
  cancel_run(text, text), expire_approvals(), kill(text, text, text), unkill(text, text), activate_policy(text),
  resolve_effect(text, text, text) to cs_app;
