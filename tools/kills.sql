-- The stop switch. Called by kills.py.

-- Whether a stop switch covers this work.
create or replace function is_killed(p_run text, p_role text, p_tool text, p_user text) returns boolean
language sql stable as $$
  select exists (select 1 from kills k
                  where k.kind = 'all' or (k.kind = 'run' and k.name = p_run) or (k.kind = 'agent' and k.name = p_role)
                     or (k.kind = 'tool' and k.name = p_tool) or (k.kind = 'user' and k.name = p_user))
$$;
revoke execute on function is_killed(text, text, text, text) from public;

-- Pulls or releases the stop switch; once this has committed, no claim commits under it.
create or replace function kill(p_kind text, p_name text, p_reason text)
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
revoke execute on function kill(text, text, text) from public;
grant execute on function kill(text, text, text) to cs_app;

-- Releases the stop switch.
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
revoke execute on function unkill(text, text) from public;
grant execute on function unkill(text, text) to cs_app;
