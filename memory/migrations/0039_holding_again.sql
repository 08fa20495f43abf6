-- A value with a time to live does not end the lasting one of its subject but covers it: when it ends, what was covered
-- holds again, to the second. And two texts are one, wherever that matters, if they are worded alike.

alter table memories
  add column covered_until timestamptz,
  add constraint memories_covered check (covered_until is null or superseded_by is not null);
comment on column memories.covered_until is 'when the value that covers this one ends, and this one holds again';
comment on column memories.near is 'digest of the wording, ~, digest of the terms; the latter alone for rows from before';
create index memories_covering on memories (tenant, scope, key) where covered_until is not null;
create index memories_uncovering on memories (covered_until) where covered_until is not null;

-- Covered values of a subject wait for one another: each ends later than the one that covers it, the last perhaps never.

-- Lets hold again what waited for a value that has ended. Sees and may do only what its caller may.
create function uncover_memory(p_scope text, p_key text) returns void
language plpgsql set search_path = public, pg_temp as $$
declare v_now timestamptz := clock_timestamp(); v_again uuid;
begin
  perform 1 from memories m
   where m.tenant = current_tenant() and m.scope = p_scope and m.key = p_key and m.covered_until <= v_now;
  if not found then return; end if;
  delete from memories m
   where m.tenant = current_tenant() and m.scope = p_scope and m.key = p_key and m.superseded_by is null
     and m.expires <= v_now;
  select m.id into v_again from memories m
   where m.tenant = current_tenant() and m.scope = p_scope and m.key = p_key and m.covered_until <= v_now
     and (m.expires is null or m.expires > v_now)
     and not exists (select 1 from memories o where o.tenant = m.tenant and o.scope = m.scope and o.key = m.key
                        and o.superseded_by is null)
   order by m.created desc, m.id limit 1;
  update memories m
     set covered_until = null, superseded_by = case when m.id = v_again then null else m.superseded_by end
   where m.tenant = current_tenant() and m.scope = p_scope and m.key = p_key and m.covered_until <= v_now;
end $$;

-- A value ends at `p_end`, or never: what lasts longer waits for that, what does not is superseded for good. It ended at
-- `p_old` so far, if it is not new.
create function cover_memories(p_scope text, p_key text, p_by uuid, p_from timestamptz, p_old timestamptz,
                               p_end timestamptz) returns void
language sql set search_path = public, pg_temp set enable_seqscan = off set enable_hashjoin = off
set enable_mergejoin = off as $$
  with held as materialized (
    select o.id, coalesce(p_end < coalesce(o.expires, 'infinity'), false) as waits from (
      select c.id, c.expires from memories c
       where c.tenant = current_tenant() and c.scope = p_scope and c.key = p_key and c.superseded_by is null
      union all
      select w.id, w.expires from memories w
       where w.tenant = current_tenant() and w.scope = p_scope and w.key = p_key and w.covered_until is not null
    ) o where o.id <> p_by
  )
  update memories m
     set superseded_by = p_by,
         covered_until = case when h.waits and m.covered_until = p_old then p_end
                              when h.waits then greatest(m.covered_until, p_end) end,
         known_to = case when h.waits then m.known_to else clock_timestamp() end,
         valid_to = case when h.waits then m.valid_to
                         else least(coalesce(m.valid_to, 'infinity'), greatest(m.valid_from, p_from)) end
    from held h where m.tenant = current_tenant() and m.id = h.id
$$;

-- What was forgotten is known by its wording; by its terms if it was forgotten before wording was compared. Waits for a
-- forgetting that is under way, and makes a later one wait for the text that is now taken in.
create or replace function is_forgotten(p_places text[], p_near text) returns boolean
language plpgsql security definer set search_path = public, pg_temp as $$
declare v_marks bytea[];
begin
  perform pg_advisory_xact_lock_shared(7700, hashtext(current_tenant()));
  if not exists (select 1 from memory_tombstones limit 1) then return false; end if;
  -- Computed before they are compared, and once each, however many tombstones there are.
  v_marks := array(select memory_hmac(place || chr(10) || sign)
                     from unnest(p_places) as place cross join string_to_table(p_near, '~') as sign);
  return exists (select 1 from memory_tombstones t where t.mark = any (v_marks));
end $$;

create or replace function forget_memories(p_user text, p_runs text[]) returns jsonb
language plpgsql set search_path = public, pg_temp as $$
declare v_gone jsonb;
begin
  select coalesce(jsonb_agg(to_jsonb(e)), '[]') into v_gone
    from erase_memories(p_user, array(select 'run:' || r from unnest(p_runs) r)) e;
  insert into memory_tombstones (mark)
  select distinct memory_hmac(place || chr(10) || split_part(e ->> 'near', '~', 1))
    from jsonb_array_elements(v_gone) e, unnest(array[e ->> 'place', 'by:' || p_user]) as place
   where e ->> 'near' is not null
  on conflict do nothing;
  return (select coalesce(jsonb_object_agg(w.what, w.n), '{}')
            from (select e ->> 'what' as what, count(*) as n from jsonb_array_elements(v_gone) e group by 1) w);
end $$;

-- As before; what is worded like a memory that was shown restates it. A text without a source of its own does so in any
-- order too, unless it says the opposite in a small word (`against`).
create or replace function look_at_note(p jsonb)
returns table (code text, id uuid, trust text)
language plpgsql set search_path = public, pg_temp
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
declare
  v_tenant text := current_tenant();
  v_scope text := p ->> 'scope';
  v_key text := p ->> 'key';
  v_near text := p ->> 'near';
  v_told text := split_part(v_near, '~', 1);
  v_session text := p ->> 'session';
  v_place int := (p ->> 'place')::int;
  v_rank int := trust_rank(p ->> 'trust');
  v_terms text[] := array(select jsonb_array_elements_text(p -> 'terms'));
  v_against text[] := array(select jsonb_array_elements_text(p -> 'against'));
  v_size int := cardinality(v_terms);
  v_alike uuid[];
  v_seen uuid[];
begin
  -- One of 64 locks of the scope: a long import needs no more, and two notes at once seldom wait for each other.
  perform pg_advisory_xact_lock(
    hashtextextended(v_tenant || '/' || v_scope, 7600) # (hashtextextended(coalesce(v_key, v_told), 7600) & 63));
  if (p ->> 'guarded')::boolean
     and is_forgotten(array[v_scope, 'by:' || coalesce(p ->> 'principal', '')], v_near) then
    return query select 'forgotten', null::uuid, null::text; return;
  end if;
  if v_key is not null then
    perform uncover_memory(v_scope, v_key);
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
       where m.tenant = v_tenant and m.id = any (v_seen)
         and (split_part(m.near, '~', 1) = v_told
              or not coalesce((p ->> 'sourced')::boolean, false) and m.terms && v_terms[1 : v_size / 10 + 1]
                 and says_no_more(v_terms, m.terms, v_size / 10)
                 and not regexp_split_to_array(lower(m.body), '[[:space:].,;:!?"()]+') && v_against)
       order by m.created, m.id limit 1;
  end if;
end $$;

-- As before, but a value with a time to live only covers the lasting one, unless it is an item, whose put replaces. What
-- is told again lives as its teller says now, if that is a person, or if it is a subject's value and the teller is not
-- trusted less; else as long as the longer of both tellings. The code of what was there already is `linked`.
create or replace function write_memory(p jsonb)
returns table (code text, about uuid, held text, id text, scope text, key text, body text, trust text,
               provenance jsonb, created timestamptz, expires timestamptz, uses int, speaker text, session text,
               place int, said timestamptz)
language plpgsql set search_path = public, pg_temp as $$
#variable_conflict use_column
declare
  v_tenant text := current_tenant();
  v_end timestamptz := clock_timestamp() + (p ->> 'ttl')::interval;
  v_old timestamptz;
  v memories := jsonb_populate_record(null::memories, p);
begin
  select l.code, l.id, l.trust into code, about, held from look_at_note(p) l;
  if code = 'twin' then
    insert into memory_links (scope, memory, digest, trust, provenance)
    values (p ->> 'scope', about, v.digest, v.trust, v.provenance);
    select m.expires into v_old from memories m where m.tenant = v_tenant and m.id = about;
    update memories m
       set told = m.told + 1, pinned = m.pinned or v.pinned,
           expires = case when not (p ->> 'guarded')::boolean
                               or m.key is not null and trust_rank(v.trust) >= trust_rank(m.trust) then v_end
                          when m.expires is not null and v_end is not null then greatest(m.expires, v_end) end
     where m.tenant = v_tenant and m.id = about returning m.* into v;
    if v.key is not null and v.expires is distinct from v_old then
      perform cover_memories(v.scope, v.key, about, clock_timestamp(), v_old, v.expires);
    end if;
    code := 'linked';
  elsif code <> 'new' or v.embedding is null then
    code := coalesce(code, 'new');
    return next;
    return;
  else
    code := 'kept';
    v.id := gen_random_uuid();
    v.valid_from := coalesce(v.valid_from, clock_timestamp());
    if v.key is not null then
      -- A value that was so earlier than the current one goes into its history.
      select m.id, m.valid_from, clock_timestamp() into v.superseded_by, v.valid_to, v.known_to from memories m
       where m.tenant = v_tenant and m.scope = p ->> 'scope' and m.key = v.key and m.superseded_by is null
         and m.valid_from > (p ->> 'valid_from')::timestamptz;
      if not found then
        perform cover_memories(p ->> 'scope', v.key, v.id, v.valid_from, null,
                               case when not is_item(v.key, v.body) then v_end end);
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
  return query select code, null::uuid, null::text, v.id::text, v.scope, v.key, v.body, v.trust, v.provenance,
                      v.created, v.expires, v.uses, v.speaker, v.session, v.place, v.said;
end $$;

-- What a search reads, as before; what waits is past until its time has come.
create or replace function look_along(p_scopes text[], p_query text, p_embedder text, p_asked text)
returns table (ids bytea, created bytea, sizes bytea, marks bytea, speakers text[], sessions text[], cosines bytea,
               holders bytea[], hits bytea[], expired int, superseded int, "foreign" int)
language plpgsql stable set search_path = public, pg_temp
-- By index, in its order, and planned once, however few rows the planner believes in.
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off as $$
declare
  v_asked vector := p_asked::vector;
  v_words text[] := tsvector_to_array(to_tsvector('pg_catalog.english', p_query));
  v_roots text[] := array(select word_root(word) from unnest(v_words) with ordinality as w (word, n) order by n);
begin
  select array_agg(a.holders), array_agg(a.hits) into holders, hits
    from (
      select h.holders, h.hits
        from unnest(v_words, v_roots) as q (word, root)
       cross join lateral (
         select string_agg(uuid_send(p.memory), '') as holders,
                string_agg(int4send(p.hits * case when p.lexeme = q.word then 2 else 1 end), '') as hits
           from memory_postings p
          where p.scope = any (p_scopes) and p.root = q.root
            and (p.lexeme = q.word or p.lexeme <> all (v_words))) as h) as a;
  select string_agg(uuid_send(l.id), '') filter (where l.live),
         string_agg(timestamptz_send(l.created), '') filter (where l.live),
         string_agg(int4send(l.size), '') filter (where l.live),
         string_agg(int4send(l.mark), '') filter (where l.live),
         array_agg(l.speaker) filter (where l.live), array_agg(l.session) filter (where l.live),
         string_agg(float8send(l.cosine), '') filter (where l.live),
         count(*) filter (where not l.past and not l.live), count(*) filter (where l.past),
         count(*) filter (where l.live and l.embedder <> p_embedder)
    into ids, created, sizes, marks, speakers, sessions, cosines, expired, superseded, "foreign"
    from (
      select m.id, m.created, m.size, m.speaker, m.session, m.embedder, p.past,
             not p.past and (m.expires is null or m.expires > clock_timestamp()) as live,
             array_position(p_scopes, m.scope) * 4 + m.asks::int * 2 + m.dated::int as mark,
             case when v_asked is null then null when m.embedder <> p_embedder then 'NaN'
                  else 1 - coalesce(nullif(m.embedding <=> v_asked, 'NaN'), 1) end as cosine
        from memories m
       cross join lateral (select m.superseded_by is not null
                                  and (m.covered_until <= clock_timestamp()) is not true as past) p
       where m.scope = any (p_scopes)
       order by m.scope, m.session, m.place, m.created, m.id) as l;
  return next;
end $$;

-- Answers what came of it: kept, known (the scope has it), expired, forgotten, or taken (its subject has another value,
-- or the id is in use and there is no spare one). Sees and may do only what its caller may.
create or replace function take_memory(p jsonb)
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
  code := case
    when exists (select 1 from memories m
                  where m.tenant = v_tenant and m.id in (v.id, v_spare) and m.scope = v_scope) then 'known'
    when v.expires <= v_now then 'expired'
    when is_forgotten(array[v_scope, 'by:' || coalesce(current_principal(), '')], v.near) then 'forgotten' end;
  if code is null and v.key is not null then
    perform uncover_memory(v_scope, v.key);
  end if;
  if code is null and v.key is not null and v.superseded_by is null then
    delete from memories m where m.tenant = v_tenant and m.scope = v_scope and m.key = v.key
       and m.superseded_by is null and m.expires <= v_now;
    -- A value that ends in time may cover one that waits for that.
    code := case when exists (
      select 1 from memories m where m.tenant = v_tenant and m.scope = v_scope and m.key = v.key
         and (m.superseded_by is null or m.covered_until < coalesce(v.expires, 'infinity'))) then 'taken' end;
  end if;
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
    insert into memories (id, scope_kind, scope_id, key, body, digest, near, terms, embedder, embedding, trust,
                          provenance, uses, told, pinned, created, expires, valid_from, valid_to, known_to,
                          superseded_by, covered_until, speaker, said, session, place, answers)
    values (v.id, v.scope_kind, v.scope_id, v.key, v.body, encode(sha256(convert_to(v.body, 'UTF8')), 'hex'), v.near,
            v.terms, v.embedder, v.embedding, v.trust, v.provenance, greatest(v.uses, 0), greatest(v.told, 1),
            coalesce(v.pinned, false), least(v.created, v_now), v.expires, coalesce(v.valid_from, v.created, v_now),
            v.valid_to, v.known_to, v.superseded_by, case when v.superseded_by is not null then v.covered_until end,
            v.speaker, v.said, v.session, v.place,
            coalesce(v.answers, false))
    on conflict (tenant, id) do nothing;
    exit when found;
    -- The id is in use in another scope, of which nothing shall be told.
    if v_spare is null or v.id = v_spare then code := 'taken'; return next; return; end if;
    v.id := v_spare;
  end loop;
  if v.id <> v_named then
    update memories m set superseded_by = v.id
     where m.tenant = v_tenant and m.scope = v_scope and m.key = v.key and m.superseded_by = v_named;
  end if;
  insert into memory_marks (scope, mark, memory)
  select v_scope, given.mark, v.id from jsonb_array_elements_text(p -> 'marks') as given (mark)
   where v.key is null on conflict do nothing;
  return query
    select 'kept', m.id::text, m.scope, m.key, m.body, m.trust, m.provenance, m.created, m.expires, m.uses, m.speaker,
           m.session, m.place, m.said
      from memories m where m.tenant = v_tenant and m.id = v.id;
end $$;

revoke execute on function uncover_memory(text, text),
  cover_memories(text, text, uuid, timestamptz, timestamptz, timestamptz) from public;
grant execute on function uncover_memory(text, text),
  cover_memories(text, text, uuid, timestamptz, timestamptz, timestamptz) to cs_app;

-- Housekeeping deletes what has ended and lets hold again what waited for that, in every tenant and in small bites.
create policy uncovers on memories for update to cs_system
  using (covered_until <= clock_timestamp()) with check (covered_until is null);
grant update (superseded_by, covered_until) on memories to cs_system;
grant create on schema public to cs_system;
set local role cs_system;
create or replace function sweep_memories(p_limit int) returns int
language plpgsql security definer set search_path = public, pg_temp as $$
declare v_now timestamptz := clock_timestamp(); v_gone int; v_back int;
begin
  -- What somebody is at work on is left for the next time: whoever writes a subject locks several of its rows.
  with due as materialized (
    select e.tenant, e.id from memories e where e.expires <= v_now limit p_limit for update skip locked
  ), ended as materialized (
    select e.tenant, e.id from memories e join runs r on r.id = e.scope_id and r.tenant = e.tenant
     where e.scope_kind = 'run' and r.status in ('done', 'failed', 'denied', 'cancelled')
     limit p_limit
  )
  delete from memories m using (select * from due union all select * from ended) e
   where m.tenant = e.tenant and m.id = e.id;
  get diagnostics v_gone = row_count;
  update memories m
     set covered_until = null,
         superseded_by = case when d.later or m.expires <= v_now then m.superseded_by end
    from (
      select c.tenant, c.id,
             exists (select 1 from memories o
                      where o.tenant = c.tenant and o.scope = c.scope and o.key = c.key and o.id <> c.id
                        and (o.superseded_by is null
                             or o.covered_until <= v_now and (o.created, o.id) > (c.created, c.id))) as later
        from memories c
       where c.covered_until <= v_now
         and not exists (select 1 from memories o where o.tenant = c.tenant and o.scope = c.scope and o.key = c.key
                            and o.superseded_by is null and o.expires <= v_now)
       limit p_limit for update of c skip locked) d
   where m.tenant = d.tenant and m.id = d.id and m.covered_until <= v_now;
  get diagnostics v_back = row_count;
  return v_gone + v_back;
end $$;
reset role;
revoke create on schema public from cs_system;
