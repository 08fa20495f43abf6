-- Large results of runs by handle; rows are kept as canonical text, so that their digest can be computed again anywhere.

create table results (
  tenant text not null default current_tenant(),
  handle text not null check (handle ~ '^h_[0-9a-f]{24}$'),
  run text not null check (run <> ''),
  name text not null check (name <> ''),
  count int not null check (count >= 0),
  total bigint not null,
  digest text not null check (digest ~ '^[0-9a-f]{64}$'),
  shape jsonb not null,
  created timestamptz not null default clock_timestamp(),
  primary key (tenant, handle)
);
create index results_of_run on results (tenant, run);

-- No foreign key: rows are written before the header that makes them readable, and 60,000 checks would cost more than
-- the insert. Both tables can only grow, and a reader compares the digest.
create table result_rows (
  tenant text not null default current_tenant(),
  handle text not null,
  ord int not null check (ord >= 0),
  amount bigint not null,
  row text not null,
  primary key (tenant, handle, ord)
);

alter table results enable row level security;
alter table results force row level security;
alter table result_rows enable row level security;
alter table result_rows force row level security;
create policy tenant on results using (tenant = current_tenant()) with check (tenant = current_tenant());
create policy tenant on result_rows using (tenant = current_tenant()) with check (tenant = current_tenant());
grant select, insert on results, result_rows to cs_app;

create function rows_digest(p_rows text) returns text
language sql immutable set search_path = pg_catalog, pg_temp as $$
  select encode(sha256(convert_to(coalesce(p_rows, ''), 'UTF8')), 'hex')
$$;
