-- Checkpoints in the tables of LangGraph's Postgres saver. Called by checkpoints.py.

-- Stores a checkpoint, or writes towards one, for whoever leads the run and holds its row. Values stand in p_bytes, each
-- with start and length.
create or replace function store_checkpoint(p jsonb, p_bytes bytea) returns void
language plpgsql set search_path = public, pg_temp as $$
begin
  if p ? 'checkpoint' then
    insert into checkpoint_blobs (thread_id, checkpoint_ns, channel, version, type, blob)
    select p ->> 'thread', p ->> 'ns', b ->> 1, b ->> 0, b ->> 2,
           substring(p_bytes from (b ->> 3)::int for (b ->> 4)::int)
      from jsonb_array_elements(p -> 'blobs') as b
    on conflict do nothing;
    insert into checkpoints (thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, checkpoint, metadata)
    values (p ->> 'thread', p ->> 'ns', p ->> 'id', p ->> 'towards', p -> 'checkpoint', p -> 'metadata')
    on conflict (tenant, thread_id, checkpoint_ns, checkpoint_id)
    do update set checkpoint = excluded.checkpoint, metadata = excluded.metadata;
  end if;
  -- Negative positions are LangGraph's own channels, of which the last word counts; of all others the first one does.
  insert into checkpoint_writes
    (thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, blob)
  select p ->> 'thread', p ->> 'ns', p ->> 'towards', w ->> 0, w ->> 1, (w ->> 2)::int, w ->> 3, w ->> 4,
         substring(p_bytes from (w ->> 5)::int for (w ->> 6)::int)
    from jsonb_array_elements(p -> 'writes') as w
  on conflict (tenant, thread_id, checkpoint_ns, checkpoint_id, task_id, idx)
  do update set channel = excluded.channel, type = excluded.type, blob = excluded.blob
     where checkpoint_writes.idx < 0;
end $$;
revoke execute on function store_checkpoint(jsonb, bytea) from public;

-- Saves a checkpoint, or writes towards one, if the fence still leads the run; the shared lock keeps a new lease, and
-- a deletion, from being granted between the look and the commit.
create or replace function save_checkpoint(p_run text, p_fence int, p jsonb, p_bytes bytea)
returns table (code text)
language plpgsql security definer set search_path = public, pg_temp as $$
declare v_deleted timestamptz;
begin
  select r.checkpoints_deleted into v_deleted from runs r
   where r.id = p_run and is_led(r, p_fence) and r.thread = p ->> 'thread' for share;
  if not found then return query select 'lease_lost'; return; end if;
  if v_deleted is not null then return query select 'deleted'; return; end if;
  perform store_checkpoint(p, p_bytes);
  return query select 'ok';
end $$;
revoke execute on function save_checkpoint(text, int, jsonb, bytea) from public;
grant execute on function save_checkpoint(text, int, jsonb, bytea) to cs_app;
