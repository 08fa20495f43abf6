-- First rows of what a question asks about, for those who are asked. Called by previews.py.

-- Rows of the first slice that a round's question shows, as long as they are what was asked about: for the requester, and
-- for whoever may decide. Texts from a memory are the requester's alone.
create or replace function sample_of_question(p_approval text, p_limit int) returns table ("row" text)
language sql stable security definer set search_path = public, pg_temp as $$
  select w.row from approvals a
   cross join lateral (
     select s ->> 'handle' as handle, (s ->> 'start')::numeric as start, (s ->> 'count')::numeric as count,
            s ->> 'digest' as digest
       from jsonb_path_query(a.shown, 'strict $.** ? (exists(@.handle) && exists(@.digest)
              && @.start.type() == "number" && @.count.type() == "number")') s limit 1) q
    join results h on h.handle = q.handle and h.run = a.run and q.start >= 0 and q.start + q.count <= h.count
     and (a.requester = current_principal() or not h.shape ?& array['id', 'said', 'scope', 'text', 'trust'])
   cross join lateral (
     select rows_digest(string_agg(r.row, E'\n' order by r.ord)) as digest from result_rows r
      where r.principal = h.principal and r.handle = h.handle
        and r.ord >= q.start and r.ord < q.start + q.count) d
    join result_rows w on w.principal = h.principal and w.handle = h.handle and d.digest = q.digest
     and w.ord >= q.start and w.ord < q.start + least(q.count, p_limit)
   where a.id = p_approval
     and (a.requester = current_principal() or cardinality(a.groups) = 0 or is_of(a.groups || array['admin']))
   order by w.ord
$$;
revoke execute on function sample_of_question(text, int) from public;
grant execute on function sample_of_question(text, int) to cs_app;
