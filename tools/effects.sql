-- Effects: one row per natural key, its permit and its budget. Each function is one round trip and one commit; it
-- answers with codes, never with exceptions. Called by effects.py.

-- What of a permit may be recorded.
create or replace function permits.fingerprint(p_jti text) returns text language sql immutable as $$
  select encode(sha256(convert_to(p_jti, 'UTF8')), 'hex')
$$;
revoke execute on function permits.fingerprint(text) from public;

-- Gives an effect its only usable permit: one that was issued before and not used is gone, so that a request of a
-- predecessor which is still on its way can no longer be carried out. Waits for a service that is using it right now.
create or replace function permits.issue(p_effect text, p_run text, p_again boolean, p jsonb) returns text
language plpgsql set search_path = permits, public, pg_temp as $$
declare v_jti text := replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', '');
begin
  if p_again then delete from permits.permit where effect = p_effect and consumed is null; end if;
  insert into permits.permit values (v_jti, current_tenant(), p ->> 'tool', p ->> 'args_hash', p ->> 'user',
    p ->> 'role', p_run, p_effect, clock_timestamp() + interval '120 seconds', null);
  return v_jti;
end $$;
revoke execute on function permits.issue(text, text, boolean, jsonb) from public;

-- The business service lets one action happen, once; called by app/world/requests.py.
create or replace function permits.consume(p_jti text, p_tool text, p_args_hash text)
returns table (subject text, actor text, run text)
language plpgsql security definer set search_path = permits, pg_temp as $$
declare v permits.permit;
begin
  select * into v from permits.permit p where p.jti = p_jti for update;
  -- One that would live twice as long as any was issued before the clock was set back.
  if not found or v.consumed is not null
     or v.expires not between clock_timestamp() and clock_timestamp() + interval '240 seconds' then
    raise exception 'permit_invalid' using errcode = 'CS401';
  end if;
  if v.tool <> p_tool or v.args_hash <> p_args_hash then
    raise exception 'permit_mismatch' using errcode = 'CS403';
  end if;
  update permits.permit set consumed = clock_timestamp() where jti = p_jti;
  return query select v.subject, v.actor, v.run;
end $$;
revoke execute on function permits.consume(text, text, text) from public;
grant execute on function permits.consume(text, text, text) to cs_world;

-- What a reservation gives back; integers stay exact.
create or replace function negative(p_cost jsonb) returns jsonb language sql immutable as $$
  select jsonb_build_object('tokens', -(p_cost ->> 'tokens')::bigint, 'micros', -(p_cost ->> 'micros')::bigint,
                            'calls', -(p_cost ->> 'calls')::bigint)
$$;
revoke execute on function negative(jsonb) from public;

-- Everything that authority can have changed since the verdict was computed; null means nothing.
create or replace function authority_refusal(p jsonb) returns text
language sql stable as $$
  select case
    when is_killed(p ->> 'run', p ->> 'role', p ->> 'tool', p ->> 'user') then 'killed'
    when (select a.policy from authority a) is distinct from p ->> 'policy' then 'stale_policy'
    when exists (select 1 from jsonb_to_recordset(p -> 'pins') as x (id text, version int)
                  where x.version is distinct from (select max(k.version) from knowledge k where k.id = x.id))
      then 'stale_knowledge'
  end
$$;
revoke execute on function authority_refusal(jsonb) from public;

-- Run-side reasons to refuse: fence, another requester, cancellation, budget, repetition; null means none.
create or replace function run_refusal(v_run runs, p jsonb) returns text
language sql stable as $$
  select case
    when v_run.id is null then 'not_found'
    when not is_led(v_run, (p ->> 'fence')::int) then 'lease_lost'
    when p ? 'user' and v_run.requester is distinct from p ->> 'user' then 'forged_authority'
    when v_run.cancel is not null then 'cancelled'
    -- As numeric, so that a sum which no bigint holds is above the limit, too.
    when v_run.spent_tokens::numeric + v_run.reserved_tokens + (p #>> '{cost,tokens}')::numeric > v_run.limit_tokens
      or v_run.spent_micros::numeric + v_run.reserved_micros + (p #>> '{cost,micros}')::numeric > v_run.limit_micros
      or v_run.spent_calls::numeric + v_run.reserved_calls + (p #>> '{cost,calls}')::numeric > v_run.limit_calls
      then 'budget_exceeded'
    when p ? 'repeats' and (select count(*) from journal j where j.run = v_run.id and j.call_hash = p ->> 'call')
      >= (p ->> 'repeats')::int then 'no_progress'
  end
$$;
revoke execute on function run_refusal(runs, jsonb) from public;

-- The approved, unconsumed item that covers this very action; null means none. A vote counts only while its voter could
-- still cast it: whoever left the group or lost the limit since has not agreed any more, and the action is asked about
-- anew.
create or replace function covering_approval(p jsonb) returns text
language sql volatile set search_path = public, pg_temp as $$
  select a.id from approvals a join approval_items i on i.approval = a.id
   where a.run = p ->> 'run' and i.digest = p ->> 'digest' and a.status = 'approved' and i.consumed is null
     and a.valid_until > clock_timestamp() and a.policy = p ->> 'policy'
     and (select count(*) from votes v join principals q on q.id = v.approver
           where v.approval = a.id and v.decision = 'approve'
             and (cardinality(a.groups) = 0 or a.groups && q.groups) and a.exposure <= limit_of(q, a))
         >= greatest((p ->> 'need')::int, a.need)
   order by a.opened desc limit 1 for update of i
$$;
revoke execute on function covering_approval(jsonb) from public;

-- The key under which an effect is sent to the business: another one only for another event, so that the service's own
-- protection goes on working after a failure or a person's word.
create or replace function event_key_of(p_key text, p_event int) returns text language sql immutable as $$
  select case p_event when 0 then p_key else p_key || '#' || p_event end
$$;

-- The number of the event that an effect carries out.
create or replace function event_of(p_effect effects) returns int language sql immutable as $$
  select coalesce(p_effect.event, p_effect.generation)
$$;
revoke execute on function event_of(effects) from public;

-- The key of an event: without a natural one it is of the run whose request it is, and a fork carries out the request of
-- the run that it was forked from.
create or replace function key_of(v_run runs, p jsonb) returns text language sql immutable as $$
  select (p ->> 'key') || case when (p ->> 'per_run')::boolean then ':' || coalesce(v_run.origin, v_run.id) else '' end
$$;
revoke execute on function key_of(runs, jsonb) from public;

-- Whether an effect was claimed by this step of this plan.
create or replace function is_same_step(v_run runs, v_old effects, p jsonb) returns boolean language sql immutable as $$
  select v_old.run = v_run.id and v_old.step = p ->> 'step' and v_old.plan_hash = p ->> 'plan'
$$;
revoke execute on function is_same_step(runs, effects, jsonb) from public;

-- Whether this claim is for a state that the latest effect of the key has set and that was seen to be so no more.
create or replace function is_gone(v_old effects, p jsonb) returns boolean language sql immutable as $$
  select coalesce((p ->> 'sets_state')::boolean and v_old.id = p ->> 'gone' and v_old.state in ('done', 'unverified'),
                  false)
$$;
revoke execute on function is_gone(effects, jsonb) from public;

-- The number of the event that a claim would carry out: another one after a governed reverse, for a state that is to be
-- set anew, and for a key under which the service will do nothing any more.
create or replace function next_event(v_old effects, p jsonb) returns int language sql immutable as $$
  select coalesce(event_of(v_old), 0)
    + case when v_old.state = 'compensated' or is_gone(v_old, p)
                or v_old.state = 'failed' and coalesce((v_old.outcome ->> 'is_key_dead')::boolean, false)
      then 1 else 0 end
$$;
revoke execute on function next_event(effects, jsonb) from public;

-- Whether the run that a fork was forked from, or another fork of it, has done this already, also if it was taken back
-- since: doing it again takes a person's word.
create or replace function is_done_by_origin(v_run runs, v_old effects, p jsonb) returns boolean
language sql stable set search_path = public, pg_temp as $$
  select v_run.origin is not null and v_old.run <> v_run.id and exists (
    select 1 from effects e join runs r on r.id = e.run
     where e.key = p ->> 'key' and e.state in ('done', 'unverified', 'compensated') and e.run <> v_run.id
       and coalesce(r.origin, r.id) = v_run.origin)
$$;
revoke execute on function is_done_by_origin(runs, effects, jsonb) from public;

-- Whether an effect of this key stands in the way. A failed one does so only for the step that failed, so that a
-- successor of a crashed worker learns of the failure; what a person resolved as not having happened may be done.
create or replace function claim_is_taken(v_run runs, v_old effects, p jsonb) returns boolean
language sql immutable as $$
  select case when is_gone(v_old, p) then false else case v_old.state
    -- Taken back by the run itself: led from an older checkpoint, it does not do it again by itself.
    when 'compensated' then is_same_step(v_run, v_old, p)
    when 'failed' then is_same_step(v_run, v_old, p) and v_old.args_hash = p ->> 'args_hash'
                       and not coalesce(v_old.outcome ? 'resolved_by', false)
    else true end end
$$;
revoke execute on function claim_is_taken(runs, effects, jsonb) from public;

-- The key is taken: replay what is known, take over our own unfinished attempt, or say whose it is. The same lease
-- never takes over from itself: its other task is still at it.
create or replace function claim_again(v_run runs, v_old effects, p jsonb)
returns table (code text, effect text, permit text, send_key text, state text, outcome jsonb)
language plpgsql set search_path = public, pg_temp as $$
declare v_jti text; v_code text; v_effect effects;
begin
  -- A state can be set to something else under the same key: what it is now decides, not what it was set to.
  if v_old.state = 'compensated' or is_done_by_origin(v_run, v_old, p) then v_code := 'forked';
  elsif v_old.args_hash <> p ->> 'args_hash' and not (p ->> 'sets_state')::boolean then v_code := 'key_reused';
  elsif v_old.state in ('done', 'unverified', 'failed') then
    v_code := case when is_same_step(v_run, v_old, p) then 'recorded' else 'replay' end;
  elsif v_old.state = 'in_doubt' then v_code := 'in_doubt';
  elsif v_run.cancel is not null then v_code := 'cancelled';
  elsif v_old.run <> v_run.id then
    v_code := case when exists (select 1 from runs r where r.id = v_old.run
                                 and r.status in ('queued', 'running', 'waiting')) then 'in_flight'
                   else 'in_doubt' end;
  elsif v_old.fence = v_run.fence then v_code := 'in_flight';
  elsif v_old.args_hash <> p ->> 'args_hash' then v_code := 'in_doubt';
  else
    v_code := 'unfinished';
    v_jti := permits.issue(v_old.id, v_run.id, true, p);
    update effects e set fence = v_run.fence, permit = permits.fingerprint(v_jti)
     where e.id = v_old.id returning e.* into v_effect;
    perform journal_record(v_run, null, null, jsonb_build_object('kind', 'retaken', 'step', v_old.step,
      'tool', v_old.tool, 'effect', v_old.id, 'permit', left(v_effect.permit, 16), 'checkpoint', p ->> 'checkpoint',
      'rows', jsonb_build_array(governed_row(v_effect))));
  end if;
  return query select v_code, v_old.id, v_jti, event_key_of(v_old.key, event_of(v_old)), v_old.state,
    case when v_old.args_hash = p ->> 'args_hash' then v_old.outcome else v_old.outcome - 'result' end;
end $$;
revoke execute on function claim_again(runs, effects, jsonb) from public;

-- The keys of what a claimed effect takes back once it is done.
create or replace function keys_freed(v_run runs, p jsonb) returns jsonb language sql immutable as $$
  select coalesce(jsonb_agg(key_of(v_run, x)), '[]') from jsonb_array_elements(coalesce(p -> 'reverses', '[]')) x
$$;
revoke execute on function keys_freed(runs, jsonb) from public;

-- Takes the natural key, budget, approval and permit of a write, and journals the intent: all or nothing.
create or replace function claim(p jsonb)
returns table (code text, effect text, permit text, send_key text, state text, outcome jsonb)
language plpgsql security definer set search_path = public, pg_temp as $$
declare
  v_run runs; v_old effects; v_code text; v_id text := gen_random_uuid()::text; v_jti text; v_approval text;
  v_print text; v_event int; v_effect effects; v_rows jsonb := '[]';
begin
  perform authority_lock_shared();
  v_code := authority_refusal(p);
  if v_code is not null then return query select v_code, null, null, null, null, null::jsonb; return; end if;
  select * into v_run from runs r where r.id = p ->> 'run' for no key update;
  p := p || jsonb_build_object('key', key_of(v_run, p));
  perform pg_advisory_xact_lock(7400, hashtext(current_tenant() || '/' || (p ->> 'key')));
  select * into v_old from effects e where e.key = p ->> 'key' order by e.generation desc limit 1 for update;
  if v_old.id is not null and is_led(v_run, (p ->> 'fence')::int)
     and (claim_is_taken(v_run, v_old, p) or is_done_by_origin(v_run, v_old, p)) then
    return query select * from claim_again(v_run, v_old, p); return;
  end if;
  v_code := run_refusal(v_run, p);
  if v_code is not null then return query select v_code, null, null, null, null, null::jsonb; return; end if;
  if (p ->> 'need')::int > 0 then
    v_approval := covering_approval(p);
    if v_approval is null then
      return query select 'approval_required', null, null, null, null, null::jsonb; return;
    end if;
    with used as (
      update approval_items i set consumed = clock_timestamp(), effect = v_id
       where i.approval = v_approval and i.digest = p ->> 'digest' returning governed_row(i) as row)
    select jsonb_agg(u.row) into v_rows from used u;
  end if;
  v_event := next_event(v_old, p);
  if is_gone(v_old, p) then
    update effects e set superseded_by = v_id where e.id = v_old.id returning e.* into v_effect;
    v_rows := v_rows || jsonb_build_array(governed_row(v_effect));
  end if;
  v_jti := permits.issue(v_id, v_run.id, false, p);
  v_print := permits.fingerprint(v_jti);
  insert into effects (tenant, id, run, step, role, tool, user_id, key, generation, digest, args, args_hash, amount,
                       currency, plan_hash, policy, approval, permit, fence, cost, event, sent, frees, compensates)
  values (v_run.tenant, v_id, v_run.id, p ->> 'step', p ->> 'role', p ->> 'tool', p ->> 'user', p ->> 'key',
          coalesce(v_old.generation + 1, 0), p ->> 'digest', p -> 'args', p ->> 'args_hash',
          (p ->> 'amount')::bigint, p ->> 'currency', p ->> 'plan', p ->> 'policy', v_approval, v_print, v_run.fence,
          p -> 'cost', v_event, clock_timestamp(), keys_freed(v_run, p), p ->> 'compensates')
  returning * into v_effect;
  perform journal_record(v_run, p -> 'cost', null,
    jsonb_build_object('kind', 'proposed', 'role', p ->> 'role', 'step', p ->> 'step', 'tool', p ->> 'tool',
      'user', p ->> 'user', 'plan', p ->> 'plan', 'args', p -> 'args', 'digest', p ->> 'digest',
      'amount', p -> 'amount', 'currency', p -> 'currency', 'checkpoint', p ->> 'checkpoint'),
    -- Last come the function's own facts, whatever the verdict has by the same names.
    journal_told_by_app(coalesce(p -> 'judged', '{}')) - array['supersedes', 'check']
      || jsonb_build_object('kind', 'permitted', 'step', p ->> 'step', 'tool', p ->> 'tool', 'effect', v_id,
      'key', 'permitted:' || v_id, 'policy', p ->> 'policy', 'rules', p -> 'rules', 'approval', v_approval,
      'permit', left(v_print, 16), 'call', p ->> 'call', 'pins', p -> 'pins', 'amount', p -> 'amount',
      'currency', p -> 'currency', 'digest', p ->> 'digest', 'checkpoint', p ->> 'checkpoint',
      'natural_key', v_effect.key, 'generation', v_effect.generation, 'event', v_event,
      'rows', v_rows || jsonb_build_array(governed_row(v_effect)))
      || case when is_gone(v_old, p) then jsonb_build_object('supersedes', v_old.id, 'check', p -> 'gone_check')
         else '{}' end);
  return query select 'go', v_id, v_jti, event_key_of(p ->> 'key', v_event), null, null::jsonb;
end $$;
revoke execute on function claim(jsonb) from public;
grant execute on function claim(jsonb) to cs_app;

-- Registers one more send of a claimed effect, unless something that the claim looked at has changed since: the stop
-- switch, the lease, a cancellation, or who holds the permit.
create or replace function register_send(p jsonb)
returns table (code text)
language plpgsql security definer set search_path = public, pg_temp as $$
declare v_run runs; v_effect effects;
begin
  perform authority_lock_shared();
  select r.* into v_run from runs r
   where r.id = (select e.run from effects e where e.id = p ->> 'effect') for no key update;
  select * into v_effect from effects e where e.id = p ->> 'effect' for update;
  code := case
    when v_effect.id is null then 'not_found'
    when is_killed(v_effect.run, v_effect.role, v_effect.tool, v_effect.user_id) then 'killed'
    when not is_led(v_run, (p ->> 'fence')::int) or v_effect.state <> 'claimed'
      or v_effect.permit <> permits.fingerprint(coalesce(p ->> 'permit', '')) then 'lease_lost'
    when v_run.cancel is not null then 'cancelled'
    else 'ok' end;
  if code = 'ok' then
    update effects e set attempts = e.attempts + 1, sent = clock_timestamp() where e.id = v_effect.id
    returning e.* into v_effect;
    perform journal_record(v_run, null, null, jsonb_build_object('kind', 'resent', 'step', v_effect.step,
      'tool', v_effect.tool, 'effect', v_effect.id, 'attempt', jsonb_build_object('number', v_effect.attempts),
      'checkpoint', p ->> 'checkpoint', 'rows', jsonb_build_array(governed_row(v_effect))));
  end if;
  return next;
end $$;
revoke execute on function register_send(jsonb) from public;
grant execute on function register_send(jsonb) to cs_app;

-- Frees the keys of what an effect takes back that is done now: the effect that its plan names, and in any run those of
-- its declared reverse with the same arguments, so that what was done, undone and done again can be undone again.
-- Answers with what the entry says of it, and the rows that changed.
create or replace function free_reversed(v_effect effects) returns jsonb
language plpgsql set search_path = public, pg_temp as $$
declare v_ids text[]; v_rows jsonb; v_key text;
begin
  if v_effect.compensates is null and v_effect.frees = '[]' then return '{"rows": []}'; end if;
  v_ids := array(select e.id from effects e where e.id = v_effect.compensates and e.run = v_effect.run);
  -- One by one: each is found by index, however few effects the planner believes in.
  for v_key in select jsonb_array_elements_text(v_effect.frees) loop
    v_ids := v_ids || array(select e.id from effects e where e.key = v_key and e.args = v_effect.args);
  end loop;
  with freed as (
    update effects e set state = 'compensated'
     where e.id = any (v_ids) and e.state in ('done', 'unverified') and e.superseded_by is null and e.id <> v_effect.id
    returning e.id, governed_row(e) as row
  )
  select array_agg(f.id order by f.id), coalesce(jsonb_agg(f.row), '[]') into v_ids, v_rows from freed f;
  return jsonb_build_object('rows', v_rows) || case when v_ids is null then '{}'
    else jsonb_build_object('compensates', coalesce(v_effect.compensates, v_ids[1]), 'frees', v_ids) end;
end $$;
revoke execute on function free_reversed(effects) from public;

-- What the gateway may say of an outcome beside the outcome: how it was checked, where a batch stands, and from where its
-- step started.
create or replace function told_of_outcome(p_extra jsonb) returns jsonb language sql immutable
return coalesce((select jsonb_object_agg(x.key, x.value) from jsonb_each(p_extra) x
                  where x.key in ('checked', 'check', 'progress', 'checkpoint')), '{}');
revoke execute on function told_of_outcome(jsonb) from public;

-- Records what came of a claimed effect. That it was done is a fact and accepted from any fence; a failure or doubt
-- only from who holds the latest permit, because a predecessor's is no longer the last word.
create or replace function settle(p jsonb)
returns table (code text, state text, outcome jsonb)
language plpgsql security definer set search_path = public, pg_temp as $$
declare v_run runs; v_effect effects; v_state text := p ->> 'state'; v_about jsonb; v_freed jsonb := '{"rows": []}';
begin
  select r.* into v_run from runs r
   where r.id = (select e.run from effects e where e.id = p ->> 'effect') for no key update;
  select * into v_effect from effects e where e.id = p ->> 'effect' for update;
  if not found or v_run.requester is distinct from current_principal() then
    return query select 'not_found', null::text, null::jsonb; return;
  end if;
  if v_effect.state not in ('claimed', 'in_doubt') or v_effect.state = v_state then
    return query select 'already', v_effect.state, v_effect.outcome; return;
  end if;
  if v_state <> 'done' and v_effect.permit <> permits.fingerprint(coalesce(p ->> 'permit', '')) then
    return query select 'superseded', v_effect.state, v_effect.outcome; return;
  end if;
  v_about := jsonb_build_object('step', v_effect.step, 'tool', v_effect.tool, 'effect', v_effect.id,
    'checkpoint', p ->> 'checkpoint');
  if is_killed(v_effect.run, v_effect.role, v_effect.tool, v_effect.user_id)
     and (p #>> '{attempt,stopped_by}' = 'killed' and v_state <> 'done' or v_state = 'failed'
          and not exists (select 1 from permits.permit t where t.jti = p ->> 'permit' and t.consumed is not null)) then
    -- Stopped on its way: whoever resumes the run goes on here, under the same approval, and looks first.
    perform journal_record(v_run, null, null, v_about || jsonb_build_object('kind', 'interrupted',
      'reason', 'killed', 'outcome', p -> 'outcome', 'attempt', p -> 'attempt'));
    return query select 'killed', v_effect.state, p -> 'outcome'; return;
  end if;
  update effects e set state = v_state, outcome = p -> 'outcome',
         settled = case v_state when 'in_doubt' then null else clock_timestamp() end
   where e.id = v_effect.id returning e.* into v_effect;
  delete from permits.permit t where t.effect = v_effect.id and t.consumed is null;
  if v_state = 'done' then v_freed := free_reversed(v_effect); end if;
  v_about := told_of_outcome(p -> 'extra') || v_about || v_freed || jsonb_build_object(
    'kind', 'outcome', 'state', v_state, 'outcome', p -> 'outcome', 'attempt', p -> 'attempt',
    'rows', (v_freed -> 'rows') || jsonb_build_array(governed_row(v_effect)));
  if v_state = 'in_doubt' then
    perform journal_record(v_run, null, null, v_about);
  else
    perform journal_record(v_run, negative(v_effect.cost), p -> 'cost',
      v_about || jsonb_build_object('cost', p -> 'cost'));
  end if;
  return query select 'settled', v_state, p -> 'outcome';
end $$;
revoke execute on function settle(jsonb) from public;
grant execute on function settle(jsonb) to cs_app;

-- Before a read: stop switch, versions, fence, budget, repetition; a read that was already recorded is replayed.
create or replace function begin_read(p jsonb)
returns table (code text, body jsonb)
language plpgsql security definer set search_path = public, pg_temp as $$
declare v_run runs; v_code text; v_body jsonb;
begin
  perform authority_lock_shared();
  v_code := authority_refusal(p);
  if v_code is not null then return query select v_code, null::jsonb; return; end if;
  -- Nothing is written here, so no lock: whether the lease still holds is asked again when the read is recorded.
  select * into v_run from runs r where r.id = p ->> 'run';
  if v_run.fence = (p ->> 'fence')::int and v_run.requester = current_principal() then
    select journal_told(j) into v_body from journal j where j.run = v_run.id and j.key = p ->> 'key';
    if found then return query select 'replay', v_body; return; end if;
  end if;
  v_code := run_refusal(v_run, p);
  if v_code is not null then return query select v_code, null::jsonb; return; end if;
  return query select 'go', null::jsonb;
end $$;
revoke execute on function begin_read(jsonb) from public;
grant execute on function begin_read(jsonb) to cs_app;

-- After a read: its entry and its cost; the first writer wins and everybody gets the recorded entry.
create or replace function end_read(p jsonb)
returns table (code text, body jsonb)
language plpgsql security definer set search_path = public, pg_temp as $$
declare v_run runs; v_old jsonb; v_body jsonb := journal_told_by_app(p -> 'body') || '{"kind": "read"}';
begin
  select * into v_run from runs r where r.id = p ->> 'run' for no key update;
  if not is_led(v_run, (p ->> 'fence')::int) then
    return query select 'lease_lost', null::jsonb; return;
  end if;
  if v_body ? 'key' then
    select journal_told(j) into v_old from journal j where j.run = v_run.id and j.key = v_body ->> 'key';
    if found then return query select 'replay', v_old; return; end if;
  end if;
  perform journal_record(v_run, null, v_body -> 'cost', v_body);
  return query select 'ok', v_body;
end $$;
revoke execute on function end_read(jsonb) from public;
grant execute on function end_read(jsonb) to cs_app;

-- Opens the question for a held action and those asked with it, or finds the one already open (a node may run twice).
create or replace function hold(p jsonb)
returns table (code text, approval text)
language plpgsql security definer set search_path = public, pg_temp as $$
declare v_run runs; v_last approvals; v_code text; v_expires timestamptz; v_draft approvals; v_round approvals;
  v_items jsonb;
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
  v_draft := draft_round(p);
  if voters_left(v_draft, '') < v_draft.need then return query select 'no_approver_left', null::text; return; end if;
  v_draft.authors := authors_of(v_run.id, steps_to_ask(p), p -> 'pins');
  -- What people saw before is no longer what this run wants.
  perform void_run_approvals(v_run.id, 'approval_stale');
  v_expires := clock_timestamp() + make_interval(secs => (p ->> 'ttl')::int);
  insert into approvals (tenant, id, run, round, requester, need, groups, requester_excluded, nonce, exposure,
                         currency, step, plan_hash, policy, rules, pins, shown, expires, authors, checkpoint)
  values (v_run.tenant, p ->> 'id', v_run.id,
          1 + (select count(*) from approvals a where a.run = v_run.id), v_run.requester, (p ->> 'need')::int,
          array(select jsonb_array_elements_text(p -> 'groups')), (p ->> 'requester_excluded')::boolean, p ->> 'nonce',
          (p ->> 'exposure')::bigint, p ->> 'exposure_currency', p ->> 'step', p ->> 'plan', p ->> 'policy',
          p -> 'rules', p -> 'pins', p -> 'shown', v_expires, v_draft.authors, p ->> 'checkpoint')
  returning * into v_round;
  with asked as (
    insert into approval_items (tenant, approval, digest, step, tool, amount, currency)
    select v_run.tenant, p ->> 'id', x.digest, x.step, x.tool, x.amount, x.currency
      from jsonb_to_recordset(p -> 'items') as x (digest text, step text, tool text, amount bigint, currency text)
    returning governed_row(approval_items) as row)
  select jsonb_agg(a.row) into v_items from asked a;
  perform journal_extend(v_run.id,
    jsonb_build_object('kind', 'proposed', 'role', p ->> 'role', 'step', p ->> 'step', 'tool', p ->> 'tool',
      'user', p ->> 'user', 'plan', p ->> 'plan', 'args', p -> 'args', 'digest', p ->> 'digest',
      'amount', p -> 'amount', 'currency', p -> 'currency', 'checkpoint', p ->> 'checkpoint'),
    journal_told_by_app(coalesce(p -> 'judged', '{}')) || held_entry(v_round) || jsonb_build_object(
      'items', p -> 'items', 'rows', jsonb_build_array(governed_row(v_round)) || v_items));
  return query select 'held', p ->> 'id';
end $$;
revoke execute on function hold(jsonb) from public;
grant execute on function hold(jsonb) to cs_app;

-- A person says what became of an effect whose outcome nobody could find out, or that its run left unfinished.
create or replace function resolve_effect(p_effect text, p_state text, p_note text)
returns table (code text, state text, run text)
language plpgsql security definer set search_path = public, pg_temp as $$
declare v_run runs; v effects; v_old text; v_freed jsonb := '{"rows": []}';
begin
  perform demand_group(array['ops', 'finance', 'admin'], 'settle what is in doubt');
  select r.* into v_run from runs r where r.id = (select e.run from effects e where e.id = p_effect) for no key update;
  select * into v from effects e where e.id = p_effect for update;
  if not found then return query select 'not_found', null::text, null::text; return; end if;
  if v.state <> 'in_doubt'
     and (v.state not in ('claimed', 'unverified') or v_run.status in ('queued', 'running', 'waiting')) then
    return query select 'conflict', v.state, v.run; return;
  end if;
  v_old := v.state;
  delete from permits.permit t where t.effect = p_effect and t.consumed is null;
  update effects e set state = p_state, settled = clock_timestamp(),
         outcome = coalesce(e.outcome, '{}') || jsonb_build_object('resolved_by', current_principal(), 'note', p_note)
           -- A service that said ok under a key and did nothing will do nothing under it any more.
           || case when v.state = 'unverified' and p_state = 'failed' then '{"is_key_dead": true}' else '{}' end::jsonb
   where e.id = p_effect returning e.* into v;
  if p_state = 'done' then v_freed := free_reversed(v); end if;
  -- What is unverified was settled before, so that nothing is reserved for it.
  perform journal_record(v_run, case when v_old <> 'unverified' then negative(v.cost) end,
    case when v_old <> 'unverified' then v.cost end, v_freed || jsonb_build_object('kind', 'resolved',
      'effect', p_effect, 'state', p_state, 'by', current_principal(), 'note', p_note, 'step', v.step, 'tool', v.tool,
      'cost', v.cost, 'rows', (v_freed -> 'rows') || jsonb_build_array(governed_row(v))));
  return query select 'ok', p_state, v.run;
end $$;
revoke execute on function resolve_effect(text, text, text) from public;
grant execute on function resolve_effect(text, text, text) to cs_app;
