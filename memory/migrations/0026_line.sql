-- What a search reads, in one round trip: the facts of a scope as bytes, in the order in which its memories were said.
-- Sorting whole rows would take longer than everything else.
create index memories_line on memories (tenant, scope, session, place, created, id);

-- Live memories by their place in the line, where the question's words stand, and how many rows a search does not show.
-- `marks` hold the number of the scope and whether it asks and tells a time; `near` is null unless a vector was asked.
create function look_along(p_scopes text[], p_query text, p_embedder text, p_asked text)
returns table (ids bytea, created bytea, sizes bytea, marks bytea, speakers text[], sessions text[], near bytea,
               words text[], holders bytea[], hits bytea[], expired int, superseded int, "foreign" int)
language plpgsql stable set search_path = public, pg_temp
-- By index, in its order, and planned once, however few rows the planner believes in.
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off as $$
declare v_asked vector := p_asked::vector;
begin
  select array_agg(a.word), array_agg(a.holders), array_agg(a.hits) into words, holders, hits
    from (
      select q.word, h.holders, h.hits
        from unnest(tsvector_to_array(to_tsvector('pg_catalog.english', p_query))) as q (word)
       cross join lateral (
         select string_agg(uuid_send(p.memory), '') as holders, string_agg(int4send(p.hits), '') as hits
           from memory_postings p where p.scope = any (p_scopes) and p.lexeme = q.word) as h) as a;
  select string_agg(uuid_send(l.id), '') filter (where l.live),
         string_agg(timestamptz_send(l.created), '') filter (where l.live),
         string_agg(int4send(l.size), '') filter (where l.live),
         string_agg(int4send(l.mark), '') filter (where l.live),
         array_agg(l.speaker) filter (where l.live), array_agg(l.session) filter (where l.live),
         string_agg(float8send(l.cosine), '') filter (where l.live),
         count(*) filter (where l.superseded_by is null and not l.live), count(l.superseded_by),
         count(*) filter (where l.live and l.embedder <> p_embedder)
    into ids, created, sizes, marks, speakers, sessions, near, expired, superseded, "foreign"
    from (
      select m.id, m.created, m.size, m.speaker, m.session, m.superseded_by, m.embedder,
             m.superseded_by is null and (m.expires is null or m.expires > clock_timestamp()) as live,
             array_position(p_scopes, m.scope) * 4 + m.asks::int * 2 + m.dated::int as mark,
             case when v_asked is null then null when m.embedder <> p_embedder then 'NaN'
                  else 1 - coalesce(nullif(m.embedding <=> v_asked, 'NaN'), 1) end as cosine
        from memories m where m.scope = any (p_scopes)
       order by m.scope, m.session, m.place, m.created, m.id) as l;
  return next;
end $$;

-- The memories themselves, and that the run or session was shown them; a person's own search leaves no trace.
create function show_memories(p_ids uuid[]) returns setof memories
language plpgsql set search_path = public, pg_temp as $$
begin
  insert into memory_seen (seer, memory)
  select seer, m.id from unnest(current_reads()) as seer
   cross join (select id from memories where id = any (p_ids)) as m
   where seer ~ '^(run|session):' on conflict do nothing;
  return query select * from memories m where m.id = any (p_ids);
end $$;
revoke execute on function look_along(text[], text, text, text), show_memories(uuid[]) from public;
grant execute on function look_along(text[], text, text, text), show_memories(uuid[]) to cs_app;
