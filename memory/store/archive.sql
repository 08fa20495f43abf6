-- The archive of pruned memories: restored, held, listed. A hold is in the journal, without a word of the text. Called
-- by archive.py.

-- After a row was put back: the copy goes, and the record says so. What is held cannot leave the archive by being
-- restored: from memory its owner could forget it.
create or replace function unshelve_memory(p_id text) returns boolean
language plpgsql security definer set search_path = public, pg_temp as $$
begin
  delete from memory_archive a
   where a.id::text = p_id and a.content is not null and not a.hold and a.scope = any (current_writes());
  if not found then return false; end if;
  perform journal_extend(authority_chain(),
    jsonb_build_object('kind', 'restored', 'memory', p_id, 'by', current_principal()));
  return true;
end $$;
revoke execute on function unshelve_memory(text) from public;
grant execute on function unshelve_memory(text) to cs_app;

-- Keeps an archived row beyond its retention, or lets it go again. Whoever it belongs to may ask for a hold; only
-- administrators lift one.
create or replace function hold_memory(p_id text, p_on boolean) returns boolean
language plpgsql security definer set search_path = public, pg_temp as $$
begin
  if not (p_on or is_of(array['admin'])) then
    raise exception 'a legal hold is lifted by administrators alone' using errcode = 'insufficient_privilege';
  end if;
  if not hold_archived(p_id, p_on, case when not is_of(array['admin']) then current_writes() end) then
    return false;
  end if;
  perform journal_extend(authority_chain(),
    jsonb_build_object('kind', 'legal_hold', 'memory', p_id, 'on', p_on, 'by', current_principal()));
  return true;
end $$;
revoke execute on function hold_memory(text, boolean) from public;
grant execute on function hold_memory(text, boolean) to cs_app;

-- What of a person is archived and could be held: an administrator learns when and why it left, never what it says.
create or replace function archive_of(p_person text, p_limit int)
returns table (id text, scope text, reason text, pruned timestamptz, retained_until timestamptz, hold boolean)
language plpgsql security definer set search_path = public, pg_temp as $$
begin
  if not is_of(array['admin']) then
    raise exception 'only administrators see what of others is archived' using errcode = 'insufficient_privilege';
  end if;
  return query select * from archived_rows(p_person, p_limit);
end $$;
revoke execute on function archive_of(text, int) from public;
grant execute on function archive_of(text, int) to cs_app;

-- Owned by the system role, which works for no tenant and sees what its policies name.
set local role cs_system;

-- Sets or lifts a hold on a row of the archive; false if there is none. An administrator holds what belongs to anybody
-- of the tenant.
create or replace function hold_archived(p_id text, p_on boolean, p_scopes text[]) returns boolean
language plpgsql security definer set search_path = public, pg_temp as $$
begin
  update memory_archive a set hold = p_on
   where a.tenant = current_tenant() and a.id::text = p_id and a.content is not null
     and (p_scopes is null or a.scope = any (p_scopes));
  return found;
end $$;
revoke execute on function hold_archived(text, boolean, text[]) from public;
grant execute on function hold_archived(text, boolean, text[]) to cs_owner;

-- Rows of the archive that a person has a part in, whatever the scope.
create or replace function archived_rows(p_person text, p_limit int)
returns table (id text, scope text, reason text, pruned timestamptz, retained_until timestamptz, hold boolean)
language sql security definer set search_path = public, pg_temp as $$
  select a.id::text, a.scope, a.reason, a.pruned, a.retained_until, a.hold from memory_archive a
   where a.tenant = current_tenant() and a.content is not null
     and (a.scope = 'user:' || p_person or starts_with(a.scope, 'session:' || p_person || '/') or a.writer = p_person)
   order by a.pruned desc, a.id limit p_limit
$$;
revoke execute on function archived_rows(text, int) from public;
grant execute on function archived_rows(text, int) to cs_owner;

reset role;
