-- What left memory: texts that were forgotten, and what pruning took away. Owned by memory/store.

-- Texts that were forgotten: keyed hashes alone. The key of a tenant is read by the owner's functions only.
create table memory_secrets (
  tenant text primary key default current_tenant(),
  inner_pad bytea not null,
  outer_pad bytea not null
);
alter table memory_secrets enable row level security, force row level security;
create policy tenant on memory_secrets
  using (tenant = (select current_tenant())) with check (tenant = (select current_tenant()));

create table memory_tombstones (
  tenant text not null default current_tenant(),
  mark bytea not null,
  made timestamptz not null default clock_timestamp(),
  primary key (tenant, mark)
);
alter table memory_tombstones enable row level security, force row level security;
create policy tenant on memory_tombstones
  using (tenant = (select current_tenant())) with check (tenant = (select current_tenant()));

-- What leaves a scope for want of room: an act with a record, from which each row can be taken back for a while.
create table memory_archive (
  tenant text not null default current_tenant(),
  id uuid not null,
  scope text not null,
  writer text,
  content jsonb,
  reason text not null check (reason in ('superseded', 'double', 'room')),
  policy text not null,
  pruned_by text not null,
  pruned timestamptz not null default clock_timestamp(),
  retained_until timestamptz not null,
  hold boolean not null default false,
  gone timestamptz,
  primary key (tenant, id),
  check ((content is null) = (gone is not null))
);
comment on table memory_archive is
  'content is the row without its vector; null once the retention has ended: a tombstone';
create index memory_archive_scope on memory_archive (tenant, scope, pruned);
create index memory_archive_due on memory_archive (retained_until) where content is not null and not hold;
alter table memory_archive alter column content set statistics 0, alter column scope set statistics 0;
alter table memory_archive enable row level security, force row level security;
create policy scope on memory_archive
  using (tenant = (select current_tenant())
         and (scope = any ((select current_reads())::text[]) or scope = any ((select current_writes())::text[])))
  with check (tenant = (select current_tenant()) and scope = any ((select current_writes())::text[]));
create policy system on memory_archive to cs_system
  using (retained_until <= clock_timestamp() and not hold) with check (content is null);
create policy erases on memory_archive to cs_system
  using (tenant = (select current_tenant())) with check (content is null);
-- A legal hold is set by the groups that may, on rows of scopes that they do not see.
create policy holds on memory_archive for update to cs_system
  using (tenant = (select current_tenant())) with check (tenant = (select current_tenant()));
grant select on memory_archive to cs_app;
grant select, update, delete on memory_archive to cs_system;
