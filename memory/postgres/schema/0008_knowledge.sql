-- What is known: small, versioned, owned items that plans pin, and the vectors by which current ones are found. Owned
-- by memory/knowledge.

-- Written by one function and never changed afterwards (memory/knowledge/versions.sql).
create table knowledge (
  tenant text not null default current_tenant(),
  id text not null check (id ~ '^[a-z0-9][a-z0-9._-]{0,99}$'),
  version int not null check (version >= 1),
  kind text not null check (kind in ('runbook', 'fact', 'config')),
  title text not null check (length(title) between 1 and 200),
  body text not null check (octet_length(body) between 1 and 20480),
  digest text not null check (digest = encode(sha256(convert_to(body, 'UTF8')), 'hex')),
  owner text not null check (length(owner) between 1 and 100),
  review_by date not null,
  note text not null default '' check (length(note) <= 500),
  published_by text not null,
  published timestamptz not null default clock_timestamp(),
  primary key (tenant, id, version)
);
alter table knowledge enable row level security, force row level security;
create policy tenant on knowledge
  using (tenant = (select current_tenant())) with check (tenant = (select current_tenant()));
grant select on knowledge to cs_app;

-- Vectors are made from the text and may be made anew while the versions stay as they are.
create table knowledge_vectors (
  tenant text not null default current_tenant(),
  id text not null,
  version int not null,
  kind text not null,
  embedder text not null,
  dims int not null default 0,
  phrases int not null default 0,
  presence vector,
  primary key (tenant, id, embedder),
  foreign key (tenant, id, version) references knowledge
);
comment on table knowledge_vectors is
  'one row for each current item, with no embedder, and one for each embedder it has vectors of';
comment on column knowledge_vectors.presence is
  '1 for each dimension that the title or an utterance uses; null if dense';
alter table knowledge_vectors enable row level security, force row level security;
create policy tenant on knowledge_vectors
  using (tenant = (select current_tenant())) with check (tenant = (select current_tenant()));
grant select on knowledge_vectors to cs_app;

create table knowledge_phrases (
  tenant text not null default current_tenant(),
  id text not null,
  ord int not null,
  embedding vector not null,
  kind text not null,
  embedder text not null,
  primary key (tenant, id, embedder, ord),
  foreign key (tenant, id, embedder) references knowledge_vectors on delete cascade
);
create index knowledge_phrases_kind on knowledge_phrases (tenant, kind, embedder);
-- Beside their row, where most vectors fit once they are compressed: reading all of a kind is faster so.
alter table knowledge_phrases alter column embedding set storage main;
alter table knowledge_phrases enable row level security, force row level security;
create policy tenant on knowledge_phrases
  using (tenant = (select current_tenant())) with check (tenant = (select current_tenant()));
grant select on knowledge_phrases to cs_app;

-- How much there is, so that a search knows whether to look at all of it or to follow an index; kept by a trigger.
create table knowledge_spread (
  tenant text not null default current_tenant(),
  kind text not null,
  embedder text not null,
  dims int not null default 0,
  items int not null default 0,
  phrases int not null default 0,
  counts vector,
  primary key (tenant, kind, embedder)
);
comment on table knowledge_spread is
  'sums over knowledge_vectors; counts says how many items use each dimension';
alter table knowledge_spread enable row level security, force row level security;
create policy tenant on knowledge_spread
  using (tenant = (select current_tenant())) with check (tenant = (select current_tenant()));
-- Which tenants lag behind the embedder, and which lengths want an index.
create policy counts on knowledge_spread for select to cs_system using (true);
grant select on knowledge_spread to cs_app, cs_system;
