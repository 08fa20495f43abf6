-- What a search reads: BM25 and vector facts of one or several scopes as columns. Called by search.py. What looks at words
-- is the owner's, under the same policies: a caller's own plan of it would count the words of others.

-- Misspelling: words that are spelled almost alike count half, as those of one kin do, where nobody used the word
-- itself. What resembles nothing is found by nothing, which hashed vectors of spelling could not tell.

-- Patterns of the words from which this one differs by two letters that changed places, by one letter doubled, or, if
-- the rest is enough to know it by, by one letter too many, too few or another. The first letter is seldom wrong.
create or replace function near_spellings(p_word text) returns text[]
language sql immutable strict set search_path = pg_catalog
return array(
  select left(p_word, n - 1) || way.middle || substr(p_word, n + way.taken)
    from generate_series(1, length(p_word) + 1) as n
   cross join lateral (
     select length(p_word) as size, substr(p_word, n, 1) as here, substr(p_word, n + 1, 1) as next) as w
   cross join lateral (values
     (w.next || w.here, 2, n < w.size),
     ('_', 0, n > 1),
     ('', 1, n > 1 and (w.size >= 6 or w.size = 5 and w.here in (w.next, substr(p_word, n - 1, 1)))),
     ('_', 1, n > 1 and w.size >= 6)) as way (middle, taken, applies)
   where way.applies and n + way.taken <= w.size + 1);
revoke execute on function near_spellings(text) from public;
grant execute on function near_spellings(text) to cs_app;

-- Where words stand that are spelled almost like this one, other than those of the question itself.
create or replace function look_nearly(p_scopes text[], p_word text, p_words text[])
returns table (holders bytea, hits bytea)
language plpgsql stable strict security definer set search_path = public, pg_temp
-- Planned once, and by index, as in look_along.
set plan_cache_mode = force_generic_plan
set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off as $$
declare
  v_ways text[];
  v_first text := left(p_word, 1);
  v_end text;
  v_turned text := substr(p_word, 2, 1) || v_first || substr(p_word, 3);
begin
  -- Numbers that look alike are different numbers, and short words are too near to others. Beyond the alphabets, signs
  -- are no letters.
  if length(p_word) not between 4 and 40 or p_word ~ '[\d%_\\]' or ascii(p_word) >= x'2e80'::int then return; end if;
  v_ways := near_spellings(p_word);
  v_end := chr(ascii(p_word) + 1);
  return query
    select string_agg(uuid_send(a.memory), ''), string_agg(int4send(a.hits), '')
      from (select p.memory, p.hits from memory_postings p
             where p.scope = any (p_scopes) and p.root >= v_first and p.root < v_end
               and p.lexeme like any (v_ways) and p.lexeme <> all (p_words)
             union all
            select p.memory, p.hits from memory_postings p
             where p.scope = any (p_scopes) and p.root = word_root(v_turned) and p.lexeme = v_turned
               and p.lexeme <> all (p_words)) as a;
end $$;
revoke execute on function look_nearly(text[], text, text[]) from public;
grant execute on function look_nearly(text[], text, text[]) to cs_app;

-- What a search reads, in one round trip: live memories by their place in the line, where the question's words stand,
-- and how many rows a search does not show. What waits for a value that ends is past until its time has come. `marks`
-- hold the number of the scope and whether it asks and tells a time; `cosines` are null unless a vector was asked.
-- `hits` are counted in halves: a word of the same kin counts half, unless the question has it too. Words are those of
-- `text_words`; where a word of the question stands nowhere, those spelled like it.
create or replace function look_along(p_scopes text[], p_query text, p_embedder text, p_asked vector)
returns table (ids bytea, created bytea, sizes bytea, marks bytea, speakers text[], sessions text[], cosines bytea,
               holders bytea[], hits bytea[], expired int, superseded int, "foreign" int)
language plpgsql stable security definer set search_path = public, pg_temp
-- By index, in its order, and planned once, however few rows the planner believes in.
set plan_cache_mode = force_generic_plan
set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off as $$
declare
  v_words text[] := array(select w.lexeme from text_words(p_query, true) w);
  v_roots text[] := array(select word_root(word) from unnest(v_words) with ordinality as w (word, n) order by n);
begin
  select array_agg(a.holders), array_agg(a.hits) into holders, hits
    from (
      select coalesce(h.holders, s.holders) as holders, coalesce(h.hits, s.hits) as hits
        from unnest(v_words, v_roots) as q (word, root)
       cross join lateral (
         select string_agg(uuid_send(p.memory), '') as holders,
                string_agg(int4send(p.hits * case when p.lexeme = q.word then 2 else 1 end), '') as hits
           from memory_postings p
          where p.scope = any (p_scopes) and p.root = q.root
            and (p.lexeme = q.word or p.lexeme <> all (v_words))) as h
        left join lateral look_nearly(p_scopes, case when h.holders is null then q.word end, v_words) as s on true
    ) as a;
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
             case when p_asked is null then null when m.embedder <> p_embedder then 'NaN'
                  else 1 - coalesce(nullif(m.embedding <=> p_asked, 'NaN'), 1) end as cosine
        from memories m
       cross join lateral (select m.superseded_by is not null
                                  and (m.covered_until <= clock_timestamp()) is not true as past) p
       where m.scope = any (p_scopes)
       order by m.scope, m.session, m.place, m.created, m.id) as l;
  return next;
end $$;
revoke execute on function look_along(text[], text, text, vector) from public;
grant execute on function look_along(text[], text, text, vector) to cs_app;

-- The memories themselves, and that the run or session was shown them; a person's own search leaves no trace.
create or replace function show_memories(p_ids uuid[]) returns setof memories
language plpgsql set search_path = public, pg_temp
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off as $$
declare v_seers text[] := array(select seer from unnest(current_reads()) as seer where seer ~ '^(run|session):');
begin
  if cardinality(v_seers) > 0 then
    insert into memory_seen (seer, memory) select seer, m.id from unnest(v_seers) as seer
     cross join (select id from memories where id = any (p_ids)) as m on conflict do nothing;
  end if;
  return query select * from memories m where m.id = any (p_ids);
end $$;
revoke execute on function show_memories(uuid[]) from public;
grant execute on function show_memories(uuid[]) to cs_app;
