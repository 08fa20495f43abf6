-- What an export holds. Called by lines.py.

-- The chains in which rows of a run are stamped: its own, those of the runs that set its states anew or took its effects
-- back, and that of administration.
create or replace function related_runs(p_run text) returns text[]
language sql stable set search_path = public, pg_temp as $$
  select array_agg(distinct x.run) from (
    select p_run as run
    union all select 'authority-' || current_tenant() where exists (select 1 from runs r where r.id = p_run)
    union all select o.run from effects e join effects o on o.id = e.superseded_by where e.run = p_run
    union all select o.run from effects e join effects o on o.compensates = e.id or o.frees ? e.key
               where (o.compensates is not null or o.frees <> '[]') and e.run = p_run and e.state = 'compensated') x
$$;
revoke execute on function related_runs(text) from public;
grant execute on function related_runs(text) to cs_app;

-- The text of a kept row for the digest of its result, by the rules of rows.py: sums are made of its columns, so where
-- these say otherwise than the text, it is no row's text any more.
create or replace function text_as_kept(p result_rows) returns text
language plpgsql stable set search_path = public, pg_temp as $$
declare v jsonb; v_amount numeric := 0; v_currency text;
begin
  -- In statements of its own: within one, the planner may read the text before its form is looked at.
  if not pg_input_is_valid(p.row, 'jsonb') then return '?' || p.row; end if;
  v := p.row::jsonb;
  if jsonb_typeof(v -> 'amount') = 'number' then
    v_amount := (v ->> 'amount')::numeric;
    v_currency := case when v ->> 'currency' ~ '^[A-Z]{3}$' then v ->> 'currency' else '*' end;
  end if;
  return case when p.amount = v_amount and p.currency is not distinct from v_currency then '' else '?' end || p.row;
end $$;
revoke execute on function text_as_kept(result_rows) from public;

-- All governed rows of the entered tenant, or those of one run. Of results also the digest of the rows that are kept.
create or replace function governed_rows(p_run text) returns setof jsonb
language sql stable security definer set search_path = public, pg_temp as $$
  select governed_row(r) from runs r where r.kind = 'run' and r.id = coalesce(p_run, r.id)
  union all select governed_row(e) from effects e where e.run = coalesce(p_run, e.run)
  union all select governed_row(a) from approvals a where a.run = coalesce(p_run, a.run)
  union all select governed_row(i) from approvals a join approval_items i on i.approval = a.id
             where a.run = coalesce(p_run, a.run)
  union all select governed_row(v) from approvals a join votes v on v.approval = a.id where a.run = coalesce(p_run, a.run)
  union all select governed_row(h) || to_jsonb((select rows_digest(string_agg(text_as_kept(w), E'\n' order by w.ord))
                                                  from result_rows w where w.principal = h.principal and w.handle = h.handle))
              from results h where h.run = coalesce(p_run, h.run)
  union all select governed_row(q) from principals q where p_run is null
  union all select governed_row(k) from keys k where p_run is null
  union all select governed_row(k) from kills k where p_run is null
  union all select governed_row(a) from authority a where p_run is null
  union all select governed_row(k) from knowledge k where p_run is null
  union all select governed_row(w) from knowledge_approvals w where p_run is null
$$;
revoke execute on function governed_rows(text) from public;
grant execute on function governed_rows(text) to cs_app;
