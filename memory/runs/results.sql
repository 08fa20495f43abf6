-- Large results by handle. Called by results.py.

-- The digest of rows as text, one a line.
create or replace function rows_digest(p_rows text) returns text
language sql immutable set search_path = pg_catalog, pg_temp as $$
  select encode(sha256(convert_to(coalesce(p_rows, ''), 'UTF8')), 'hex')
$$;

-- A result that is kept for a run is told in its chain; results of nothing that was accepted are nobody's evidence.
create or replace function journal_result() returns trigger
language plpgsql security definer set search_path = public, pg_temp as $$
declare v_run runs;
begin
  select * into v_run from runs r where r.id = new.run for no key update;
  if found then
    perform journal_record(v_run, null, null, jsonb_build_object('kind', 'kept', 'id', new.handle,
      'counts', jsonb_build_object('rows', new.count), 'digest', new.digest, 'amount', new.total,
      'currency', new.currency, 'checkpoint', new.checkpoint, 'rows', jsonb_build_array(governed_row(new))));
  end if;
  return null;
end $$;
revoke execute on function journal_result() from public;
create or replace trigger results_journal after insert on results for each row execute function journal_result();
