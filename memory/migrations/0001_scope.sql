-- For whom a transaction works: enter() says it, the current_*() functions answer it, row policies compare with it.
-- The settings are local to the transaction, so that the next borrower of a pooled connection starts with nothing.

revoke all on schema public from public;
grant usage on schema public to cs_app, cs_system;

create table schema_migrations (
  name text primary key,
  hash text not null,
  applied timestamptz not null default clock_timestamp()
);
grant select on schema_migrations to cs_app;

-- Returns the tenant, or null for an empty one: callers that join with it then reach nothing.
create function enter(tenant text, principal text, reads text[], writes text[])
returns text language sql volatile as $$
  select nullif(pg_catalog.set_config('countersign.tenant', coalesce(tenant, ''), true), '')
    from (select pg_catalog.set_config('countersign.principal', coalesce(principal, ''), true),
                 pg_catalog.set_config('countersign.reads', coalesce(reads, '{}')::text, true),
                 pg_catalog.set_config('countersign.writes', coalesce(writes, '{}')::text, true)
          offset 0) as entered
$$;

create function current_tenant() returns text language sql stable parallel safe as $$
  select nullif(pg_catalog.current_setting('countersign.tenant', true), '')
$$;

create function current_principal() returns text language sql stable parallel safe as $$
  select nullif(pg_catalog.current_setting('countersign.principal', true), '')
$$;

create function current_reads() returns text[] language sql stable parallel safe as $$
  select coalesce(nullif(pg_catalog.current_setting('countersign.reads', true), ''), '{}')::text[]
$$;

create function current_writes() returns text[] language sql stable parallel safe as $$
  select coalesce(nullif(pg_catalog.current_setting('countersign.writes', true), ''), '{}')::text[]
$$;

revoke execute on function enter(text, text, text[], text[]), current_tenant(), current_principal(),
  current_reads(), current_writes() from public;
grant execute on function enter(text, text, text[], text[]), current_tenant(), current_principal(),
  current_reads(), current_writes() to cs_app, cs_system;
