-- Checkpoints in the tables of LangGraph's Postgres saver. Called by checkpoints.py.

-- Saves a checkpoint, or writes of one, if the fence still leads the run; the shared lock keeps a new lease from
-- being granted between the look and the commit.
create or replace function save_checkpoint(p_run text, p_fence int, p jsonb)
returns table (code text)
language plpgsql security definer set search_path = public, pg_temp as $$
begin
  perform 1 from runs r
    where r.id = p_run and r.fence = p_fence and r.status = 'running' and r.thread = p ->> 'thread' for share;
  if not found then return query select 'lease_lost'; return; end if;
  if p ? 'checkpoint' then
    insert into checkpoint_blobs (thread_id, checkpoint_ns, channel, version, type, blob)
    select p ->> 'thread', p ->> 'ns', b ->> 0, b ->> 1, b ->> 2, decode(b ->> 3, 'base64')
      from jsonb_array_elements(p -> 'blobs') as b
    on conflict do nothing;
    insert into checkpoints (thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, checkpoint, metadata)
    values (p ->> 'thread', p ->> 'ns', p ->> 'id', p ->> 'parent', p -> 'checkpoint', p -> 'metadata')
    on conflict (tenant, thread_id, checkpoint_ns, checkpoint_id)
    do update set checkpoint = excluded.checkpoint, metadata = excluded.metadata;
  end if;
  insert into checkpoint_writes
    (thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, blob)
  select p ->> 'thread', p ->> 'ns', w ->> 0, w ->> 1, w ->> 2, (w ->> 3)::int, w ->> 4, w ->> 5,
         decode(w ->> 6, 'base64')
    from jsonb_array_elements(p -> 'writes') as w
  on conflict (tenant, thread_id, checkpoint_ns, checkpoint_id, task_id, idx)
  do update set channel = excluded.channel, type = excluded.type, blob = excluded.blob
     where checkpoint_writes.idx < 0;
  return query select 'ok';
end $$;
revoke execute on function save_checkpoint(text, int, jsonb) from public;
grant execute on function save_checkpoint(text, int, jsonb) to cs_app;

-- Reads checkpoints of a thread, newest first, with the values and pending writes that belong to them.
create or replace function read_checkpoints(p jsonb)
returns table (ns text, id text, parent text, checkpoint jsonb, metadata jsonb, blobs jsonb, writes jsonb)
language sql stable set search_path = public, pg_temp as $$
  select c.checkpoint_ns, c.checkpoint_id, c.parent_checkpoint_id, c.checkpoint, c.metadata,
         (select jsonb_agg(jsonb_build_array(b.channel, b.type, encode(b.blob, 'base64')))
            from jsonb_each_text(c.checkpoint -> 'channel_versions') v
            join checkpoint_blobs b on b.thread_id = c.thread_id and b.checkpoint_ns = c.checkpoint_ns
                                   and b.channel = v.key and b.version = v.value),
         (select jsonb_agg(jsonb_build_array(w.task_id, w.channel, w.type, encode(w.blob, 'base64'))
                           order by w.task_path, w.task_id, w.idx)
            from checkpoint_writes w
           where w.thread_id = c.thread_id and w.checkpoint_ns = c.checkpoint_ns and w.checkpoint_id = c.checkpoint_id)
    from checkpoints c
   where c.thread_id = p ->> 'thread' and c.checkpoint_ns = p ->> 'ns'
     and (p ->> 'id' is null or c.checkpoint_id = p ->> 'id')
     and (p ->> 'before' is null or c.checkpoint_id < p ->> 'before')
     and c.metadata @> (p -> 'filter')
   order by c.checkpoint_id desc limit (p ->> 'limit')::int
$$;
revoke execute on function read_checkpoints(jsonb) from public;
grant execute on function read_checkpoints(jsonb) to cs_app;
