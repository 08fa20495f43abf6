-- Effects in doubt: who looks again, when and how often, and what the world showed. Called by doubts.py.

-- Settles an effect in doubt by what a look showed, gives its reservation back, and wakes the run that stopped for it.
-- `looks` is the fence: who was overtaken by the next look says nothing any more.
create or replace function heal_doubt(p jsonb)
returns table (code text, woken boolean)
language plpgsql security definer set search_path = public, pg_temp as $$
declare v_run runs; v effects; v_freed jsonb := '{"rows": []}';
begin
  select r.* into v_run from runs r
   where r.id = (select e.run from effects e where e.id = p ->> 'effect') for no key update;
  select * into v from effects e where e.id = p ->> 'effect' for update;
  if v.state is distinct from 'in_doubt' or v.looks <> (p ->> 'looks')::int then
    return query select 'overtaken', false; return;
  end if;
  update effects e set state = p ->> 'state', outcome = p -> 'outcome', settled = clock_timestamp() where e.id = v.id
  returning e.* into v;
  delete from permits.permit t where t.effect = v.id and t.consumed is null;
  if v.state = 'done' then v_freed := free_reversed(v); end if;
  perform journal_record(v_run, negative(v.cost), v.cost, told_of_outcome(p -> 'extra') || v_freed
    || jsonb_build_object('kind', 'outcome', 'step', v.step, 'tool', v.tool, 'effect', v.id, 'state', p ->> 'state',
      'outcome', p -> 'outcome', 'cost', v.cost,
      'attempt', jsonb_build_object('number', v.attempts, 'read_back', true, 'looks', v.looks),
      'rows', (v_freed -> 'rows') || jsonb_build_array(governed_row(v))));
  return query select 'ok', wake_doubter(v.run);
end $$;
revoke execute on function heal_doubt(jsonb) from public, cs_app;
grant execute on function heal_doubt(jsonb) to cs_worker;

-- Queues a run again that stopped for want of knowledge, once it waits for nothing else; tells whether it did.
create or replace function wake_doubter(p_run text) returns boolean
language plpgsql set search_path = public, pg_temp as $$
declare v_run runs;
begin
  select * into v_run from runs r where r.id = p_run;
  if v_run.status <> 'stopped' or v_run.reason is distinct from 'in_doubt'
     or exists (select 1 from effects e where e.run = p_run and e.state = 'in_doubt') then
    return false;
  end if;
  perform pg_advisory_xact_lock(7300, hashtext(current_tenant() || '/' || v_run.thread));
  if exists (select 1 from runs r where r.thread = v_run.thread and r.kind = 'run' and r.id <> p_run
              and r.status in ('queued', 'running', 'waiting')) then
    return false;
  end if;
  update runs set status = 'queued', attempt = attempt + 1, reason = null, message = '', ended = null,
         cancel = null, beat = clock_timestamp() where runs.id = p_run returning * into v_run;
  perform journal_extend(p_run, jsonb_build_object('kind', 'resumed', 'key', 'resumed:' || v_run.attempt - 1,
    'user', v_run.requester, 'reason', 'the doubt is settled', 'rows', jsonb_build_array(governed_row(v_run))));
  return true;
end $$;
revoke execute on function wake_doubter(text) from public;

-- Owned by the system role, which works for no tenant and sees what its policies name.
set local role cs_system;

-- Takes effects in doubt that are due for a look: one worker at a time looks at each, and the pauses double. `p_looks`
-- says for each tool how many looks it gets in all.
create or replace function due_doubts(p_looks jsonb, p_limit int)
returns table (tenant text, requester text, thread text, correlation text, run text, effect text, step text, role text,
               tool text, args jsonb, send_key text, looks int, silent_seconds float8)
language sql security definer set search_path = public, pg_temp as $$
  with due as (
    select e.tenant, e.id from effects e
     where e.state = 'in_doubt' and e.looks < coalesce((p_looks ->> e.tool)::int, 0)
       -- No pause is longer than an hour but after the clock was set back.
       and (e.look_at is null or e.look_at not between clock_timestamp() and clock_timestamp() + interval '1 hour')
     order by e.look_at nulls first limit p_limit for update skip locked
  ), taken as (
    update effects e set looks = e.looks + 1,
           look_at = clock_timestamp() + least(interval '1 hour', interval '2 seconds' * power(2, e.looks))
      from due where e.tenant = due.tenant and e.id = due.id returning e.*
  )
  select t.tenant, r.requester, r.thread, r.correlation, t.run, t.id, t.step, t.role, t.tool, t.args,
         event_key_of(t.key, coalesce(t.event, t.generation)), t.looks,
         extract(epoch from clock_timestamp() - coalesce(t.sent, t.claimed))::float8
    from taken t join runs r on r.id = t.run
$$;
revoke execute on function due_doubts(jsonb, int) from public, cs_app;
grant execute on function due_doubts(jsonb, int) to cs_worker;

reset role;
