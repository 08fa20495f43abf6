-- The policy set in force, and the lock of everything that acts under it. Called by policy_version.py.

-- Held by whatever acts under the authority of a tenant, and exclusively by whatever changes it: once a change has
-- committed, nothing commits under what was before.
create or replace function authority_lock_shared() returns void language sql as $$
  select pg_advisory_xact_lock_shared(7200, hashtext(current_tenant()))
$$;

create or replace function authority_lock_exclusive() returns void language sql as $$
  select pg_advisory_xact_lock(7200, hashtext(current_tenant()))
$$;

-- Makes a policy set the one in force; open questions asked under another are void.
create or replace function activate_policy(p_hash text)
returns table (code text, run text) language plpgsql security definer set search_path = public, pg_temp as $$
declare v record; v_authority authority;
begin
  perform demand_group(array['ops', 'finance', 'admin'], 'put policies in force');
  perform authority_lock_exclusive();
  if (select a.policy from authority a) = p_hash then return query select 'same', null::text; return; end if;
  insert into authority (tenant, policy) values (current_tenant(), p_hash)
  on conflict (tenant) do update set policy = excluded.policy, changed = clock_timestamp()
  returning * into v_authority;
  perform journal_extend(authority_chain(), jsonb_build_object('kind', 'policy', 'policy', p_hash,
    'by', current_principal(), 'rows', jsonb_build_array(governed_row(v_authority))));
  code := 'ok'; run := null; return next;
  for v in select a.id, a.run from approvals a where a.status = 'open' and a.policy <> p_hash order by a.run loop
    perform 1 from runs r where r.id = v.run for no key update;
    if close_approval(v.id, 'void', 'stale_policy', current_principal(), null) then
      run := v.run; return next;
    end if;
  end loop;
end $$;
revoke execute on function activate_policy(text) from public;
grant execute on function activate_policy(text) to cs_app;
