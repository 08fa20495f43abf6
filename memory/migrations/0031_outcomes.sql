-- What came of each step, read from what is on record anyway: a step of several batches is one row. Row security is
-- that of the journal, for whoever asks.
create view step_outcomes with (security_invoker = true) as
with told as (
  select distinct on (j.run, j.body::jsonb ->> 'step')
         j.tenant, j.run, j.seq, split_part(j.body::jsonb ->> 'step', '#', 1) as step, j.kind, j.body::jsonb as body,
         min(j.seq) over (partition by j.run, split_part(j.body::jsonb ->> 'step', '#', 1)) as first
    from journal j
   where j.kind in ('read', 'outcome', 'resolved', 'skipped', 'denied') and j.body::jsonb ? 'step'
   order by j.run, j.body::jsonb ->> 'step', j.seq desc
)
select tenant, run, step, min(first) as first, max(body ->> 'tool') as tool,
       (array_agg(coalesce(body ->> 'state', kind)
                  order by coalesce(body ->> 'state', kind) not in ('done', 'skipped') desc, seq desc))[1] as status,
       coalesce(sum((body #>> '{cost,millis}')::bigint), 0)::bigint as duration,
       jsonb_build_object('calls', coalesce(sum((body #>> '{cost,calls}')::bigint), 0),
                          'tokens', coalesce(sum((body #>> '{cost,tokens}')::bigint), 0),
                          'micros', coalesce(sum((body #>> '{cost,micros}')::bigint), 0)) as cost,
       coalesce(array_agg(coalesce(body ->> 'effect', body ->> 'checkpoint') order by seq)
                filter (where coalesce(body ->> 'effect', body ->> 'checkpoint') is not null), '{}') as pointers
  from told group by tenant, run, step;
comment on view step_outcomes is 'duration in milliseconds; pointers are effects, or the checkpoint of a read';
grant select on step_outcomes to cs_app;

-- What was shown to a run is forgotten when nobody can lead it any more: a run may wait for people longer than a day, and
-- must not tell as news then what it read before.
-- A run that is cancelled while it waits has no worker that would erase what it noted.
create policy ended on memories for delete to cs_system using (scope_kind = 'run');
create index memories_of_runs on memories (scope_id) where scope_kind = 'run';
grant create on schema public to cs_system;
set local role cs_system;
create or replace function sweep_memories(p_limit int) returns int
language sql security definer set search_path = public, pg_temp as $$
  with gone as (
    delete from memories m using (
      (select e.tenant, e.id from memories e where e.expires <= clock_timestamp() limit p_limit)
      union all
      (select e.tenant, e.id from memories e join runs r on r.id = e.scope_id and r.tenant = e.tenant
        where e.scope_kind = 'run' and r.status in ('done', 'failed', 'denied', 'cancelled') limit p_limit)
    ) e where m.tenant = e.tenant and m.id = e.id returning 1
  ) select count(*)::int from gone
$$;
create or replace function sweep_memory_archive(p_limit int) returns int
language sql security definer set search_path = public, pg_temp as $$
  with seen as (
    delete from memory_seen s
     where s.seen < clock_timestamp() - interval '1 day'
       and not exists (select 1 from runs r
                        where r.id = substr(s.seer, 5) and starts_with(s.seer, 'run:') and r.tenant = s.tenant
                          and r.status in ('queued', 'running', 'waiting', 'stopped'))
  ), due as (
    select a.tenant, a.id from memory_archive a
     where a.retained_until <= clock_timestamp() and not a.hold and a.content is not null limit p_limit
  ), gone as (
    update memory_archive a set content = null, writer = null, gone = clock_timestamp() from due
     where a.tenant = due.tenant and a.id = due.id returning 1
  ) select count(*)::int from gone
$$;
reset role;
revoke create on schema public from cs_system;
