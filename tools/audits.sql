-- Questions about what was done and is not as expected. Called by audits.py; answered through approvals.sql.

-- What a failed audit is about: the amount of the effect in question, or of all that its run did. Amounts of several
-- currencies have no sum: the currency is `*` then, in which nobody has a limit, so that nobody accepts them; people can
-- still have them taken back, or leave it. Null currency if it is not about money.
create or replace function contested_sum(p_run text, p_effect text) returns table (amount bigint, currency text)
language sql stable set search_path = public, pg_temp as $$
  with sums as (
    select coalesce(e.currency, accounting_currency()) as currency, sum(e.amount)::bigint as amount from effects e
     where e.run = p_run and e.state in ('done', 'unverified') and e.amount <> 0 and e.id = coalesce(p_effect, e.id)
     group by 1)
  select coalesce(max(s.amount), 0), case when count(*) > 1 then '*' else min(s.currency) end from sums s
$$;
revoke execute on function contested_sum(text, text) from public;

-- Opens the question of a failed audit, or finds the one about the same problems, whatever was answered.
create or replace function open_audit(p jsonb)
returns table (code text, approval text)
language plpgsql security definer set search_path = public, pg_temp as $$
declare v_run runs; v_last approvals; v_id text := gen_random_uuid()::text; v_sum record; v_effect effects; v_round approvals; v_item approval_items;
begin
  select * into v_run from runs r where r.id = p ->> 'run' for no key update;
  if not is_led(v_run, (p ->> 'fence')::int) then
    return query select 'lease_lost', null::text; return;
  end if;
  if v_run.cancel is not null then return query select 'cancelled', null::text; return; end if;
  select a.* into v_last from approvals a join approval_items i on i.approval = a.id
   where a.run = v_run.id and a.kind = 'audit' and i.digest = p ->> 'digest' order by a.round desc limit 1;
  if found and v_last.status <> 'void' then return query select 'ok', v_last.id; return; end if;
  perform void_run_approvals(v_run.id, 'approval_stale');
  select * into v_effect from effects e where e.id = p #>> '{shown,effect}';
  select * into v_sum from contested_sum(v_run.id, v_effect.id);
  insert into approvals (tenant, id, kind, run, round, requester, need, groups, requester_excluded, nonce, exposure,
                         currency, step, plan_hash, policy, rules, pins, shown, expires, authors, checkpoint)
  values (v_run.tenant, v_id, 'audit', v_run.id, 1 + (select count(*) from approvals a where a.run = v_run.id),
          v_run.requester, 1, array['ops', 'finance', 'admin'], true, replace(gen_random_uuid()::text, '-', ''),
          v_sum.amount, v_sum.currency, p #>> '{shown,step}', coalesce(v_run.plan_hash, ''),
          (select a.policy from authority a), '["audit"]', '[]', p -> 'shown',
          clock_timestamp() + make_interval(secs => (p ->> 'ttl')::int),
          authors_of(v_run.id, array[p #>> '{shown,step}'], coalesce(v_run.plan -> 'cites', '[]')),
          p ->> 'checkpoint')
  returning * into v_round;
  insert into approval_items (tenant, approval, digest, step, tool, amount, currency, effect)
  values (v_run.tenant, v_id, p ->> 'digest', p #>> '{shown,step}', coalesce(v_effect.tool, ''), v_sum.amount,
          v_sum.currency, v_effect.id) returning * into v_item;
  -- What nobody may accept alone, two may together.
  if voters_left(v_round, '') = 0 then
    update approvals a set need = 2 where a.id = v_id returning a.* into v_round;
  end if;
  perform journal_extend(v_run.id, held_entry(v_round) || jsonb_build_object('code', 'audit_failed',
    'problems', p #> '{shown,problems}',
    'items', jsonb_build_array(to_jsonb(v_item) - array['tenant', 'approval', 'consumed']),
    'rows', jsonb_build_array(governed_row(v_round), governed_row(v_item))));
  return query select 'ok', v_id;
end $$;
revoke execute on function open_audit(jsonb) from public;
grant execute on function open_audit(jsonb) to cs_app;
