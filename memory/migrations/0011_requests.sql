-- What was answered to requests that carry an Idempotency-Key, so that a repeated one is answered alike.
-- A row is written in the transaction that does the work: there is never an answer without it, nor it without the answer.

create table requests (
  tenant text not null default current_tenant(),
  principal text not null default current_principal(),
  key text not null check (length(key) between 1 and 200),
  route text not null,
  hash text not null check (hash ~ '^[0-9a-f]{64}$'),
  answer jsonb not null,
  created timestamptz not null default clock_timestamp(),
  primary key (tenant, principal, key)
);
create index requests_age on requests (created);

alter table requests enable row level security;
alter table requests force row level security;
create policy own on requests
  using (tenant = current_tenant() and principal = current_principal())
  with check (tenant = current_tenant() and principal = current_principal());
grant select, insert, delete on requests to cs_app;
