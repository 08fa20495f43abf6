-- Changes of whole threads: deletion, copies, pruning. Called by checkpoint_threads.py.

-- Locks the runs of some threads and returns the first that forbids a change: an open one that none of the leases
-- leads, or in a thread that is not led, another person's. Nothing is saved to those threads, and no run begins on
-- them, until the commit. Rows first, then threads, as whoever resumes a run locks them.
create or replace function first_refusal(p_threads text[], p_leases jsonb)
returns table (code text, thread text, run text)
language plpgsql set search_path = public, pg_temp as $$
begin
  perform 1 from runs r where r.thread = any (p_threads) and r.kind = 'run' order by r.id for no key update;
  perform pg_advisory_xact_lock(7300, hashtext(current_tenant() || '/' || t.thread))
     from (select distinct unnest(p_threads) as thread order by 1) t;
  return query
    select case when r.status in ('queued', 'running', 'waiting') then 'busy' else 'foreign' end, r.thread, r.id
      from runs r
     where r.thread = any (p_threads) and r.kind = 'run'
       and not exists (select 1 from runs l where l.thread = r.thread and l.kind = 'run' and l.status = 'running'
                          and l.requester = current_principal() and p_leases ->> l.id = l.fence::text)
       and (r.status in ('queued', 'running', 'waiting')
            or r.requester <> current_principal() and not is_of(array['admin']))
     order by r.thread, r.created desc limit 1;
  if found then return; end if;
  -- What was copied into a thread may have no run.
  return query
    select 'foreign', c.thread_id, null::text from checkpoints c
     where c.thread_id = any (p_threads) and c.principal <> current_principal() and not is_of(array['admin']) limit 1;
end $$;
revoke execute on function first_refusal(text[], jsonb) from public;

-- Deletes what hung on checkpoints of some threads that are gone: their writes, values that none refers to, and
-- parents. Writes towards a checkpoint that is still to come stay.
create or replace function drop_loose_ends(p_threads text[], p_gone jsonb) returns void
language sql set search_path = public, pg_temp as $$
  delete from checkpoint_writes w using jsonb_array_elements(p_gone) g
   where w.thread_id = g ->> 0 and w.checkpoint_ns = g ->> 1 and w.checkpoint_id = g ->> 2;
  delete from checkpoint_blobs b
   where b.thread_id = any (p_threads)
     and not exists (
       select 1 from (select c.thread_id, c.checkpoint_ns, v.key, v.value
                        from checkpoints c, jsonb_each_text(c.checkpoint -> 'channel_versions') v
                       where c.thread_id = any (p_threads)) u
        where u.thread_id = b.thread_id and u.checkpoint_ns = b.checkpoint_ns
          and u.key = b.channel and u.value = b.version);
  update checkpoints c set parent_checkpoint_id = null
   where c.thread_id = any (p_threads) and c.parent_checkpoint_id is not null
     and not exists (select 1 from checkpoints o where o.thread_id = c.thread_id
                        and o.checkpoint_ns = c.checkpoint_ns and o.checkpoint_id = c.parent_checkpoint_id);
$$;
revoke execute on function drop_loose_ends(text[], jsonb) from public;

-- Deletes the checkpoints of whole threads, or those that some runs left; a run's mark keeps late writers out.
create or replace function delete_checkpoints(p jsonb)
returns table (code text, thread text, run text)
language plpgsql security definer set search_path = public, pg_temp as $$
declare v_threads text[]; v_runs text[]; v_gone jsonb;
begin
  select array_agg(r) into v_runs from jsonb_array_elements_text(p -> 'runs') r;
  if v_runs is null then
    select array_agg(t) into v_threads from jsonb_array_elements_text(p -> 'threads') t;
  else
    select array_agg(distinct t) into v_threads from (
      select c.thread_id from checkpoints c
       where c.metadata ->> 'run' = any (v_runs) or c.metadata ->> 'run_id' = any (v_runs)
      union select r.thread from runs r where r.id = any (v_runs) and r.kind = 'run') as places (t);
  end if;
  return query select * from first_refusal(v_threads, p -> 'leases');
  if found then return; end if;
  with gone as (
    delete from checkpoints c
     where c.thread_id = any (v_threads)
       and (v_runs is null or c.metadata ->> 'run' = any (v_runs) or c.metadata ->> 'run_id' = any (v_runs))
    returning c.thread_id, c.checkpoint_ns, c.checkpoint_id)
  select jsonb_agg(jsonb_build_array(g.thread_id, g.checkpoint_ns, g.checkpoint_id)) into v_gone from gone g;
  perform drop_loose_ends(v_threads, v_gone);
  delete from checkpoint_writes w where v_runs is null and w.thread_id = any (v_threads);
  update runs r set checkpoints_deleted = clock_timestamp()
   where r.thread = any (v_threads) and r.kind = 'run' and (v_runs is null or r.id = any (v_runs));
  return query select 'ok', null::text, null::text;
end $$;
revoke execute on function delete_checkpoints(jsonb) from public;
grant execute on function delete_checkpoints(jsonb) to cs_app;

-- Copies a thread into an empty one; what was copied says so, since the target's runs may go on from it.
create or replace function copy_checkpoints(p jsonb)
returns table (code text, thread text, run text)
language plpgsql security definer set search_path = public, pg_temp as $$
declare v_source text := p -> 'threads' ->> 0; v_target text := p -> 'threads' ->> 1;
begin
  return query select * from first_refusal(array[v_source, v_target], p -> 'leases');
  if found then return; end if;
  if exists (select 1 from checkpoints c where c.thread_id = v_target) then
    return query select 'taken', v_target, null::text; return;
  end if;
  insert into checkpoints (thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata)
  select v_target, c.checkpoint_ns, c.checkpoint_id, c.parent_checkpoint_id, c.type, c.checkpoint,
         c.metadata || jsonb_build_object('copied_from', v_source)
    from checkpoints c where c.thread_id = v_source;
  insert into checkpoint_blobs (thread_id, checkpoint_ns, channel, version, type, blob)
  select v_target, b.checkpoint_ns, b.channel, b.version, b.type, b.blob
    from checkpoint_blobs b where b.thread_id = v_source
  on conflict do nothing;
  insert into checkpoint_writes
    (thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, blob)
  select v_target, w.checkpoint_ns, w.checkpoint_id, w.task_id, w.task_path, w.idx, w.channel, w.type, w.blob
    from checkpoint_writes w where w.thread_id = v_source
  on conflict do nothing;
  update runs r set shelved = null where r.thread = v_target and r.kind = 'run' and r.shelved is not null;
  return query select 'ok', null::text, null::text;
end $$;
revoke execute on function copy_checkpoints(jsonb) from public;
grant execute on function copy_checkpoints(jsonb) to cs_app;

-- Keeps the latest checkpoint of each namespace of some threads. A DeltaChannel's value is spread over the history:
-- its threads count updates in their metadata, or hold `true` where a whole value stands in a row of its own.
create or replace function prune_checkpoints(p jsonb)
returns table (code text, thread text, run text)
language plpgsql security definer set search_path = public, pg_temp as $$
declare v_threads text[] := array(select jsonb_array_elements_text(p -> 'threads')); v_gone jsonb;
begin
  return query select * from first_refusal(v_threads, p -> 'leases');
  if found then return; end if;
  return query
    select 'delta', c.thread_id, null::text from checkpoints c
     where c.thread_id = any (v_threads)
       and (c.metadata ?| array['counters_since_delta_snapshot', 'delta_writes_versioned']
            or exists (select 1 from jsonb_each(c.checkpoint -> 'channel_values') v
                         join checkpoint_blobs b on b.thread_id = c.thread_id and b.checkpoint_ns = c.checkpoint_ns
                          and b.channel = v.key and b.version = c.checkpoint -> 'channel_versions' ->> v.key
                        where v.value = 'true'))
     limit 1;
  if found then return; end if;
  with gone as (
    delete from checkpoints c
     where c.thread_id = any (v_threads)
       and exists (select 1 from checkpoints o where o.thread_id = c.thread_id and o.checkpoint_ns = c.checkpoint_ns
                      and o.checkpoint_id > c.checkpoint_id)
    returning c.thread_id, c.checkpoint_ns, c.checkpoint_id)
  select jsonb_agg(jsonb_build_array(g.thread_id, g.checkpoint_ns, g.checkpoint_id)) into v_gone from gone g;
  perform drop_loose_ends(v_threads, v_gone);
  return query select 'ok', null::text, null::text;
end $$;
revoke execute on function prune_checkpoints(jsonb) from public;
grant execute on function prune_checkpoints(jsonb) to cs_app;

-- Remembers that a run goes on from another run's checkpoint: it carries out that run's request, under its keys. The
-- last one counts until the run has acted; then its keys do not change any more.
create or replace function note_origin(p_run text, p_fence int, p_from text)
returns table (code text)
language plpgsql security definer set search_path = public, pg_temp as $$
declare v_run runs; v_origin text := coalesce((select f.origin from runs f where f.id = p_from), p_from);
begin
  select * into v_run from runs r where r.id = p_run for no key update;
  code := case
    when not is_led(v_run, p_fence) then 'lease_lost'
    when v_origin = coalesce(v_run.origin, v_run.id) then 'ok'
    when exists (select 1 from effects e where e.run = p_run) then 'conflict'
    else 'ok' end;
  if code = 'ok' and v_origin <> coalesce(v_run.origin, v_run.id) then
    update runs r set origin = nullif(v_origin, p_run) where r.id = p_run returning * into v_run;
    perform journal_record(v_run, null, null, jsonb_build_object('kind', 'forked', 'origin', v_run.origin,
      'rows', jsonb_build_array(governed_row(v_run))));
  end if;
  return next;
end $$;
revoke execute on function note_origin(text, int, text) from public;
grant execute on function note_origin(text, int, text) to cs_app;
