-- Rows that come from a file or from the archive: from a closed list of columns, under an id of their own, never twice.
-- Called by transfer.py.

-- Why a memory from a file is not taken in; null means that it may be. What has ended in its subject goes first.
create or replace function taking_refusal(v memories, p_scope text, p_spare uuid, p_now timestamptz) returns text
language plpgsql set search_path = public, pg_temp as $$
declare v_tenant text := current_tenant(); v_code text;
begin
  v_code := case
    when exists (select 1 from memories m
                  where m.tenant = v_tenant and m.id in (v.id, p_spare) and m.scope = p_scope) then 'known'
    when v.expires <= p_now then 'expired'
    when is_forgotten(array[p_scope, 'by:' || coalesce(current_principal(), '')], v.near) then 'forgotten' end;
  if v_code is not null or v.key is null then return v_code; end if;
  perform uncover_memory(p_scope, v.key);
  if v.superseded_by is not null then return null; end if;
  delete from memories m where m.tenant = v_tenant and m.scope = p_scope and m.key = v.key
     and m.superseded_by is null and m.expires <= p_now;
  -- A value that ends in time may cover one that waits for that.
  return case when exists (
    select 1 from memories m where m.tenant = v_tenant and m.scope = p_scope and m.key = v.key
       and (m.superseded_by is null or m.covered_until < coalesce(v.expires, 'infinity'))) then 'taken' end;
end $$;
revoke execute on function taking_refusal(memories, text, uuid, timestamptz) from public;
grant execute on function taking_refusal(memories, text, uuid, timestamptz) to cs_app;

-- Writes the row of a memory that is taken in; false if its id is in use. Not by `on conflict`: the words of a row are
-- written before it (write.sql), and must go with it.
create or replace function keep_memory(v memories, p_embedding vector, p_now timestamptz) returns boolean
language plpgsql set search_path = public, pg_temp as $$
declare v_constraint text;
begin
  insert into memories (id, scope_kind, scope_id, key, body, digest, near, terms, embedder, embedding, trust,
                        provenance, uses, told, pinned, created, expires, valid_from, valid_to, known_to,
                        superseded_by, covered_until, speaker, said, session, place, answers)
  values (v.id, v.scope_kind, v.scope_id, v.key, v.body, encode(sha256(convert_to(v.body, 'UTF8')), 'hex'), v.near,
          v.terms, v.embedder, p_embedding, v.trust, v.provenance, greatest(v.uses, 0), greatest(v.told, 1),
          coalesce(v.pinned, false), least(v.created, p_now), v.expires, coalesce(v.valid_from, v.created, p_now),
          v.valid_to, v.known_to, v.superseded_by, case when v.superseded_by is not null then v.covered_until end,
          v.speaker, v.said, v.session, v.place,
          coalesce(v.answers, false));
  return true;
exception when unique_violation then
  get stacked diagnostics v_constraint = constraint_name;
  if v_constraint <> 'memories_pkey' then raise; end if;
  return false;
end $$;
revoke execute on function keep_memory(memories, vector, timestamptz) from public;
grant execute on function keep_memory(memories, vector, timestamptz) to cs_app;

-- Takes a memory in and answers what came of it: kept, known (the scope has it), expired, forgotten, or taken (its
-- subject has another value, or the id is in use and there is no spare one). Sees and may do only what its caller may.
create or replace function take_memory(p jsonb, p_embedding vector)
returns table (code text, id text, scope text, key text, body text, trust text, provenance jsonb, created timestamptz,
               expires timestamptz, uses int, speaker text, session text, place int, said timestamptz)
language plpgsql set search_path = public, pg_temp as $$
#variable_conflict use_column
declare
  v_tenant text := current_tenant();
  v_now timestamptz := clock_timestamp();
  v_scope text := (p ->> 'scope_kind') || ':' || (p ->> 'scope_id');
  v_spare uuid := (p ->> 'spare')::uuid;
  v_named uuid;
  v memories := jsonb_populate_record(null::memories, p);
begin
  v_named := v.id;
  if v.covered_until <= v_now then
    -- What covered it has ended on the way.
    v.superseded_by := null;
    v.covered_until := null;
  end if;
  code := taking_refusal(v, v_scope, v_spare, v_now);
  if code is not null then return next; return; end if;
  -- Its successor may have come before it, under another id than the file gives.
  select m.id into v.superseded_by from memories m
   where m.tenant = v_tenant and m.scope = v_scope and m.id = (p ->> 'superseded_spare')::uuid
   union all select v.superseded_by limit 1;
  if exists (select 1 from memories m where m.tenant = v_tenant and m.scope = v_scope and m.key = v.key
                and m.superseded_by is null and coalesce(m.expires, 'infinity') > v.covered_until) then
    v.covered_until := null;
  end if;
  loop
    exit when keep_memory(v, p_embedding, v_now);
    -- The id is in use in another scope, of which nothing shall be told.
    if v_spare is null or v.id = v_spare then code := 'taken'; return next; return; end if;
    v.id := v_spare;
  end loop;
  if v.id <> v_named then
    update memories m set superseded_by = v.id
     where m.tenant = v_tenant and m.scope = v_scope and m.key = v.key and m.superseded_by = v_named;
  end if;
  if v.key is null then perform mark_memory(v_scope, v.id, p -> 'marks'); end if;
  return query
    select 'kept', m.id::text, m.scope, m.key, m.body, m.trust, m.provenance, m.created, m.expires, m.uses, m.speaker,
           m.session, m.place, m.said
      from memories m where m.tenant = v_tenant and m.id = v.id;
end $$;
revoke execute on function take_memory(jsonb, vector) from public;
grant execute on function take_memory(jsonb, vector) to cs_app;

-- Who else told a text that was taken in; kept, known, or nothing if the text is not here, as when it has expired.
create or replace function take_link(p jsonb) returns table (code text)
language plpgsql set search_path = public, pg_temp as $$
declare
  v memory_links := jsonb_populate_record(null::memory_links, p);
  v_scope text := (p ->> 'scope_kind') || ':' || (p ->> 'scope_id');
  v_memory uuid;
begin
  select m.id into v_memory from memories m
   where m.tenant = current_tenant() and m.id in (v.memory, (p ->> 'spare')::uuid) and m.scope = v_scope;
  if not found then return query select 'gone'; return; end if;
  v.told := least(v.told, clock_timestamp());
  if exists (select 1 from memory_links l where l.tenant = current_tenant() and l.memory = v_memory
                and l.digest = v.digest and l.told = v.told) then
    return query select 'known'; return;
  end if;
  insert into memory_links (scope, memory, digest, trust, provenance, told)
  values (v_scope, v_memory, v.digest, v.trust, v.provenance, v.told);
  return query select 'kept';
end $$;
revoke execute on function take_link(jsonb) from public;
grant execute on function take_link(jsonb) to cs_app;

-- What was archived where the file comes from, into the archive of the scope that is written; a hold does not travel.
create or replace function take_archived(p jsonb) returns table (code text)
language plpgsql security definer set search_path = public, pg_temp as $$
declare
  v_content jsonb := p -> 'content';
  v_scope text := (v_content ->> 'scope_kind') || ':' || (v_content ->> 'scope_id');
  v memories := jsonb_populate_record(null::memories, v_content || jsonb_build_object('scope', v_scope));
  v_id uuid;
begin
  if v_scope is null or v_scope <> all (current_writes()) then
    raise exception 'scope % is not the one to write; enter with it before taking in', v_scope
      using errcode = 'insufficient_privilege';
  end if;
  if v.body is null or octet_length(v.body) not between 1 and 8192 or octet_length(v.provenance::text) > 20000
     or v.provenance ->> 'principal' is distinct from current_principal()
     or coalesce(v.trust, '') <> all (array['human', 'tool', 'model', 'untrusted']) then
    raise exception 'its content is no memory' using errcode = 'check_violation';
  end if;
  if is_forgotten(array[v_scope, 'by:' || current_principal()], v.near) then
    return query select 'forgotten'; return;
  end if;
  foreach v_id in array array[v.id, (p ->> 'spare')::uuid] loop
    if exists (select 1 from memory_archive a
                where a.tenant = current_tenant() and a.id = v_id and a.scope = v_scope) then
      return query select 'known'; return;
    end if;
  end loop;
  foreach v_id in array array[v.id, (p ->> 'spare')::uuid] loop
    v.id := v_id;
    insert into memory_archive (id, scope, writer, content, reason, policy, pruned_by, pruned, retained_until)
    values (v.id, v_scope, v.provenance ->> 'principal', to_jsonb(v) - array['tenant', 'embedder', 'embedding'],
            p ->> 'reason', p ->> 'policy', p ->> 'pruned_by', least((p ->> 'pruned')::timestamptz, clock_timestamp()),
            least((p ->> 'retained_until')::timestamptz, clock_timestamp() + interval '10 years'))
    on conflict (tenant, id) do nothing;
    if found then return query select 'kept'; return; end if;
  end loop;
  return query select 'taken';
end $$;
revoke execute on function take_archived(jsonb) from public;
grant execute on function take_archived(jsonb) to cs_app;
