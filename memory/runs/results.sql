-- Large results by handle. Called by results.py.

-- The digest of rows as text, one a line.
create or replace function rows_digest(p_rows text) returns text
language sql immutable set search_path = pg_catalog, pg_temp as $$
  select encode(sha256(convert_to(coalesce(p_rows, ''), 'UTF8')), 'hex')
$$;
