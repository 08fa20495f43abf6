-- How often each word stands in a memory, so that a search can weigh words by their rarity within a scope (BM25); and
-- where in a conversation a memory was said.

alter table memories
  add column speaker text check (length(speaker) between 1 and 200),
  add column session text check (length(session) between 1 and 200),
  add column place int check (place >= 0),
  add column said timestamptz,
  add column size int not null default 0,
  add column asks boolean not null generated always as (body ~ '\?["'')\s]*(\[[^]]*\]\s*)?$') stored,
  add column dated boolean not null generated always as (body ~* (
    '\m(yesterday|today|tonight|tomorrow|ago|last|next|recently|just|(this|past) (week|month|year|morning|summer|winter'
    || '|fall|spring)|week(end)?|(mon|tues|wednes|thurs|fri|satur|sun)day|january|february|march|april|may|june|july'
    || '|august|september|october|november|december|\d{4})\M')) stored,
  add constraint memories_place check ((session is null) = (place is null));
comment on column memories.place is 'position in the session; neighbours are those before and after it';
comment on column memories.size is 'words that the postings of this memory count';

-- Compared by equality alone, which row security lets an index do; a full-text operator would be checked row by row.
create table memory_postings (
  tenant text not null,
  scope text not null,
  lexeme text not null,
  memory uuid not null,
  hits int not null check (hits > 0),
  primary key (tenant, scope, lexeme, memory) include (hits),
  foreign key (tenant, memory) references memories on delete cascade
);
create index memory_postings_memory on memory_postings (tenant, memory);
alter table memory_postings enable row level security;
alter table memory_postings force row level security;
create policy reads on memory_postings for select
  using (tenant = current_tenant() and (scope = any (current_reads()) or scope = any (current_writes())));
create policy adds on memory_postings for insert
  with check (tenant = current_tenant() and scope = any (current_writes()));
create policy forgets on memory_postings for delete using (tenant = current_tenant());
grant select on memory_postings to cs_app;

-- The words of a memory: what it says, who said it and on which day, so that "in May 2023" is a word like any other.
create function memory_words(p_body text, p_speaker text, p_said timestamptz)
returns table (lexeme text, hits int) language sql stable set search_path = pg_catalog, pg_temp as $$
  select w.lexeme, coalesce(cardinality(w.positions), 1)
    from unnest(to_tsvector('pg_catalog.english', concat_ws(' . ', p_speaker,
      to_char(p_said at time zone 'UTC', 'FMDD FMMonth YYYY'), p_body))) as w
$$;

create function measure_memory() returns trigger
language plpgsql security definer set search_path = public, pg_temp as $$
begin
  select coalesce(sum(w.hits), 0) into new.size from memory_words(new.body, new.speaker, new.said) w;
  return new;
end $$;

create function post_memory() returns trigger
language plpgsql security definer set search_path = public, pg_temp as $$
begin
  if tg_op = 'UPDATE' then
    delete from memory_postings p where p.tenant = new.tenant and p.memory = new.id;
  end if;
  insert into memory_postings (tenant, scope, lexeme, memory, hits)
  select new.tenant, new.scope, w.lexeme, new.id, w.hits from memory_words(new.body, new.speaker, new.said) w;
  return null;
end $$;
create trigger memories_measure before insert or update of body, speaker, said on memories
  for each row execute function measure_memory();
create trigger memories_post after insert or update of body, speaker, said on memories
  for each row execute function post_memory();
revoke execute on function memory_words(text, text, timestamptz), measure_memory(), post_memory() from public;

-- Rows from before; the owner is bound by row security too, and stands above it for this only.
alter table memories no force row level security;
alter table memory_postings no force row level security;
update memories set body = body;
alter table memories force row level security;
alter table memory_postings force row level security;
