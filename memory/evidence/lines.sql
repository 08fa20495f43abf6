-- What belongs to the export of one run. Called by lines.py.

-- The chains in which rows of a run are stamped: its own, those of the runs that set its states anew or took its effects
-- back, and that of administration.
create or replace function related_runs(p_run text) returns text[]
language sql stable set search_path = public, pg_temp as $$
  select array_agg(distinct x.run) from (
    select p_run as run
    union all select 'authority-' || current_tenant() where exists (select 1 from runs r where r.id = p_run)
    union all select o.run from effects e join effects o on o.id = e.superseded_by where e.run = p_run
    union all select o.run from effects e join effects o on o.compensates = e.id or o.frees ? e.key
               where e.run = p_run and e.state = 'compensated') x
$$;
revoke execute on function related_runs(text) from public;
grant execute on function related_runs(text) to cs_app;
