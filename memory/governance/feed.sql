-- How far everything has got that one process follows, in one statement whatever their number. Called by feed.py.

-- The followed runs of one tenant, and in a row without a run its log. It enters by itself, so that a statement can ask
-- for several tenants; whoever calls it sees what an entry of that tenant sees.
create or replace function followed(p_entry text, p_mark bytea, p_runs text[])
returns table (run text, tenant text, size bigint, is_due boolean)
language plpgsql volatile security definer set search_path = public, pg_temp as $$
begin
  perform enter(p_entry, p_mark);
  return query
    select r.id, r.tenant, r.seq::bigint, r.status not in ('queued', 'running') from runs r
     where r.id = any (p_runs) and r.kind = 'run';
  return query
    select null::text, current_tenant(),
           coalesce((select h.size from log_heads h order by h.number desc limit 1), 0),
           exists (select from journal_news);
end $$;
revoke execute on function followed(text, bytea, text[]) from public;
grant execute on function followed(text, bytea, text[]) to cs_app;
