-- For whom a transaction works, and what was applied to this database. Owned by memory/postgres.
--
-- enter() (memory/postgres/database.sql) takes an entry, the current_*() functions answer it, row policies compare with
-- it. An entry counts only while two sequences of the session, which the app's role may read but not set, hold its
-- seal: a setting alone, which any role may write, is worth nothing. The settings are local to the transaction, so that
-- the next borrower of a pooled connection starts with nothing.

revoke all on schema public from public;
grant usage on schema public to cs_app, cs_system;

-- Numbered files, each applied once.
create table schema_migrations (
  name text primary key,
  hash text not null,
  applied timestamptz not null default clock_timestamp()
);
grant select on schema_migrations to cs_app;

-- Every text of a function file that was applied; the latest of a name is in force.
create table schema_functions (
  name text,
  hash text,
  applied timestamptz not null default clock_timestamp(),
  primary key (name, hash)
);
grant select on schema_functions to cs_app;

-- The key is a hash of the app role's password; SQL of that role never sees it.
create table entry_key (
  one boolean primary key default true check (one),
  inner_pad bytea not null check (length(inner_pad) = 64),
  outer_pad bytea not null check (length(outer_pad) = 64),
  changed timestamptz not null default clock_timestamp()
);
comment on table entry_key is 'the HMAC key of entries, xored with its two paddings; nobody but the owner reads it';
alter table entry_key enable row level security, force row level security;
create policy owner on entry_key to cs_owner using (true) with check (true);

-- currval() is what this session set last: a memory of the server that needs neither a row nor a commit.
create unlogged sequence entry_seal_high minvalue -9223372036854775808 start 1;
create unlogged sequence entry_seal_low minvalue -9223372036854775808 start 1;
create unlogged sequence entry_last minvalue 0 start 1;
grant select on sequence entry_seal_high, entry_seal_low to cs_app, cs_system;

-- Functions that policies and defaults below use; to change one is a numbered file.

-- What was entered, or null; a setting that was written by hand has no seal.
create function entered() returns jsonb language plpgsql stable parallel restricted as $$
declare v_entry text := nullif(pg_catalog.current_setting('countersign.entry', true), '');
begin
  if v_entry is not null and pg_catalog.substr(pg_catalog.sha256(pg_catalog.convert_to(v_entry, 'UTF8')
         || pg_catalog.timestamptz_send(pg_catalog.transaction_timestamp())), 1, 16)
       = pg_catalog.int8send(pg_catalog.currval('public.entry_seal_high'))
         || pg_catalog.int8send(pg_catalog.currval('public.entry_seal_low')) then
    return pg_catalog.substr(v_entry, 37)::pg_catalog.jsonb;
  end if;
  return null;
end $$;

create function current_tenant() returns text language sql stable parallel restricted
return nullif(entered() ->> 'tenant', '');

create function current_principal() returns text language sql stable parallel restricted
return nullif(entered() ->> 'principal', '');

create function current_reads() returns text[] language sql stable parallel restricted
return coalesce(nullif(entered() ->> 'reads', ''), '{}')::text[];

create function current_writes() returns text[] language sql stable parallel restricted
return coalesce(nullif(entered() ->> 'writes', ''), '{}')::text[];

revoke execute on function entered(), current_tenant(), current_principal(), current_reads(), current_writes()
  from public;
grant execute on function entered(), current_tenant(), current_principal(), current_reads(), current_writes()
  to cs_app, cs_system;

-- How the policies of the following files ask: where statements touch many rows, `(select current_tenant())` asks once
-- per statement. Where an index finds the one row, asking apart would cost more than asking in place.
