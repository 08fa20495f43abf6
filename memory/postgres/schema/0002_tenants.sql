-- Who exists: tenants, people and services, and the hashes of their keys. Owned by memory/governance/principals.py.

create table tenants (
  id text primary key check (id ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
  created timestamptz not null default clock_timestamp()
);
grant select on tenants to cs_app, cs_system;

create table principals (
  tenant text not null references tenants,
  id text not null check (id ~ '^[a-z0-9][a-z0-9._@-]{0,62}$'),
  groups text[] not null default '{}',
  limit_alone bigint not null default 0 check (limit_alone >= 0),
  limit_joint bigint not null default 0 check (limit_joint >= 0),
  created timestamptz not null default clock_timestamp(),
  primary key (tenant, id)
);
alter table principals enable row level security, force row level security;
create policy tenant on principals using (tenant = current_tenant()) with check (tenant = current_tenant());
-- Whose a key is must be known before anybody has entered.
create policy system on principals to cs_system using (true);
grant select on principals to cs_app, cs_system;

create table keys (
  id text primary key default gen_random_uuid()::text,
  tenant text not null,
  principal text not null,
  hash bytea not null unique,
  label text not null default '',
  created timestamptz not null default clock_timestamp(),
  expires timestamptz,
  revoked timestamptz,
  foreign key (tenant, principal) references principals
);
alter table keys enable row level security, force row level security;
create policy tenant on keys using (tenant = current_tenant()) with check (tenant = current_tenant());
create policy system on keys to cs_system using (true);
grant select on keys to cs_app, cs_system;

-- Statistics for the planner are samples of what stands in a column: of texts that people write there are none, here
-- and in all files below, so that nothing forgotten stays readable in the catalogue.
alter table keys alter column label set statistics 0;
