-- When the journal of each tenant was last checked, and since when it does not hold. Owned by memory/evidence.
create table evidence_checks (
  tenant text primary key references tenants,
  began timestamptz not null,
  ended timestamptz,
  seconds float8 not null default 0,
  -- Leaves of the log that were there: more of them are news.
  leaves bigint not null default 0,
  -- When it last held, and when it was first found that it does not.
  held timestamptz,
  broken timestamptz,
  problems int not null default 0,
  first text not null default ''
);
alter table evidence_checks alter column first set statistics 0;
alter table evidence_checks enable row level security, force row level security;
create policy tenant on evidence_checks
  using (tenant = (select current_tenant())) with check (tenant = (select current_tenant()));
-- Which tenant is due, and what doctor tells of all.
create policy system on evidence_checks to cs_system using (true) with check (true);
grant select on evidence_checks to cs_app;
grant select, insert, update on evidence_checks to cs_system;
