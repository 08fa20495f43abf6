-- The log of a tenant: what each chain was when, its signed heads, the keys that signed them, and the news that the log
-- has not taken in. Owned by memory/evidence; the triggers that keep it append-only stand in memory/evidence/log.sql.

-- One leaf for each time that the log took in what was new in a chain. No foreign key: a leaf outlives a run that was
-- removed, which is how one finds out.
create table log_leaves (
  tenant text not null,
  position bigint not null check (position >= 0),
  run text not null,
  seq int not null check (seq > 0),
  text text not null,
  frontier bytea not null,
  parts bytea not null,
  primary key (tenant, position)
);
comment on column log_leaves.frontier is
  'roots of the complete parts of the tree of the run''s entries up to seq, the largest part first';
comment on column log_leaves.parts is
  'roots of the complete parts of the log that end with this leaf, itself first: a proof reads a few rows of them';
create unique index log_leaves_of_run on log_leaves (run, seq);

create table log_heads (
  tenant text not null,
  number bigint not null check (number > 0),
  size bigint not null check (size > 0),
  text text not null,
  signature bytea check (length(signature) = 64),
  frontier bytea not null,
  primary key (tenant, number)
);
comment on column log_heads.signature is 'null where no signing key was set; it comes in the transaction of its head';

-- Public keys that signed heads; they stay for ever, or old heads could be checked no more.
create table signing_keys (
  tenant text not null,
  id text not null check (id = left(encode(sha256(public), 'hex'), 16)),
  public bytea not null check (length(public) = 32),
  since timestamptz not null default clock_timestamp(),
  primary key (tenant, id)
);

-- A row for each time that a chain grew, in the same transaction, deleted by whoever extends the log: whatever the
-- order in which transactions commit, none is overlooked. It is read whole, and soon empty again.
create table journal_news (
  tenant text not null,
  run text not null
);

-- Chains from before; row security is lifted for this statement, since the owner has entered no tenant.
alter table journal no force row level security;
insert into journal_news (tenant, run) select distinct tenant, run from journal;
alter table journal force row level security;

alter table log_leaves enable row level security, force row level security;
create policy tenant on log_leaves
  using (tenant = (select current_tenant())) with check (tenant = (select current_tenant()));
-- Which chains have grown since their last leaf, in whatever tenant.
create policy system on log_leaves for select to cs_system using (true);
alter table log_heads enable row level security, force row level security;
create policy tenant on log_heads
  using (tenant = (select current_tenant())) with check (tenant = (select current_tenant()));
alter table signing_keys enable row level security, force row level security;
create policy tenant on signing_keys
  using (tenant = (select current_tenant())) with check (tenant = (select current_tenant()));
alter table journal_news enable row level security, force row level security;
create policy tenant on journal_news using (tenant = (select current_tenant())) with check (tenant = current_tenant());
create policy system on journal_news to cs_system using (true) with check (true);
grant select on log_leaves, log_heads, signing_keys to cs_app;
grant select on log_leaves to cs_system;
grant select, insert on journal_news to cs_system;
