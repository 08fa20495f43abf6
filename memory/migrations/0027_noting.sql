-- Writing a note is one statement, and takes no longer in a scope of ten thousand than in one of ten.

-- A plan may be made while a table is empty and every index looks as good as any. So there is one way to each answer:
-- rows by id through the primary key, texts worded alike through their marks, the rest through the scope.
drop index memories_scope;
create index memories_scope on memories (scope, tenant, created);
drop index memories_near;
drop index memory_marks_of;
create index memory_marks_of on memory_marks (memory);
drop index memory_postings_memory;
create index memory_postings_memory on memory_postings (memory);
comment on column memory_marks.mark is 'digest of the wording, and for what was said in a conversation its place';
comment on column memories.near is 'digest of the terms, whatever their order: known again if it was forgotten';
alter table memories add constraint memories_uses check (uses >= 0) not valid;

-- Marks were bands of resemblance, which took different statements for one. Pruning still finds doubles among old rows.
truncate memory_marks;

-- Words and marks are written with their memory and leave with it, all of a statement at once: a foreign key would look
-- at the memory again for each of its words, and at each of its words for every memory that leaves.
alter table memory_postings drop constraint memory_postings_tenant_memory_fkey;
alter table memory_marks drop constraint memory_marks_tenant_memory_fkey;
create function unpost_memories() returns trigger
language plpgsql security definer set search_path = public, pg_temp set enable_seqscan = off as $$
declare v record;
begin
  for v in select g.tenant, array_agg(g.id) as ids from gone g group by g.tenant loop
    -- Not by an index that begins with the tenant: all of its memories would be looked through.
    delete from memory_postings p where p.memory = any (v.ids) and p.tenant || '' = v.tenant;
    delete from memory_marks k where k.memory = any (v.ids) and k.tenant || '' = v.tenant;
  end loop;
  return null;
end $$;
create trigger memories_unpost after delete on memories referencing old table as gone
  for each statement execute function unpost_memories();
-- Whoever deletes memories, housekeeping included, which works for no tenant.
create policy unposts on memory_postings to cs_system using (true) with check (false);
create policy unposts on memory_marks to cs_system using (true) with check (false);
grant select, delete on memory_postings, memory_marks to cs_system;
revoke execute on function unpost_memories() from public;
grant create on schema public to cs_system;
alter function unpost_memories() owner to cs_system;
revoke create on schema public from cs_system;

create or replace function look_at_note(p jsonb)
returns table (code text, id uuid, trust text)
language plpgsql set search_path = public, pg_temp
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
declare
  v_tenant text := current_tenant();
  v_scope text := p ->> 'scope';
  v_key text := p ->> 'key';
  v_near text := p ->> 'near';
  v_session text := p ->> 'session';
  v_place int := (p ->> 'place')::int;
  v_rank int := trust_rank(p ->> 'trust');
  v_terms text[] := array(select jsonb_array_elements_text(p -> 'terms'));
  v_size int := cardinality(v_terms);
  v_alike uuid[];
  v_seen uuid[];
begin
  -- One of 64 locks of the scope: a long import needs no more, and two notes at once seldom wait for each other.
  perform pg_advisory_xact_lock(
    hashtextextended(v_tenant || '/' || v_scope, 7600) # (hashtextextended(coalesce(v_key, v_near), 7600) & 63));
  if (p ->> 'guarded')::boolean
     and is_forgotten(array[v_scope, 'by:' || coalesce(p ->> 'principal', '')], v_near) then
    return query select 'forgotten', null::uuid, null::text; return;
  end if;
  if v_key is not null then
    return query select case when m.digest = p ->> 'digest'
                                  and (v_session is null or (m.session = v_session and m.place = v_place)) then 'twin'
                             when trust_rank(m.trust) > v_rank then 'outranked' else 'new' end, m.id, m.trust
      from memories m
     where m.tenant = v_tenant and m.scope = v_scope and m.key = v_key and m.superseded_by is null
       and (m.expires is null or m.expires > clock_timestamp());
    if found then return; end if;
  else
    v_alike := array(
      select k.memory from jsonb_array_elements_text(p -> 'marks') as given (mark)
       cross join lateral (select a.memory from memory_marks a
                            where a.tenant = v_tenant and a.scope = v_scope and a.mark = given.mark limit 100) k);
    return query
      -- What is said again in another place of a conversation is a memory of its own.
      select case when v_session is null or (m.session = v_session and m.place = v_place) then 'twin' else 'new' end,
             m.id, m.trust from memories m
       where m.tenant = v_tenant and m.id = any (v_alike) and m.key is null
         and m.superseded_by is null and (m.expires is null or m.expires > clock_timestamp())
         and trust_rank(m.trust) >= v_rank
       order by (m.session = v_session and m.place = v_place) is true desc, m.created, m.id limit 1;
    if found then return; end if;
  end if;
  if v_rank < trust_rank('human') then
    v_seen := array(select d::uuid from jsonb_array_elements_text(p -> 'derived') d
                     where d ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
                    union select s.memory from jsonb_array_elements_text(p -> 'seers') as given (seer)
                            join memory_seen s on s.tenant = v_tenant and s.seer = given.seer);
    return query
      select 'restated', m.id, m.trust from memories m
       where m.tenant = v_tenant and m.id = any (v_seen) and m.terms && v_terms[1 : v_size / 10 + 1]
         and says_no_more(v_terms, m.terms, v_size / 10)
       order by m.created, m.id limit 1;
  end if;
end $$;

-- Writes a note if it is news: links what is known, ends what its subject said before. What is told again lives as long
-- as the longer of both tellings, a subject's value as long as the last one says. Sees and may do only what its
-- caller may. Without a vector nothing new is written, and the answer `new` asks for one.
create function write_memory(p jsonb)
returns table (code text, about uuid, held text, id text, scope text, key text, body text, trust text,
               provenance jsonb, created timestamptz, expires timestamptz, uses int, speaker text, session text,
               place int, said timestamptz)
language plpgsql set search_path = public, pg_temp as $$
#variable_conflict use_column
declare
  v_tenant text := current_tenant();
  v_end timestamptz := clock_timestamp() + (p ->> 'ttl')::interval;
  v memories := jsonb_populate_record(null::memories, p);
begin
  select l.code, l.id, l.trust into code, about, held from look_at_note(p) l;
  if code = 'twin' then
    insert into memory_links (scope, memory, digest, trust, provenance)
    values (p ->> 'scope', about, v.digest, v.trust, v.provenance);
    update memories m
       set told = m.told + 1, pinned = m.pinned or v.pinned,
           expires = case when m.key is not null then v_end
                          when m.expires is not null and v_end is not null then greatest(m.expires, v_end) end
     where m.tenant = v_tenant and m.id = about returning m.* into v;
  elsif code <> 'new' or v.embedding is null then
    code := coalesce(code, 'new');
    return next;
    return;
  else
    v.id := gen_random_uuid();
    v.valid_from := coalesce(v.valid_from, clock_timestamp());
    if v.key is not null then
      -- A value that was so earlier than the current one goes into its history.
      select m.id, m.valid_from, clock_timestamp() into v.superseded_by, v.valid_to, v.known_to from memories m
       where m.tenant = v_tenant and m.scope = p ->> 'scope' and m.key = v.key and m.superseded_by is null
         and m.valid_from > (p ->> 'valid_from')::timestamptz;
      if not found then
        update memories m
           set superseded_by = v.id, known_to = clock_timestamp(),
               valid_to = least(coalesce(m.valid_to, 'infinity'), greatest(m.valid_from, v.valid_from))
         where m.tenant = v_tenant and m.scope = p ->> 'scope' and m.key = v.key and m.superseded_by is null;
      end if;
    end if;
    insert into memories (id, scope_kind, scope_id, key, body, digest, near, terms, embedder, embedding, trust,
                          provenance, expires, pinned, valid_from, valid_to, known_to, superseded_by, speaker, said,
                          session, place)
    values (v.id, v.scope_kind, v.scope_id, v.key, v.body, v.digest, v.near, v.terms, v.embedder, v.embedding, v.trust,
            v.provenance, v_end, v.pinned, v.valid_from, v.valid_to, v.known_to, v.superseded_by, v.speaker, v.said,
            v.session, v.place)
    returning * into v;
    insert into memory_marks (scope, mark, memory)
    select v.scope, given.mark, v.id from jsonb_array_elements_text(p -> 'marks') as given (mark) where v.key is null;
  end if;
  return query select 'kept', null::uuid, null::text, v.id::text, v.scope, v.key, v.body, v.trust, v.provenance,
                      v.created, v.expires, v.uses, v.speaker, v.session, v.place, v.said;
end $$;
revoke execute on function write_memory(jsonb) from public;
grant execute on function write_memory(jsonb) to cs_app;
