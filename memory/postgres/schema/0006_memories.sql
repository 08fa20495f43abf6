-- What is remembered: one table for the user, session, agent and run scopes, seen by scope and not by query, with what
-- is kept beside it. Owned by memory/store.

-- What words of one kin share: five letters (paint, painter), or the verb that an irregular form belongs to, which the
-- stemmer does not know (bought, buy). Numbers that begin alike are different numbers. The stored column
-- memory_postings.root uses it, so to change it is a numbered file that writes that column anew.
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
revoke execute on function word_root(text) from public;
grant execute on function word_root(text) to cs_app;

create table memories (
  tenant text not null default current_tenant(),
  id uuid not null,
  scope_kind text not null check (scope_kind in ('user', 'session', 'agent', 'run')),
  scope_id text not null check (scope_id <> ''),
  scope text not null generated always as (scope_kind || ':' || scope_id) stored,
  key text check (length(key) between 1 and 200),
  body text not null check (octet_length(body) between 1 and 8192),
  digest text not null check (digest ~ '^[0-9a-f]{64}$'),
  embedder text not null,
  embedding vector not null,
  trust text not null check (trust in ('human', 'tool', 'model', 'untrusted')),
  provenance jsonb not null,
  uses int not null default 0,
  created timestamptz not null default clock_timestamp(),
  expires timestamptz,
  valid_from timestamptz not null default clock_timestamp(),
  valid_to timestamptz,
  superseded_by uuid,
  speaker text check (length(speaker) between 1 and 200),
  session text check (length(session) between 1 and 200),
  place int check (place >= 0),
  said timestamptz,
  size int not null default 0,
  asks boolean not null generated always as (body ~ '\?["'')\s]*(\[[^]]*\]\s*)?$') stored,
  dated boolean not null generated always as (body ~* (
    '\m(yesterday|today|tonight|tomorrow|ago|last|next|recently|just|(this|past) (week|month|year|morning|summer|winter'
    || '|fall|spring)|week(end)?|(mon|tues|wednes|thurs|fri|satur|sun)day|january|february|march|april|may|june|july'
    || '|august|september|october|november|december|\d{4})\M')) stored,
  near text,
  terms text[] not null default '{}',
  told int not null default 1,
  pinned boolean not null default false,
  known_to timestamptz,
  answers boolean not null default false,
  covered_until timestamptz,
  outcome_of text generated always as (
    case when starts_with(key, 'run:') then left(provenance #>> '{facts,subject}', 200) end) stored,
  primary key (tenant, id),
  constraint memories_run_expires check (scope_kind <> 'run' or expires is not null),
  constraint memories_place check ((session is null) = (place is null)),
  constraint memories_counts check (uses >= 0 and told >= 1),
  constraint memories_covered check (covered_until is null or superseded_by is not null),
  -- Within what every client can read as a time.
  constraint memories_times check (
    created between '0002-01-01Z' and '9998-01-01Z' and valid_from between '0002-01-01Z' and '9998-01-01Z'
    and valid_to between '0002-01-01Z' and '9998-01-01Z' and known_to between '0002-01-01Z' and '9998-01-01Z'
    and expires between '0002-01-01Z' and '9998-01-01Z' and said between '0002-01-01Z' and '9998-01-01Z')
);
comment on column memories.embedding is
  'length depends on the embedder; compared only with vectors of the same embedder, by exact scan inside scopes';
comment on column memories.place is 'position in the session; neighbours are those before and after it';
comment on column memories.size is 'words that the postings of this memory count';
comment on column memories.near is
  'digest of the wording, ~, digest of the terms; the latter alone for rows from before';
comment on column memories.known_to is
  'valid_from and valid_to say when it was so; created and known_to say when it was believed';
comment on column memories.answers is 'whether what was said just before it in its session asks';
comment on column memories.outcome_of is 'the plan or runbook of which this tells how a run ended';
comment on column memories.covered_until is 'when the value that covers this one ends, and this one holds again';

-- A plan may be made while a table is empty and every index looks as good as any. So there is one way to each answer:
-- rows by id through the primary key, texts worded alike through their marks, the rest through the scope.
create unique index memories_current on memories (tenant, scope, key) where superseded_by is null and key is not null;
create index memories_scope on memories (scope, tenant, created);
-- The order in which a search reads a scope: sorting whole rows would take longer than everything else.
create index memories_line on memories (tenant, scope, session, place, created, id);
-- Items of LangGraph's store are found by their key, first made when the oldest version of them was.
create index memories_versions on memories (scope, key, created) where key is not null;
create index memories_covering on memories (tenant, scope, key) where covered_until is not null;
create index memories_uncovering on memories (covered_until) where covered_until is not null;
create index memories_expiry on memories (expires) where expires is not null;
create index memories_of_runs on memories (scope_id) where scope_kind = 'run';
-- The last outcomes of a runbook, read from the end.
create index memories_outcomes on memories (tenant, scope, outcome_of, created, id) where outcome_of is not null;
-- After the embedder was changed: where vectors of the old one are.
create index memories_embedder on memories (embedder, tenant, scope);

alter table memories
  -- Vectors of short texts are mostly zeros: compressed beside their row, a search reads them about a third faster.
  alter column embedding set storage main,
  alter column body set statistics 0, alter column key set statistics 0, alter column terms set statistics 0,
  alter column provenance set statistics 0, alter column speaker set statistics 0,
  alter column session set statistics 0, alter column outcome_of set statistics 0,
  alter column scope set statistics 0, alter column scope_id set statistics 0;

alter table memories enable row level security, force row level security;
create policy reads on memories for select
  using (tenant = (select current_tenant())
         and (scope = any ((select current_reads())::text[]) or scope = any ((select current_writes())::text[])));
create policy adds on memories for insert
  with check (tenant = (select current_tenant()) and scope = any ((select current_writes())::text[]));
create policy changes on memories for update
  using (tenant = (select current_tenant()) and scope = any ((select current_writes())::text[]))
  with check (tenant = (select current_tenant()) and scope = any ((select current_writes())::text[]));
create policy forgets on memories for delete
  using (tenant = (select current_tenant())
         and (scope = any ((select current_writes())::text[])
              or (scope_kind = 'run' and scope = any ((select current_reads())::text[]))));
-- Cited use is counted by a function of the owner, in scopes that its caller may only read.
create policy cites on memories for update to cs_owner
  using (tenant = (select current_tenant()) and scope = any ((select current_reads())::text[]))
  with check (tenant = (select current_tenant()) and scope = any ((select current_reads())::text[]));
-- Housekeeping, in every tenant: what has expired goes, what waited for that holds again, what an ended run noted goes.
create policy system on memories to cs_system using (expires <= clock_timestamp());
create policy uncovers on memories for update to cs_system
  using (covered_until <= clock_timestamp()) with check (covered_until is null);
create policy ended on memories for delete to cs_system using (scope_kind = 'run');
-- How full scopes are, and by which embedder.
create policy counts on memories for select to cs_system using (true);
-- One person's memories wherever they are in the entered tenant; called by forget_person alone.
create policy erases on memories for delete to cs_system using (tenant = (select current_tenant()));
grant select, insert, update, delete on memories to cs_app;
grant select, delete, update (superseded_by, covered_until) on memories to cs_system;

-- How often each word stands in a memory, so that a search can weigh words by their rarity within a scope (BM25).
-- Compared by equality alone, which row security lets an index do; a full-text operator would be checked row by row.
-- Words and marks are written with their memory and leave with it, by triggers (write.sql), all of a statement at once:
-- a foreign key would look at the memory again for each of its words, and at each of its words for every memory that
-- leaves.
create table memory_postings (
  tenant text not null,
  scope text not null,
  lexeme text not null,
  memory uuid not null,
  hits int not null check (hits > 0),
  -- A column, because row security lets an index compare what is stored, not what is computed.
  root text not null generated always as (word_root(lexeme)) stored,
  primary key (tenant, scope, root, lexeme, memory) include (hits)
);
create index memory_postings_memory on memory_postings (memory);
alter table memory_postings alter column lexeme set statistics 0, alter column root set statistics 0,
  alter column scope set statistics 0;
alter table memory_postings enable row level security, force row level security;
create policy reads on memory_postings for select
  using (tenant = (select current_tenant())
         and (scope = any ((select current_reads())::text[]) or scope = any ((select current_writes())::text[])));
create policy adds on memory_postings for insert
  with check (tenant = (select current_tenant()) and scope = any ((select current_writes())::text[]));
create policy forgets on memory_postings for delete using (tenant = (select current_tenant()));
-- Whoever deletes memories, housekeeping included, which works for no tenant.
create policy unposts on memory_postings to cs_system using (true) with check (false);
grant select on memory_postings to cs_app;
grant select, delete on memory_postings to cs_system;

-- By which texts worded alike find each other.
create table memory_marks (
  tenant text not null default current_tenant(),
  scope text not null,
  mark text not null,
  memory uuid not null,
  primary key (tenant, scope, mark, memory)
);
comment on column memory_marks.mark is 'digest of the wording, and for what was said in a conversation its place';
create index memory_marks_of on memory_marks (memory);
alter table memory_marks alter column mark set statistics 0, alter column scope set statistics 0;
alter table memory_marks enable row level security, force row level security;
create policy scope on memory_marks
  using (tenant = (select current_tenant())
         and (scope = any ((select current_reads())::text[]) or scope = any ((select current_writes())::text[])))
  with check (tenant = (select current_tenant()) and scope = any ((select current_writes())::text[]));
create policy unposts on memory_marks to cs_system using (true) with check (false);
grant select, insert on memory_marks to cs_app;
grant select, delete on memory_marks to cs_system;

-- The same told again: not a copy, but who told it and where it came from.
create table memory_links (
  tenant text not null default current_tenant(),
  id bigint generated always as identity primary key,
  scope text not null,
  memory uuid not null,
  digest text not null,
  trust text not null check (trust in ('human', 'tool', 'model', 'untrusted')),
  provenance jsonb not null,
  told timestamptz not null default clock_timestamp(),
  foreign key (tenant, memory) references memories on delete cascade
);
create index memory_links_of on memory_links (tenant, memory);
alter table memory_links alter column provenance set statistics 0, alter column scope set statistics 0;
alter table memory_links enable row level security, force row level security;
create policy scope on memory_links
  using (tenant = (select current_tenant())
         and (scope = any ((select current_reads())::text[]) or scope = any ((select current_writes())::text[])))
  with check (tenant = (select current_tenant()) and scope = any ((select current_writes())::text[]));
create policy erases on memory_links to cs_system using (tenant = (select current_tenant()));
grant select, insert on memory_links to cs_app;
grant select, delete on memory_links to cs_system;

-- What a run or session was shown, so that it cannot tell it again as something new. Cited use is counted once for each
-- run that was shown a memory and named it.
create table memory_seen (
  tenant text not null default current_tenant(),
  seer text not null,
  memory uuid not null,
  seen timestamptz not null default clock_timestamp(),
  cited boolean not null default false,
  primary key (tenant, seer, memory),
  foreign key (tenant, memory) references memories on delete cascade
);
create index memory_seen_of on memory_seen (tenant, memory);
create index memory_seen_age on memory_seen (seen);
alter table memory_seen alter column seer set statistics 0;
alter table memory_seen enable row level security, force row level security;
create policy seer on memory_seen
  using (tenant = (select current_tenant())
         and (seer = any ((select current_reads())::text[]) or seer = any ((select current_writes())::text[])));
create policy system on memory_seen to cs_system using (seen < clock_timestamp() - interval '1 day');
create policy erases on memory_seen to cs_system using (tenant = (select current_tenant()));
grant select, insert on memory_seen to cs_app;
grant select, delete on memory_seen to cs_system;
