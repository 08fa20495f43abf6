-- Who belongs to a group decides who may permit, so people are put in place by the owner alone; and keys, with which one
-- becomes somebody, are made and ended by administrators, whatever else the app's role was brought to ask.
revoke execute on function put_principal(text, text[], bigint, bigint) from cs_app;

create function demand_administrator() returns void
language plpgsql stable set search_path = public, pg_temp as $$
begin
  if session_user <> 'cs_owner' and not exists (
       select 1 from principals p where p.id = current_principal() and 'admin' = any (p.groups)) then
    raise exception 'only administrators make and end keys' using errcode = 'insufficient_privilege';
  end if;
end $$;

create or replace function create_key(p_principal text, p_hash bytea, p_label text, p_expires timestamptz)
returns table (id text) language plpgsql security definer set search_path = public, pg_temp as $$
begin
  perform demand_administrator();
  return query insert into keys (tenant, principal, hash, label, expires)
    values (current_tenant(), p_principal, p_hash, p_label, p_expires) returning keys.id;
end $$;

create or replace function revoke_key(p_id text)
returns table (id text) language plpgsql security definer set search_path = public, pg_temp as $$
begin
  perform demand_administrator();
  return query update keys set revoked = coalesce(revoked, clock_timestamp()) where keys.id = p_id returning keys.id;
end $$;
revoke execute on function demand_administrator() from public;
