-- Writing a memory, and what is kept beside it: words, marks, links. Writing is one statement, and takes no longer in a
-- scope of ten thousand than in one of ten. Called by write.py; its triggers see to every row, whoever writes it.

-- Trust as a number: who knows better outranks.
create or replace function trust_rank(p_trust text) returns int language sql immutable as $$
  select array_position(array['untrusted', 'model', 'tool', 'human'], p_trust)
$$;
revoke execute on function trust_rank(text) from public;
grant execute on function trust_rank(text) to cs_app;

-- Whether nothing in the first is missing from the second but a few words, none of which is a number or a denial.
create or replace function says_no_more(p_terms text[], p_than text[], p_spare int) returns boolean
-- Dear, so that every other condition is looked at first.
language sql immutable cost 10000 as $$
  select cardinality(p_terms) > 0 and (
    select count(*) <= p_spare and coalesce(bool_and(t !~ '[0-9]' and t <> all (array['no', 'not', 'never'])), true)
      from (select unnest(p_terms) except select unnest(p_than)) as news (t))
$$;
revoke execute on function says_no_more(text[], text[], int) from public;
grant execute on function says_no_more(text[], text[], int) to cs_app;

-- The memory that a note restates, of those it was derived from or its teller was shown. What is worded like one
-- restates it. A text without a source of its own does so in any order too, unless it says the opposite in a small word
-- (`against`). Called by look_at_note, whose plans it shares.
create or replace function restated_memory(p jsonb) returns table (id uuid, trust text)
language plpgsql set search_path = public, pg_temp as $$
declare
  v_tenant text := current_tenant();
  v_told text := split_part(p ->> 'near', '~', 1);
  v_terms text[] := array(select jsonb_array_elements_text(p -> 'terms'));
  v_against text[] := array(select jsonb_array_elements_text(p -> 'against'));
  v_size int := cardinality(v_terms);
  v_seen uuid[];
begin
  v_seen := array(select d::uuid from jsonb_array_elements_text(p -> 'derived') d
                   where d ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
                  union select s.memory from jsonb_array_elements_text(p -> 'seers') as given (seer)
                          join memory_seen s on s.tenant = v_tenant and s.seer = given.seer);
  return query
    select m.id, m.trust from memories m
     where m.tenant = v_tenant and m.id = any (v_seen)
       and (split_part(m.near, '~', 1) = v_told
            or not coalesce((p ->> 'sourced')::boolean, false) and m.terms && v_terms[1 : v_size / 10 + 1]
               and says_no_more(v_terms, m.terms, v_size / 10)
               and not regexp_split_to_array(lower(m.body), '[[:space:].,;:!?"()]+') && v_against)
     order by m.created, m.id limit 1;
end $$;
revoke execute on function restated_memory(jsonb) from public;
grant execute on function restated_memory(jsonb) to cs_app;

-- Memories of a scope that are worded like one of these marks, at most a hundred for each. A function of the owner, as only
-- its answer may be seen: whose else a mark is, a plan would tell.
create or replace function alike(p_scope text, p_marks jsonb) returns uuid[]
language sql stable security definer set search_path = public, pg_temp as $$
  select array(select k.memory from jsonb_array_elements_text(p_marks) as given (mark)
                cross join lateral (select a.memory from memory_marks a
                                     where a.scope = p_scope and a.mark = given.mark limit 100) k)
$$;
revoke execute on function alike(text, jsonb) from public;
grant execute on function alike(text, jsonb) to cs_app;

-- Keeps by which marks a memory is found again, in a scope that may be written.
create or replace function mark_memory(p_scope text, p_memory uuid, p_marks jsonb) returns void
language sql security definer set search_path = public, pg_temp as $$
  insert into memory_marks (scope, mark, memory)
  select p_scope, given.mark, p_memory from jsonb_array_elements_text(p_marks) as given (mark) on conflict do nothing
$$;
revoke execute on function mark_memory(text, uuid, jsonb) from public;
grant execute on function mark_memory(text, uuid, jsonb) to cs_app;

-- Looks at a note before it is written: what it repeats, restates or may not replace. Texts are compared only with the
-- few that resemble them or were shown. Sees what the caller sees.
create or replace function look_at_note(p jsonb)
returns table (code text, id uuid, trust text)
language plpgsql set search_path = public, pg_temp
-- A plan made while the table was small must not be the one that reads all of it later.
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
  v_alike uuid[];
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
    v_alike := alike(v_scope, p -> 'marks');
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
    return query select 'restated', r.id, r.trust from restated_memory(p) r;
  end if;
end $$;
revoke execute on function look_at_note(jsonb) from public;
grant execute on function look_at_note(jsonb) to cs_app;

-- A value with a time to live does not end the lasting one of its subject but covers it: when it ends, what was covered
-- holds again, to the second. Covered values wait for one another: each ends later than the one that covers it, the
-- last perhaps never.

-- A value ends at `p_end`, or never: what lasts longer waits for that, what does not is superseded for good. It ended
-- at `p_old` so far, if it is not new.
create or replace function cover_memories(p_scope text, p_key text, p_by uuid, p_from timestamptz, p_old timestamptz,
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
revoke execute on function cover_memories(text, text, uuid, timestamptz, timestamptz, timestamptz) from public;
grant execute on function cover_memories(text, text, uuid, timestamptz, timestamptz, timestamptz) to cs_app;

-- Lets hold again what waited for a value that has ended. Sees and may do only what its caller may.
create or replace function uncover_memory(p_scope text, p_key text) returns void
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
revoke execute on function uncover_memory(text, text) from public;
grant execute on function uncover_memory(text, text) to cs_app;

-- Writes a note if it is news: links what is known (`linked`), ends what its subject said before. A value with a time
-- to live only covers the lasting one, unless it is an item, whose put replaces. What is told again lives as its teller
-- says now, if that is a person, or if it is a subject's value and the teller is not trusted less; else as long as the
-- longer of both tellings. Sees and may do only what its caller may. Without a vector nothing new is written, and the
-- answer `new` asks for one.
create or replace function write_memory(p jsonb, p_embedding vector)
returns table (code text, about uuid, held text, id text, scope text, key text, body text, trust text,
               provenance jsonb, created timestamptz, expires timestamptz, uses int, speaker text, session text,
               place int, said timestamptz)
language plpgsql set search_path = public, pg_temp as $$
#variable_conflict use_column
declare
  v_tenant text := current_tenant();
  v_old timestamptz;
  v_end timestamptz := clock_timestamp() + (p ->> 'ttl')::interval;
  v memories := jsonb_populate_record(null::memories, p);
begin
  loop
    select l.code, l.id, l.trust into code, about, held from look_at_note(p) l;
    -- A twin that was deleted since is none: look again.
    exit when code is distinct from 'twin'
           or exists (select from memories m where m.tenant = v_tenant and m.id = about for no key update);
  end loop;
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
  elsif code <> 'new' or p_embedding is null then
    code := coalesce(code, 'new');
    return next; return;
  else
    code := 'kept'; v.id := gen_random_uuid();
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
    values (v.id, v.scope_kind, v.scope_id, v.key, v.body, v.digest, v.near, v.terms, v.embedder, p_embedding, v.trust,
            v.provenance, v_end, v.pinned, v.valid_from, v.valid_to, v.known_to, v.superseded_by, v.speaker, v.said,
            v.session, v.place) returning * into v;
    if v.key is null then perform mark_memory(v.scope, v.id, p -> 'marks'); end if;
  end if;
  return query select code, null::uuid, null::text, v.id::text, v.scope, v.key, v.body, v.trust, v.provenance,
                      v.created, v.expires, v.uses, v.speaker, v.session, v.place, v.said;
end $$;
revoke execute on function write_memory(jsonb, vector) from public;
grant execute on function write_memory(jsonb, vector) to cs_app;

-- The numbers of those notes that nothing here resembles, neither live nor past, nor an earlier one of the batch; and
-- that nobody was shown anything for. Takes the locks of all of them, in order. Sees what the caller sees.
create or replace function fresh_notes(p jsonb) returns int[]
language plpgsql set search_path = public, pg_temp
-- As in look_at_note.
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
declare v_tenant text := current_tenant(); v_scope text := p -> 0 ->> 'scope';
begin
  perform pg_advisory_xact_lock(hashtextextended(v_tenant || '/' || v_scope, 7600) # a.part)
     from (select distinct hashtextextended(coalesce(d ->> 'key', split_part(d ->> 'near', '~', 1)), 7600) & 63 as part
             from jsonb_array_elements(p) d order by 1) a;
  return array(
    select d.n from (
      select e.n::int as n, e.draft, row_number() over (
               partition by e.draft ->> 'key', case when e.draft ->> 'key' is null
                                               then split_part(e.draft ->> 'near', '~', 1) end order by e.n) as nth
        from jsonb_array_elements(p) with ordinality e (draft, n)) d
     where d.nth = 1
       and (d.draft ->> 'trust' = 'human' or d.draft -> 'seers' = '[]' and d.draft -> 'derived' = '[]')
       and not exists (select 1 from memories m
                        where m.tenant = v_tenant and m.scope = v_scope and m.key = d.draft ->> 'key')
       and (d.draft ->> 'key' is not null or cardinality(alike(v_scope, d.draft -> 'marks')) = 0)
       and not ((d.draft ->> 'guarded')::boolean
                and is_forgotten(array[v_scope, 'by:' || coalesce(d.draft ->> 'principal', '')], d.draft ->> 'near'))
     order by d.n);
end $$;
revoke execute on function fresh_notes(jsonb) from public;
grant execute on function fresh_notes(jsonb) to cs_app;

-- Writes many notes in one scope, each as write_memory does, and answers with the number of each. What nothing here
-- resembles goes in at once, and the rest one by one after it: what repeats a text or a subject, or may only restate what
-- its teller was shown, or was forgotten. Without vectors nothing new is written.
create or replace function write_memories(p jsonb, p_embeddings vector[])
returns table (n int, code text, about uuid, held text, id text, scope text, key text, body text, trust text,
               provenance jsonb, created timestamptz, expires timestamptz, uses int, speaker text, session text,
               place int, said timestamptz)
language plpgsql set search_path = public, pg_temp as $$
#variable_conflict use_column
declare
  v_fresh int[]; v_n int;
  v_ids uuid[] := array(select gen_random_uuid() from generate_series(1, jsonb_array_length(p)));
begin
  v_fresh := fresh_notes(p);
  if p_embeddings is null then
    return query select f, 'new', null::uuid, null::text, null::text, null::text, null::text, null::text, null::text,
                        null::jsonb, null::timestamptz, null::timestamptz, null::int, null::text, null::text, null::int,
                        null::timestamptz from unnest(v_fresh) f;
  else
    return query
      with kept as (
        insert into memories (id, scope_kind, scope_id, key, body, digest, near, terms, embedder, embedding, trust,
                              provenance, expires, pinned, valid_from, speaker, said, session, place)
        select v_ids[f], v.scope_kind, v.scope_id, v.key, v.body, v.digest, v.near, v.terms, v.embedder,
               p_embeddings[f], v.trust, v.provenance, clock_timestamp() + (d.draft ->> 'ttl')::interval, v.pinned,
               coalesce(v.valid_from, clock_timestamp()), v.speaker, v.said, v.session, v.place
          from unnest(v_fresh) f
         cross join lateral (select p -> f - 1 as draft) d
         cross join lateral jsonb_populate_record(null::memories, d.draft) v
        returning *
      ) select array_position(v_ids, k.id), 'kept', null::uuid, null::text, k.id::text, k.scope_kind || ':' || k.scope_id,
               k.key, k.body, k.trust, k.provenance, k.created, k.expires, k.uses, k.speaker, k.session, k.place, k.said
          from kept k;
    perform mark_memory(p -> f - 1 ->> 'scope', v_ids[f], p -> f - 1 -> 'marks') from unnest(v_fresh) f
      where p -> f - 1 ->> 'key' is null;
  end if;
  for v_n in select i from generate_series(1, jsonb_array_length(p)) i where i <> all (v_fresh) loop
    return query select v_n, w.* from write_memory(p -> v_n - 1, p_embeddings[v_n]) w;
  end loop;
end $$;
revoke execute on function write_memories(jsonb, vector[]) from public;
grant execute on function write_memories(jsonb, vector[]) to cs_app;

-- One form of what people see as the same word: composed or not, in whatever width, case and kind of kana, with accents
-- and vowel signs or without, digits of whatever script. A number has no commas at thousands, a version no v.
create or replace function fold_text(p_text text) returns text
language plpgsql immutable strict parallel safe set search_path = pg_catalog, pg_temp as $$
declare
  v_text text := p_text;
  -- Accents, points of Hebrew and Arabic, signs without width. Kana and Hangul are put together again.
  v_marks constant text := '[\u00ad\u0300-\u036f\u0483-\u0487\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7'
    || '\u0610-\u061a\u0640\u064b-\u065f\u0670\u06d6-\u06dc\u06df-\u06e4\u06e7\u06e8\u06ea-\u06ed\u1ab0-\u1aff'
    || '\u1dc0-\u1dff\u200b-\u200f\u2060\u20d0-\u20ff\ufe00-\ufe0f\ufe20-\ufe2f\ufeff]';
  v_kana constant text := 'ァアィイゥウェエォオカガキギクグケゲコゴサザシジスズセゼソゾタダチヂッツヅテデトドナニヌネノハバパヒビピフブプヘベペホボポマミムメモャヤュユョヨラリルレロヮワヰヱヲンヴヵヶ';
  v_hira constant text := 'ぁあぃいぅうぇえぉおかがきぎくぐけげこごさざしじすずせぜそぞただちぢっつづてでとどなにぬねのはばぱひびぴふぶぷへべぺほぼぽまみむめもゃやゅゆょよらりるれろゎわゐゑをんゔゕゖ';
  v_digits constant text := '٠١٢٣٤٥٦٧٨٩۰۱۲۳۴۵۶۷۸۹०१२३४५६७८९০১২৩৪৫৬৭৮৯੦੧੨੩੪੫੬੭੮੯૦૧૨૩૪૫૬૭૮૯୦୧୨୩୪୫୬୭୮୯௦௧௨௩௪௫௬௭௮௯౦౧౨౩౪౫౬౭౮౯'
    || '೦೧೨೩೪೫೬೭೮೯൦൧൨൩൪൫൬൭൮൯๐๑๒๓๔๕๖๗๘๙໐໑໒໓໔໕໖໗໘໙༠༡༢༣༤༥༦༧༨༩၀၁၂၃၄၅၆၇၈၉០១២៣៤៥៦៧៨៩᠐᠑᠒᠓᠔᠕᠖᠗᠘᠙';
begin
  if v_text ~ '[^\u0001-\u007f]' then
    v_text := normalize(regexp_replace(normalize(lower(normalize(v_text, NFKC)), NFD), v_marks, '', 'g'), NFC);
    v_text := translate(v_text, v_kana || v_digits || 'ςøłđħŧı‐’', v_hira || repeat('0123456789', 17) || 'σoldhti-''');
    v_text := replace(replace(replace(v_text, 'ß', 'ss'), 'æ', 'ae'), 'œ', 'oe');
  end if;
  if v_text ~ '[0-9]' then
    v_text := regexp_replace(v_text, '([0-9]),(?=[0-9]{3}(?![0-9]))', '\1', 'g');
    v_text := regexp_replace(v_text, '\mv(?=[0-9]+\.[0-9])', '', 'gi');
  end if;
  return v_text;
end $$;
revoke execute on function fold_text(text) from public;
grant execute on function fold_text(text) to cs_app;

-- Scripts that put no spaces between words are posted by single signs and by pairs of neighbours, which is what most of
-- their words are; everything else by the lexemes of English. A question has the pairs alone, unless a sign stands alone:
-- else every text with one of its signs would be found.
create or replace function text_words(p_text text, p_asked boolean)
returns table (lexeme text, hits int) language plpgsql stable strict set search_path = pg_catalog, pg_temp as $$
declare
  v_signs constant text := '[\u0e01-\u0e4e\u0e81-\u0ece\u1000-\u109f\u1780-\u17d3\u3005-\u3007\u3041-\u3096\u30fc-\u30fe'
    || '\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\uf900-\ufaff\U00020000-\U0003fffd]+';
  v_text text := public.fold_text(p_text);
begin
  if v_text !~ v_signs then
    return query select w.lexeme, coalesce(cardinality(w.positions), 1)
      from unnest(to_tsvector('pg_catalog.english', v_text)) as w;
    return;
  end if;
  return query
    select w.lexeme, coalesce(cardinality(w.positions), 1)
      from unnest(to_tsvector('pg_catalog.english', regexp_replace(v_text, v_signs, ' ', 'g'))) as w
    union all
    select substr(r.run, n, size), count(*)::int
      from regexp_matches(v_text, v_signs, 'g') as m
     cross join lateral (select m[1] as run) as r
     cross join generate_series(1, 2) as size
     cross join lateral generate_series(1, length(r.run) + 1 - size) as n
     where size = 2 or not p_asked or length(r.run) = 1
     group by 1;
end $$;
revoke execute on function text_words(text, boolean) from public;
grant execute on function text_words(text, boolean) to cs_app;

-- The words of a memory: what it says, who said it and on which day, so that "in May 2023" is a word like any other,
-- and what it is about, unless its subject is an address that a machine made up.
create or replace function memory_words(p_body text, p_speaker text, p_said timestamptz, p_key text default null)
returns table (lexeme text, hits int) language sql stable set search_path = public, pg_temp as $$
  select w.lexeme, w.hits
    from text_words(concat_ws(' . ', p_speaker, to_char(p_said at time zone 'UTC', 'FMDD FMMonth YYYY'),
      case when not starts_with(p_key, 'run:') and not is_item(p_key, p_body)
           -- Dots and slashes would make one word of "office.location".
           then translate(p_key, './:_-#@', '       ') end, p_body), false) as w
$$;
revoke execute on function memory_words(text, text, timestamptz, text) from public;

-- Writes where the words of a memory stand, counts them, and notes whether it follows a question: an answer is worth more
-- than other texts, also when the question has left. Before the row is there, so that the words are made once; whoever
-- refuses the row later fails, and the words are gone with it.
create or replace function measure_memory() returns trigger
language plpgsql security definer set search_path = public, pg_temp set enable_sort = off set enable_seqscan = off as $$
declare v_scope text := new.scope_kind || ':' || new.scope_id;
begin
  if tg_op = 'UPDATE' then
    delete from memory_postings p where p.tenant = new.tenant and p.memory = new.id;
  end if;
  with posted as (
    insert into memory_postings (tenant, scope, lexeme, memory, hits)
    select new.tenant, v_scope, w.lexeme, new.id, w.hits from memory_words(new.body, new.speaker, new.said, new.key) w
    returning hits
  ) select coalesce(sum(p.hits), 0) into new.size from posted p;
  new.posted := 1;
  if new.place > 0 and not new.answers then
    new.answers := coalesce((select m.asks from memories m
                              where m.tenant = new.tenant and m.scope = v_scope
                                and m.session = new.session and m.place < new.place
                              order by m.place desc limit 1), false);
  end if;
  return new;
end $$;
revoke execute on function measure_memory() from public;
create or replace trigger memories_measure before insert or update of body, speaker, said, key, posted on memories
  for each row execute function measure_memory();
-- The release before brings it back when it is put in force again.
drop trigger if exists memories_post on memories;

-- Notes which scopes grew, for whoever counts them (pruning.sql).
create or replace function note_growth() returns trigger
language plpgsql security definer set search_path = public, pg_temp as $$
begin
  insert into memory_growth (tenant, scope) select distinct n.tenant, n.scope from news n;
  return null;
end $$;
revoke execute on function note_growth() from public;
create or replace trigger memories_growth after insert on memories referencing new table as news
  for each statement execute function note_growth();

-- Owned by the system role, which works for no tenant and sees what its policies name.
set local role cs_system;

-- Words and marks leave with their memories, all of a statement at once.
create or replace function unpost_memories() returns trigger
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
-- The table's owner ties it to the table, and may run it for that moment only.
grant execute on function unpost_memories() to cs_owner;
reset role;
create or replace trigger memories_unpost after delete on memories referencing old table as gone
  for each statement execute function unpost_memories();
set local role cs_system;
revoke execute on function unpost_memories() from public, cs_owner;
reset role;
