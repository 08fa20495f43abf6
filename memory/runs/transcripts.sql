-- Transcripts of threads at rest: archived, restored, held, gone. Called by transcripts.py.

-- Whose a thread is: whoever opened it.
create or replace function person_of_thread(p_thread text) returns text
language sql stable set search_path = public, pg_temp as $$
  select r.requester from runs r where r.thread = p_thread and r.kind = 'run' order by r.created, r.id limit 1
$$;
revoke execute on function person_of_thread(text) from public;

-- All that its person left behind in a thread, as one text, or null if another has archived it; keeps
-- new runs out until the caller's transaction ends.
create or replace function read_transcript(p_thread text) returns text
language plpgsql security definer set search_path = public, pg_temp as $$
declare v_person text := person_of_thread(p_thread);
begin
  perform pg_advisory_xact_lock(7300, hashtext(current_tenant() || '/' || p_thread));
  if not exists (select 1 from checkpoints c where c.thread_id = p_thread and c.principal = v_person) then
    return null;
  end if;
  return (select jsonb_build_object(
    'checkpoints', (select coalesce(jsonb_agg(to_jsonb(c) - 'tenant'), '[]') from checkpoints c
                     where c.thread_id = p_thread and c.principal = v_person),
    'blobs', (select coalesce(jsonb_agg(to_jsonb(b) - 'tenant'), '[]') from checkpoint_blobs b
               where b.thread_id = p_thread and b.principal = v_person),
    'writes', (select coalesce(jsonb_agg(to_jsonb(w) - 'tenant'), '[]') from checkpoint_writes w
                where w.thread_id = p_thread and w.principal = v_person),
    'calls', (select coalesce(jsonb_agg(jsonb_build_object('id', m.id, 'prompt', m.prompt, 'answer', m.answer)), '[]')
                from model_calls m join runs r on r.id = m.run where r.thread = p_thread))::text);
end $$;
revoke execute on function read_transcript(text) from public, cs_app;
grant execute on function read_transcript(text) to cs_worker;

-- Puts the compressed text in the place of the rows, if the thread is still at rest.
create or replace function shelve_transcript(p_thread text, p_content bytea, p_digest text, p_retention interval)
returns boolean
language plpgsql security definer set search_path = public, pg_temp as $$
declare v_size bigint; v_person text := person_of_thread(p_thread);
begin
  if exists (select 1 from runs r where r.thread = p_thread and r.kind = 'run'
                and r.status in ('queued', 'running', 'waiting', 'stopped'))
     or not exists (select 1 from checkpoints c where c.thread_id = p_thread and c.principal = v_person) then
    return false;
  end if;
  select coalesce(sum(part.size), 0) into v_size from (
    select octet_length(c.checkpoint::text) + octet_length(c.metadata::text) as size
      from checkpoints c where c.thread_id = p_thread and c.principal = v_person
    union all select octet_length(b.blob) from checkpoint_blobs b where b.thread_id = p_thread and b.principal = v_person
    union all select octet_length(w.blob) from checkpoint_writes w where w.thread_id = p_thread and w.principal = v_person
    union all select octet_length(concat(m.prompt, m.answer)) from model_calls m join runs r on r.id = m.run
               where r.thread = p_thread) part;
  insert into transcripts (thread, content, size, digest, retained_until, principal)
  values (p_thread, p_content, v_size, p_digest, clock_timestamp() + p_retention, v_person)
  on conflict (tenant, thread) do update set content = excluded.content, size = excluded.size,
    digest = excluded.digest, archived = clock_timestamp(), retained_until = excluded.retained_until,
    restored = null, gone = null;
  delete from checkpoints c where c.thread_id = p_thread and c.principal = v_person;
  delete from checkpoint_blobs b where b.thread_id = p_thread and b.principal = v_person;
  delete from checkpoint_writes w where w.thread_id = p_thread and w.principal = v_person;
  update model_calls m set prompt = null, answer = null from runs r where r.id = m.run and r.thread = p_thread;
  -- Whoever locks rows takes the thread's lock after them: what is locked is marked when it is due again.
  update runs r set shelved = clock_timestamp()
   where r.id in (select o.id from runs o where o.thread = p_thread and o.kind = 'run' for no key update skip locked);
  return true;
end $$;
revoke execute on function shelve_transcript(text, bytea, text, interval) from public, cs_app;
grant execute on function shelve_transcript(text, bytea, text, interval) to cs_worker;

-- Puts rows back from exactly the text that was archived, and records who asked for it.
create or replace function restore_transcript(p_thread text, p_text text) returns boolean
language plpgsql security definer set search_path = public, pg_temp as $$
declare v jsonb; v_keys jsonb;
begin
  select jsonb_build_object('tenant', t.tenant, 'principal', t.principal) into v_keys from transcripts t where t.thread = p_thread and t.content is not null
     and t.digest = encode(sha256(convert_to(p_text, 'UTF8')), 'hex')
     and (t.principal = current_principal() or is_of(array['admin'])) for update;
  if not found then return false; end if;
  v := p_text::jsonb;
  insert into checkpoints select (jsonb_populate_record(null::checkpoints, x || v_keys)).*
    from jsonb_array_elements(v -> 'checkpoints') x on conflict do nothing;
  insert into checkpoint_blobs select (jsonb_populate_record(null::checkpoint_blobs, x || v_keys)).*
    from jsonb_array_elements(v -> 'blobs') x on conflict do nothing;
  insert into checkpoint_writes select (jsonb_populate_record(null::checkpoint_writes, x || v_keys)).*
    from jsonb_array_elements(v -> 'writes') x on conflict do nothing;
  update model_calls m set prompt = x ->> 'prompt', answer = x ->> 'answer'
    from jsonb_array_elements(v -> 'calls') x, runs r
   where m.id = (x ->> 'id')::bigint and r.id = m.run and r.thread = p_thread;
  update transcripts t set restored = clock_timestamp() where t.thread = p_thread;
  update runs r set shelved = null where r.thread = p_thread and r.kind = 'run' and r.shelved is not null;
  perform journal_extend(authority_chain(),
    jsonb_build_object('kind', 'restored', 'thread', p_thread, 'by', current_principal()));
  return true;
end $$;
revoke execute on function restore_transcript(text, text) from public;
grant execute on function restore_transcript(text, text) to cs_app;

-- Keeps a transcript beyond its retention, or lets it go again.
create or replace function hold_transcript(p_thread text, p_on boolean) returns boolean
language plpgsql security definer set search_path = public, pg_temp as $$
begin
  if not (is_of(array['admin']) or p_on and exists (
       select 1 from runs r where r.thread = p_thread and r.kind = 'run' and r.requester = current_principal())) then
    raise exception 'a transcript is held by administrators' using errcode = 'insufficient_privilege';
  end if;
  update transcripts t set hold = p_on where t.thread = p_thread and t.content is not null;
  if not found then return false; end if;
  perform journal_extend(authority_chain(),
    jsonb_build_object('kind', 'legal_hold', 'thread', p_thread, 'on', p_on, 'by', current_principal()));
  return true;
end $$;
revoke execute on function hold_transcript(text, boolean) from public;
grant execute on function hold_transcript(text, boolean) to cs_app;

-- Owned by the system role, which works for no tenant and sees what its policies name.
set local role cs_system;

-- Threads whose runs have all ended that long ago and whose checkpoints are still there.
create or replace function due_transcripts(p_age interval, p_limit int)
returns table (tenant text, thread text)
language plpgsql security definer set search_path = public, pg_temp
-- By index, however few rows the planner believes in.
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
declare v_before timestamptz := clock_timestamp() - p_age;
begin
  -- Of the runs of a thread the last to end stands for it, or one that has not come to rest; the others are passed by
  -- from now on, and so is the last one where nothing is left.
  update runs r set shelved = clock_timestamp()
    from (select c.tenant, c.id, c.thread, c.requester, c.ended from runs c
           where c.kind = 'run' and c.shelved is null and c.ended < v_before
             and c.status not in ('queued', 'running', 'waiting', 'stopped')
           order by c.ended limit 10000 for no key update skip locked) d
   where r.id = d.id
     and (exists (select 1 from runs o
                   where o.tenant = d.tenant and o.thread = d.thread and o.kind = 'run' and o.shelved is null
                     and o.id <> d.id
                     and (o.status in ('queued', 'running', 'waiting', 'stopped') or (o.ended, o.id) > (d.ended, d.id)))
          or not exists (select 1 from checkpoints c where c.tenant = d.tenant and c.thread_id = d.thread
                          and c.principal = d.requester));
  return query
    select r.tenant, r.thread from runs r
     where r.kind = 'run' and r.shelved is null and r.ended < v_before
       and r.status not in ('queued', 'running', 'waiting', 'stopped')
       and exists (select 1 from checkpoints c where c.tenant = r.tenant and c.thread_id = r.thread)
       and not exists (select 1 from runs o where o.tenant = r.tenant and o.thread = r.thread and o.kind = 'run'
                          and o.shelved is null and o.id <> r.id)
       and not exists (select 1 from transcripts t where t.tenant = r.tenant and t.thread = r.thread
                          and t.restored > v_before)
     order by r.ended limit p_limit;
end $$;
revoke execute on function due_transcripts(interval, int) from public, cs_app;
grant execute on function due_transcripts(interval, int) to cs_worker;

-- Ends retentions in every tenant, in small bites.
create or replace function sweep_transcripts(p_limit int) returns int
language sql security definer set search_path = public, pg_temp as $$
  with due as (
    select t.tenant, t.thread from transcripts t
     where t.retained_until <= (select clock_timestamp()) and not t.hold and t.content is not null
     order by t.retained_until limit p_limit
  ), gone as (
    update transcripts t set content = null, digest = '', gone = clock_timestamp() from due
     where t.tenant = due.tenant and t.thread = due.thread returning 1
  ) select count(*)::int from gone
$$;
revoke execute on function sweep_transcripts(int) from public, cs_app;
grant execute on function sweep_transcripts(int) to cs_worker;

reset role;
