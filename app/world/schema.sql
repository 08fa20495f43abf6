-- One schema per service; {i} is the instance's name. Several refunds per charge are possible on purpose:
-- the business de-duplicates by the client's idempotency key and by nothing else.

create schema if not exists {i}_billing;
create schema if not exists {i}_tickets;
create schema if not exists {i}_cloud;

create table if not exists {i}_billing.customers (
  id text primary key, name text not null, email text not null, account text not null default 'open'
);
create table if not exists {i}_billing.invoices (
  id text primary key, customer text not null, amount bigint not null, night boolean not null default true
);
alter table {i}_billing.invoices add column if not exists currency text not null default 'EUR';
create table if not exists {i}_billing.charges (
  id text primary key, customer text not null, invoice text not null, amount bigint not null,
  currency text not null default 'EUR', at timestamptz not null, disputed boolean not null default false,
  key text unique, run text, subject text, actor text
);
create table if not exists {i}_billing.refunds (
  id bigint generated always as identity primary key, charge text not null, amount bigint not null,
  key text unique, by_support boolean not null default false, run text, subject text, actor text,
  at timestamptz not null default clock_timestamp()
);
create table if not exists {i}_billing.jobs (
  id text primary key, name text not null, kind text not null, status text not null, emitted int not null default 0
);
-- What each charge really is; no API reads this.
create table if not exists {i}_billing.labels (charge text primary key, label text not null);
-- Which charges the runaway job will repeat, in this order.
create table if not exists {i}_billing.retries (n int primary key, charge text not null);
create table if not exists {i}_tickets.tickets (
  id text primary key, kind text not null, subject text not null, body text not null,
  customer text, ref text, status text not null default 'open', at timestamptz not null default clock_timestamp()
);
create table if not exists {i}_tickets.comments (
  id bigint generated always as identity primary key, ticket text not null, body text not null, run text
);
create table if not exists {i}_tickets.notifications (
  id bigint generated always as identity primary key, customer text not null, ref text not null, template text not null,
  run text, unique (ref, template)
);
create table if not exists {i}_cloud.volumes (
  id text primary key, service text not null, environment text not null, size_gb int not null, used_gb int not null,
  price_cents_per_gb int not null, extended int not null default 0
);
create table if not exists {i}_cloud.tables (
  name text primary key, volume text not null, environment text not null, rows bigint not null, size_gb int not null,
  dropped boolean not null default false
);
create table if not exists {i}_billing.operations (
  service text not null, key text not null, body_hash text not null, response jsonb not null,
  primary key (service, key)
);
create table if not exists {i}_billing.requests (
  id bigint generated always as identity primary key, at timestamptz not null default clock_timestamp(),
  path text not null, correlation text, role text, subject text, actor text, key text, outcome text not null
);
create index if not exists charges_customer on {i}_billing.charges (customer, amount, at, id);
create index if not exists charges_invoice on {i}_billing.charges (invoice);
create index if not exists customers_name on {i}_billing.customers (name);
create index if not exists customers_email on {i}_billing.customers (email);
create index if not exists refunds_charge on {i}_billing.refunds (charge);
