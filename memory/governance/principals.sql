-- People, their groups and their keys. Called by principals.py, and by all functions that ask for a group.

-- Whether the installation itself was entered: a name that no person bears, which only our own processes can enter as.
create or replace function is_installation() returns boolean
language sql stable security definer set search_path = public, pg_temp as $$
  select current_principal() = 'countersign'
     and not exists (select 1 from principals p where p.id = current_principal())
$$;
revoke execute on function is_installation() from public;

-- Whether the entered person is in one of these groups: by the table, never by what a request says of itself.
create or replace function is_of(p_groups text[]) returns boolean
language sql stable security definer set search_path = public, pg_temp as $$
  select exists (select 1 from principals p where p.id = current_principal() and p.groups && p_groups)
$$;
revoke execute on function is_of(text[]) from public;

-- Refuses whoever is neither of one of the groups nor the installation.
create or replace function demand_group(p_groups text[], p_to text) returns void
language plpgsql stable set search_path = public, pg_temp as $$
begin
  if session_user <> 'cs_owner' and not is_of(p_groups) and not is_installation() then
    raise exception 'only % may %', array_to_string(p_groups, ', '), p_to using errcode = 'insufficient_privilege';
  end if;
end $$;
revoke execute on function demand_group(text[], text) from public;

-- Creates or changes a person of the entered tenant. Who belongs to a group decides who may permit, so only the owner
-- puts people in place.
create or replace function put_principal(p_id text, p_groups text[], p_alone bigint, p_joint bigint)
returns table (id text) language sql security definer set search_path = public, pg_temp as $$
  insert into principals (tenant, id, groups, limit_alone, limit_joint)
  values (current_tenant(), p_id, p_groups, p_alone, p_joint)
  on conflict (tenant, id) do update
     set groups = excluded.groups, limit_alone = excluded.limit_alone, limit_joint = excluded.limit_joint
  returning principals.id
$$;
revoke execute on function put_principal(text, text[], bigint, bigint) from public;

-- What people do against the machinery's word, here and below, is for the groups that may, whatever else the app's role
-- was brought to ask.
create or replace function create_key(p_principal text, p_hash bytea, p_label text, p_expires timestamptz)
returns table (id text) language plpgsql security definer set search_path = public, pg_temp as $$
begin
  perform demand_group(array['admin'], 'make keys');
  return query insert into keys (tenant, principal, hash, label, expires)
    values (current_tenant(), p_principal, p_hash, p_label, p_expires) returning keys.id;
end $$;
revoke execute on function create_key(text, bytea, text, timestamptz) from public;
grant execute on function create_key(text, bytea, text, timestamptz) to cs_app;

-- Ends a key.
create or replace function revoke_key(p_id text)
returns table (id text) language plpgsql security definer set search_path = public, pg_temp as $$
begin
  perform demand_group(array['admin'], 'end keys');
  return query update keys set revoked = coalesce(revoked, clock_timestamp()) where keys.id = p_id returning keys.id;
end $$;
revoke execute on function revoke_key(text) from public;
grant execute on function revoke_key(text) to cs_app;

-- Owned by the system role, which works for no tenant and sees what its policies name.
set local role cs_system;

-- Finds whose key this is, before anybody has been entered.
create or replace function principal_of_key(p_hash bytea)
returns table (tenant text, id text, groups text[], limit_alone bigint, limit_joint bigint, standing text)
language sql stable security definer set search_path = public, pg_temp as $$
  select p.tenant, p.id, p.groups, p.limit_alone, p.limit_joint,
         case when k.revoked is not null then 'revoked'
              when k.expires <= clock_timestamp() then 'expired' else 'valid' end
    from keys k join principals p on p.tenant = k.tenant and p.id = k.principal
   where k.hash = p_hash
$$;
revoke execute on function principal_of_key(bytea) from public;
grant execute on function principal_of_key(bytea) to cs_app;

reset role;
