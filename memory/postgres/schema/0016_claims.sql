-- A key that somebody makes for another has no hash until that person claims it with a code, which is good once and for
-- a week. Keys from before were handed over as they are.
alter table keys
  alter column hash drop not null,
  add column made_by text,
  add column claim bytea unique,
  add column claim_until timestamptz,
  add column claimed timestamptz,
  -- How often somebody came with the code after it was used.
  add column refusals int not null default 0,
  add constraint keys_have_a_secret check (hash is not null or claim is not null);

-- Who read a version that somebody else published, and agrees that plans rest on it.
create table knowledge_approvals (
  tenant text not null default current_tenant(),
  id text not null,
  version int not null,
  approver text not null,
  reason text not null default '' check (length(reason) <= 2000),
  at timestamptz not null default clock_timestamp(),
  primary key (tenant, id, version, approver),
  foreign key (tenant, id, version) references knowledge
);
alter table knowledge_approvals alter column reason set statistics 0;
alter table knowledge_approvals enable row level security, force row level security;
create policy tenant on knowledge_approvals
  using (tenant = (select current_tenant())) with check (tenant = (select current_tenant()));
grant select on knowledge_approvals to cs_app;
