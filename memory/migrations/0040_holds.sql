-- What people decide about single memories and transcripts: pins by whoever a memory belongs to, legal holds by
-- administrators. Each is in the journal, without a word of the text.

create or replace function is_reserved_kind(p_kind text) returns boolean language sql immutable as $$
  select coalesce(p_kind in ('requested', 'planned', 'proposed', 'permitted', 'outcome', 'interrupted', 'resolved',
    'read', 'held', 'vote', 'vote_refused', 'question', 'approval', 'kill', 'unkill', 'policy', 'knowledge',
    'answered', 'cancel', 'resumed', 'ended', 'pruned', 'restored', 'legal_hold', 'forgotten', 'pinned'), true)
$$;

-- Keeps a live memory of the scope that is written from being pruned, or no longer. Pins are few, so that a scope of
-- nothing but pins cannot outgrow its room.
create function pin_memory(p_id text, p_on boolean, p_most int) returns table (code text)
language plpgsql security definer set search_path = public, pg_temp as $$
declare v memories;
begin
  select m.* into v from memories m
   where m.id::text = p_id and m.scope = any (current_writes()) and m.superseded_by is null
     and (m.expires is null or m.expires > clock_timestamp());
  if not found then return query select 'not_found'; return; end if;
  -- The lock of pruning, which looks at pins and then takes away what has none.
  perform pg_advisory_xact_lock(hashtextextended(current_tenant() || '/' || v.scope, 7610));
  if p_on and (select count(*) from memories m where m.scope = v.scope and m.pinned and m.id <> v.id) >= p_most then
    return query select 'full'; return;
  end if;
  update memories m set pinned = p_on where m.tenant = v.tenant and m.id = v.id and m.pinned <> p_on;
  if not found then
    return query select case when exists (select 1 from memories m where m.id = v.id) then 'same' else 'not_found' end;
    return;
  end if;
  perform journal_extend(authority_chain(),
    jsonb_build_object('kind', 'pinned', 'memory', p_id, 'on', p_on, 'by', current_principal()));
  return query select 'done';
end $$;

-- An administrator holds what belongs to anybody of the tenant; called by hold_memory and archive_of alone.
create policy holds on memory_archive for update to cs_system
  using (tenant = (select current_tenant())) with check (tenant = (select current_tenant()));
create function hold_archived(p_id text, p_on boolean, p_scopes text[]) returns boolean
language plpgsql security definer set search_path = public, pg_temp as $$
begin
  update memory_archive a set hold = p_on
   where a.tenant = current_tenant() and a.id::text = p_id and a.content is not null
     and (p_scopes is null or a.scope = any (p_scopes));
  return found;
end $$;
create function archived_rows(p_person text, p_limit int)
returns table (id text, scope text, reason text, pruned timestamptz, retained_until timestamptz, hold boolean)
language sql security definer set search_path = public, pg_temp as $$
  select a.id::text, a.scope, a.reason, a.pruned, a.retained_until, a.hold from memory_archive a
   where a.tenant = current_tenant() and a.content is not null
     and (a.scope = 'user:' || p_person or starts_with(a.scope, 'session:' || p_person || '/') or a.writer = p_person)
   order by a.pruned desc, a.id limit p_limit
$$;

-- Whoever it belongs to may ask for a hold; only administrators lift one.
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

-- What is held cannot leave the archive by being restored: from memory its owner could forget it.
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

create or replace function hold_transcript(p_thread text, p_on boolean) returns boolean
language plpgsql security definer set search_path = public, pg_temp as $$
begin
  if not (is_of(array['admin']) or p_on and exists (
       select 1 from runs r where r.thread = p_thread and r.kind = 'run' and r.requester = current_principal())) then
    raise exception 'a transcript is held by administrators' using errcode = 'insufficient_privilege';
  end if;
  update transcripts t set hold = p_on where t.thread = p_thread and t.content is not null;
  if not found then return false; end if;
  perform journal_extend(authority_chain(),
    jsonb_build_object('kind', 'legal_hold', 'thread', p_thread, 'on', p_on, 'by', current_principal()));
  return true;
end $$;

-- What of a person is archived and could be held: an administrator learns when and why it left, never what it says.
create function archive_of(p_person text, p_limit int)
returns table (id text, scope text, reason text, pruned timestamptz, retained_until timestamptz, hold boolean)
language plpgsql security definer set search_path = public, pg_temp as $$
begin
  if not is_of(array['admin']) then
    raise exception 'only administrators see what of others is archived' using errcode = 'insufficient_privilege';
  end if;
  return query select * from archived_rows(p_person, p_limit);
end $$;

-- Puts rows back from exactly the text that was archived, and records who asked for it.
create or replace function restore_transcript(p_thread text, p_text text) returns boolean
language plpgsql security definer set search_path = public, pg_temp as $$
declare v jsonb; v_tenant jsonb := jsonb_build_object('tenant', current_tenant());
begin
  perform 1 from transcripts t where t.thread = p_thread and t.content is not null
     and t.digest = encode(sha256(convert_to(p_text, 'UTF8')), 'hex') for update;
  if not found then return false; end if;
  v := p_text::jsonb;
  insert into checkpoints select (jsonb_populate_record(null::checkpoints, x || v_tenant)).*
    from jsonb_array_elements(v -> 'checkpoints') x on conflict do nothing;
  insert into checkpoint_blobs select (jsonb_populate_record(null::checkpoint_blobs, x || v_tenant)).*
    from jsonb_array_elements(v -> 'blobs') x on conflict do nothing;
  insert into checkpoint_writes select (jsonb_populate_record(null::checkpoint_writes, x || v_tenant)).*
    from jsonb_array_elements(v -> 'writes') x on conflict do nothing;
  update model_calls m set prompt = x ->> 'prompt', answer = x ->> 'answer'
    from jsonb_array_elements(v -> 'calls') x, runs r
   where m.id = (x ->> 'id')::bigint and r.id = m.run and r.thread = p_thread;
  update transcripts t set restored = clock_timestamp() where t.thread = p_thread;
  perform journal_extend(authority_chain(),
    jsonb_build_object('kind', 'restored', 'thread', p_thread, 'by', current_principal()));
  return true;
end $$;

revoke execute on function pin_memory(text, boolean, int), hold_archived(text, boolean, text[]),
  archived_rows(text, int), archive_of(text, int) from public;
grant execute on function pin_memory(text, boolean, int), archive_of(text, int) to cs_app;
grant create on schema public to cs_system;
alter function hold_archived(text, boolean, text[]) owner to cs_system;
alter function archived_rows(text, int) owner to cs_system;
-- Only the owner of a function may say who executes it.
set local role cs_system;
grant execute on function hold_archived(text, boolean, text[]), archived_rows(text, int) to cs_owner;
reset role;
revoke create on schema public from cs_system;
