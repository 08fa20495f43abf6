-- Columns that repeat what a text says, compared with it: queries read them, and no hash covers them. Called by columns.py.

-- Places of the entered tenant, or of one run, where they differ; the first few. Texts that are no JSON say nothing.
create or replace function column_problems(p_run text, p_most int) returns table (place jsonb, what text)
language sql stable security definer set search_path = public, pg_temp as $$
  select d.place, 'its columns ' || d.names || ' are not as its text says' from (
    select jsonb_build_object('run', j.run, 'seq', j.seq) as place, concat_ws(', ',
             case when j.kind is distinct from x.body ->> 'kind' then 'kind' end,
             case when j.key is distinct from x.body ->> 'key' then 'key' end,
             case when j.effect is distinct from x.body ->> 'effect' then 'effect' end,
             case when j.call_hash is distinct from x.body ->> 'call' then 'call_hash' end,
             case when j.author is distinct from x.body ->> 'by' then 'author' end) as names
      from journal j,
           (select related_runs(p_run) as names offset 0) r,
           lateral (select case when pg_input_is_valid(j.body, 'jsonb') then j.body::jsonb end as body offset 0) x
     where p_run is null or j.run = any (r.names)
    union all
    select jsonb_build_object('position', l.position), concat_ws(', ',
             case when l.run is distinct from x.body ->> 'run' then 'run' end,
             case when l.seq::text is distinct from x.body ->> 'seq' then 'seq' end,
             case when length(l.frontier) <> 32 * bit_count(l.seq::bit(32))
                    or encode(tree_root(l.frontier), 'hex') is distinct from x.body ->> 'root' then 'frontier' end)
      from log_leaves l,
           lateral (select case when pg_input_is_valid(l.text, 'jsonb') then l.text::jsonb end as body offset 0) x
     where p_run is null
    union all
    select jsonb_build_object('number', h.number), concat_ws(', ',
             case when h.size::text is distinct from x.body ->> 'size' then 'size' end,
             case when length(h.frontier) <> 32 * bit_count(h.size::bit(64))
                    or encode(tree_root(h.frontier), 'hex') is distinct from x.body ->> 'root' then 'frontier' end)
      from log_heads h,
           lateral (select case when pg_input_is_valid(h.text, 'jsonb') then h.text::jsonb end as body offset 0) x
     where p_run is null) d
   where d.names <> '' limit p_most
$$;
revoke execute on function column_problems(text, int) from public;
grant execute on function column_problems(text, int) to cs_app;
