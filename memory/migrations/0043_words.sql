-- What counts as a word: also those of a memory's subject, and of scripts that put no spaces between words.

-- Chinese, Japanese and Korean are posted by single signs and by pairs of neighbours, which is what most of their words
-- are; everything else by the lexemes of English. A question has the pairs alone, unless a sign stands alone: else every
-- text with one of its signs would be found.
create function text_words(p_text text, p_asked boolean)
returns table (lexeme text, hits int) language plpgsql stable strict set search_path = pg_catalog, pg_temp as $$
declare
  v_signs constant text := '[\u3005-\u3007\u3041-\u3096\u30a1-\u30fa\u30fc-\u30fe\u3400-\u4dbf\u4e00-\u9fff'
    || '\uac00-\ud7a3\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003fffd]+';
begin
  if p_text !~ v_signs then
    return query select w.lexeme, coalesce(cardinality(w.positions), 1)
      from unnest(to_tsvector('pg_catalog.english', p_text)) as w;
    return;
  end if;
  return query
    select w.lexeme, coalesce(cardinality(w.positions), 1)
      from unnest(to_tsvector('pg_catalog.english', regexp_replace(p_text, v_signs, ' ', 'g'))) as w
    union all
    select substr(r.run, n, size), count(*)::int
      from regexp_matches(p_text, v_signs, 'g') as m
     cross join lateral (select m[1] as run) as r
     cross join generate_series(1, 2) as size
     cross join lateral generate_series(1, length(r.run) + 1 - size) as n
     where size = 2 or not p_asked or length(r.run) = 1
     group by 1;
end $$;

-- The words of a memory: what it says, who said it and on which day, so that "in May 2023" is a word like any other, and
-- what it is about, unless its subject is an address that a machine made up.
drop function memory_words(text, text, timestamptz);
create function memory_words(p_body text, p_speaker text, p_said timestamptz, p_key text default null)
returns table (lexeme text, hits int) language sql stable set search_path = public, pg_temp as $$
  select w.lexeme, w.hits
    from text_words(concat_ws(' . ', p_speaker, to_char(p_said at time zone 'UTC', 'FMDD FMMonth YYYY'),
      case when not starts_with(p_key, 'run:') and not is_item(p_key, p_body)
           -- Dots and slashes would make one word of "office.location".
           then translate(p_key, './:_-#@', '       ') end, p_body), false) as w
$$;

create or replace function measure_memory() returns trigger
language plpgsql security definer set search_path = public, pg_temp set enable_sort = off set enable_seqscan = off as $$
begin
  select coalesce(sum(w.hits), 0) into new.size from memory_words(new.body, new.speaker, new.said, new.key) w;
  if new.place > 0 and not new.answers then
    new.answers := coalesce((select m.asks from memories m
                              where m.tenant = new.tenant and m.scope = new.scope_kind || ':' || new.scope_id
                                and m.session = new.session and m.place < new.place
                              order by m.place desc limit 1), false);
  end if;
  return new;
end $$;

create or replace function post_memory() returns trigger
language plpgsql security definer set search_path = public, pg_temp as $$
begin
  if tg_op = 'UPDATE' then
    delete from memory_postings p where p.tenant = new.tenant and p.memory = new.id;
  end if;
  insert into memory_postings (tenant, scope, lexeme, memory, hits)
  select new.tenant, new.scope, w.lexeme, new.id, w.hits from memory_words(new.body, new.speaker, new.said, new.key) w;
  return null;
end $$;

drop trigger memories_measure on memories;
drop trigger memories_post on memories;
create trigger memories_measure before insert or update of body, speaker, said, key on memories
  for each row execute function measure_memory();
create trigger memories_post after insert or update of body, speaker, said, key on memories
  for each row execute function post_memory();
revoke execute on function text_words(text, boolean), memory_words(text, text, timestamptz, text) from public;
grant execute on function text_words(text, boolean) to cs_app;

-- Rows from before; the owner is bound by row security too, and stands above it for this only.
alter table memories no force row level security;
alter table memory_postings no force row level security;
update memories set key = key
 where key is not null
    or concat(speaker, body) ~ '[\u3005-\u9fff\uac00-\ud7a3\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003fffd]';
alter table memories force row level security;
alter table memory_postings force row level security;
