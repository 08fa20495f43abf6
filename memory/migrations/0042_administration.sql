-- Who belongs to a group decides who may permit, so people are put in place by the owner alone. Keys, with which one
-- becomes somebody, and what people do against the machinery's word are for the groups that may, whatever else the app's
-- role was brought to ask.
revoke execute on function put_principal(text, text[], bigint, bigint) from cs_app;

create function demand_group(p_groups text[], p_to text) returns void
language plpgsql stable set search_path = public, pg_temp as $$
begin
  if session_user <> 'cs_owner' and not is_of(p_groups) and not is_installation() then
    raise exception 'only % may %', array_to_string(p_groups, ', '), p_to using errcode = 'insufficient_privilege';
  end if;
end $$;

create or replace function create_key(p_principal text, p_hash bytea, p_label text, p_expires timestamptz)
returns table (id text) language plpgsql security definer set search_path = public, pg_temp as $$
begin
  perform demand_group(array['admin'], 'make keys');
  return query insert into keys (tenant, principal, hash, label, expires)
    values (current_tenant(), p_principal, p_hash, p_label, p_expires) returning keys.id;
end $$;

create or replace function revoke_key(p_id text)
returns table (id text) language plpgsql security definer set search_path = public, pg_temp as $$
begin
  perform demand_group(array['admin'], 'end keys');
  return query update keys set revoked = coalesce(revoked, clock_timestamp()) where keys.id = p_id returning keys.id;
end $$;

create or replace function unkill(p_kind text, p_name text)
returns table (code text) language plpgsql security definer set search_path = public, pg_temp as $$
begin
  perform demand_group(array['ops', 'finance', 'admin'], 'release the stop switch');
  perform authority_lock_exclusive();
  delete from kills k where k.kind = p_kind and k.name = p_name;
  if not found then return query select 'not_found'; return; end if;
  perform journal_extend(authority_chain(), jsonb_build_object('kind', 'unkill', 'scope', p_kind, 'name', p_name,
    'by', current_principal()));
  return query select 'ok';
end $$;

create or replace function activate_policy(p_hash text)
returns table (code text, run text) language plpgsql security definer set search_path = public, pg_temp as $$
declare v record;
begin
  perform demand_group(array['ops', 'finance', 'admin'], 'put policies in force');
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

create or replace function resolve_effect(p_effect text, p_state text, p_note text)
returns table (code text, state text, run text) language plpgsql security definer set search_path = public, pg_temp as $$
declare v_run runs; v effects;
begin
  perform demand_group(array['ops', 'finance', 'admin'], 'settle what is in doubt');
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

revoke execute on function demand_group(text[], text) from public;
