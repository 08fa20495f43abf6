-- What a search reads, in one round trip: the facts of a scope as bytes, in the order in which its memories were said.
-- Sorting whole rows would take longer than everything else.
create index memories_line on memories (tenant, scope, session, place, created, id);

-- What words of one kin share: five letters (paint, painter), or the verb that an irregular form belongs to, which the
-- stemmer does not know (bought, buy). Numbers that begin alike are different numbers.
create function word_root(p_word text) returns text language sql immutable strict
return left(coalesce('{
"wors":"bad", "worst":"bad", "becam":"becom", "began":"begin", "begun":"begin", "broke":"break", "broken":"break",
"brought":"bring", "built":"build", "bought":"buy", "caught":"catch", "children":"child", "chose":"choos",
"chosen":"choos", "came":"come", "dealt":"deal", "drawn":"draw", "drew":"draw", "drank":"drink", "drunk":"drink",
"driven":"drive", "drove":"drive", "ate":"eat", "eaten":"eat", "fallen":"fall", "fell":"fall", "fed":"feed",
"felt":"feel", "fought":"fight", "found":"find", "flew":"fli", "flown":"fli", "feet":"foot", "forgot":"forget",
"forgotten":"forget", "got":"get", "gotten":"get", "gave":"give", "given":"give", "gone":"go", "went":"go",
"best":"good", "better":"good", "grew":"grow", "grown":"grow", "heard":"hear", "hid":"hide", "hidden":"hide",
"held":"hold", "kept":"keep", "knew":"know", "known":"know", "led":"lead", "learnt":"learn", "left":"leav",
"lent":"lend", "live":"life", "lost":"lose", "made":"make", "men":"man", "meant":"mean", "met":"meet", "mice":"mous",
"paid":"pay", "peopl":"person", "ridden":"ride", "rode":"ride", "rang":"ring", "rung":"ring", "risen":"rise",
"rose":"rise", "ran":"run", "said":"say", "saw":"see", "seen":"see", "sold":"sell", "sent":"send", "shot":"shoot",
"shown":"show", "sang":"sing", "sung":"sing", "sat":"sit", "slept":"sleep", "spoke":"speak", "spoken":"speak",
"spent":"spend", "stood":"stand", "stole":"steal", "stolen":"steal", "swam":"swim", "swum":"swim", "taken":"take",
"took":"take", "taught":"teach", "told":"tell", "thought":"think", "threw":"throw", "thrown":"throw", "teeth":"tooth",
"understood":"understand", "woke":"wake", "woken":"wake", "wore":"wear", "worn":"wear", "wive":"wife", "won":"win",
"women":"woman", "written":"write", "wrote":"write"
}'::jsonb ->> p_word, p_word), case when p_word ~ '\d' then length(p_word) else 5 end);

-- A column, because row security lets an index compare what is stored, not what is computed.
alter table memory_postings
  add column root text not null generated always as (word_root(lexeme)) stored,
  drop constraint memory_postings_pkey,
  add primary key (tenant, scope, root, lexeme, memory) include (hits);

-- Live memories by their place in the line, where the question's words stand, and how many rows a search does not show.
-- `marks` hold the number of the scope and whether it asks and tells a time; `cosines` are null unless a vector was asked.
-- `hits` are counted in halves: a word of the same kin counts half, unless the question has it too.
create function look_along(p_scopes text[], p_query text, p_embedder text, p_asked text)
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
         count(*) filter (where l.superseded_by is null and not l.live), count(l.superseded_by),
         count(*) filter (where l.live and l.embedder <> p_embedder)
    into ids, created, sizes, marks, speakers, sessions, cosines, expired, superseded, "foreign"
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
revoke execute on function word_root(text), look_along(text[], text, text, text), show_memories(uuid[]) from public;
grant execute on function word_root(text), look_along(text[], text, text, text), show_memories(uuid[]) to cs_app;
