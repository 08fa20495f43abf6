-- Forgetting a person in one act, and what becomes of the transcripts of finished runs.

create table transcripts (
  tenant text not null default current_tenant(),
  thread text not null,
  content bytea,
  size bigint not null,
  digest text not null,
  archived timestamptz not null default clock_timestamp(),
  retained_until timestamptz not null,
  restored timestamptz,
  hold boolean not null default false,
  gone timestamptz,
  primary key (tenant, thread),
  check ((content is null) = (gone is not null))
);
comment on column transcripts.size is 'bytes of values in the rows it replaced, without their keys and indexes';
-- It is compressed already.
alter table transcripts alter column content set storage external;
create index transcripts_due on transcripts (retained_until) where content is not null and not hold;
alter table transcripts enable row level security;
alter table transcripts force row level security;
create policy tenant on transcripts using (tenant = current_tenant()) with check (tenant = current_tenant());
create policy system on transcripts to cs_system
  using (retained_until <= clock_timestamp() and not hold) with check (content is null);
create policy looks on transcripts for select to cs_system using (true);
grant select on transcripts to cs_app;
grant select, update on transcripts to cs_system;
create policy looks on checkpoints for select to cs_system using (true);
grant select on checkpoints to cs_system;

-- Threads whose runs have all ended that long ago and whose checkpoints are still there.
create function due_transcripts(p_age interval, p_limit int)
returns table (tenant text, thread text)
language sql security definer set search_path = public, pg_temp as $$
  select r.tenant, r.thread from runs r
   where r.kind = 'run'
   group by r.tenant, r.thread
  having bool_and(r.status not in ('queued', 'running', 'waiting', 'stopped')
                  and r.ended < clock_timestamp() - p_age)
     and exists (select 1 from checkpoints c where c.tenant = r.tenant and c.thread_id = r.thread)
     and not exists (select 1 from transcripts t where t.tenant = r.tenant and t.thread = r.thread
                        and t.restored > clock_timestamp() - p_age)
   order by 1, 2 limit p_limit
$$;

-- All that a thread left behind, as one text, or null if another has archived it; keeps new runs out until the caller's transaction ends.
create function read_transcript(p_thread text) returns text
language plpgsql set search_path = public, pg_temp as $$
begin
  perform pg_advisory_xact_lock(7300, hashtext(current_tenant() || '/' || p_thread));
  if not exists (select 1 from checkpoints c where c.thread_id = p_thread) then return null; end if;
  return (select jsonb_build_object(
    'checkpoints', (select coalesce(jsonb_agg(to_jsonb(c) - 'tenant'), '[]') from checkpoints c
                     where c.thread_id = p_thread),
    'blobs', (select coalesce(jsonb_agg(to_jsonb(b) - 'tenant'), '[]') from checkpoint_blobs b
               where b.thread_id = p_thread),
    'writes', (select coalesce(jsonb_agg(to_jsonb(w) - 'tenant'), '[]') from checkpoint_writes w
                where w.thread_id = p_thread),
    'calls', (select coalesce(jsonb_agg(jsonb_build_object('id', m.id, 'prompt', m.prompt, 'answer', m.answer)), '[]')
                from model_calls m join runs r on r.id = m.run where r.thread = p_thread))::text);
end $$;

-- Puts the compressed text in the place of the rows, if the thread is still at rest.
create function shelve_transcript(p_thread text, p_content bytea, p_digest text, p_retention interval)
returns boolean
language plpgsql security definer set search_path = public, pg_temp as $$
declare v_size bigint;
begin
  if exists (select 1 from runs r where r.thread = p_thread and r.kind = 'run'
                and r.status in ('queued', 'running', 'waiting', 'stopped'))
     or not exists (select 1 from checkpoints c where c.thread_id = p_thread) then
    return false;
  end if;
  select coalesce(sum(part.size), 0) into v_size from (
    select octet_length(c.checkpoint::text) + octet_length(c.metadata::text) as size
      from checkpoints c where c.thread_id = p_thread
    union all select octet_length(b.blob) from checkpoint_blobs b where b.thread_id = p_thread
    union all select octet_length(w.blob) from checkpoint_writes w where w.thread_id = p_thread
    union all select octet_length(concat(m.prompt, m.answer)) from model_calls m join runs r on r.id = m.run
               where r.thread = p_thread) part;
  insert into transcripts (thread, content, size, digest, retained_until)
  values (p_thread, p_content, v_size, p_digest, clock_timestamp() + p_retention)
  on conflict (tenant, thread) do update set content = excluded.content, size = excluded.size,
    digest = excluded.digest, archived = clock_timestamp(), retained_until = excluded.retained_until,
    restored = null, gone = null;
  delete from checkpoints c where c.thread_id = p_thread;
  delete from checkpoint_blobs b where b.thread_id = p_thread;
  delete from checkpoint_writes w where w.thread_id = p_thread;
  update model_calls m set prompt = null, answer = null from runs r where r.id = m.run and r.thread = p_thread;
  return true;
end $$;

-- Puts rows back from exactly the text that was archived.
create function restore_transcript(p_thread text, p_text text) returns boolean
language plpgsql security definer set search_path = public, pg_temp as $$
declare v jsonb; v_tenant jsonb := jsonb_build_object('tenant', current_tenant());
begin
  perform 1 from transcripts t where t.thread = p_thread and t.content is not null
     and t.digest = encode(sha256(convert_to(p_text, 'UTF8')), 'hex') for update;
  if not found then return false; end if;
  v := p_text::jsonb;
  insert into checkpoints select (jsonb_populate_record(null::checkpoints, x || v_tenant)).*
    from jsonb_array_elements(v -> 'checkpoints') x on conflict do nothing;
  insert into checkpoint_blobs select (jsonb_populate_record(null::checkpoint_blobs, x || v_tenant)).*
    from jsonb_array_elements(v -> 'blobs') x on conflict do nothing;
  insert into checkpoint_writes select (jsonb_populate_record(null::checkpoint_writes, x || v_tenant)).*
    from jsonb_array_elements(v -> 'writes') x on conflict do nothing;
  update model_calls m set prompt = x ->> 'prompt', answer = x ->> 'answer'
    from jsonb_array_elements(v -> 'calls') x, runs r
   where m.id = (x ->> 'id')::bigint and r.id = m.run and r.thread = p_thread;
  update transcripts t set restored = clock_timestamp() where t.thread = p_thread;
  return true;
end $$;

-- Keeps a transcript beyond its retention, or lets it go again.
create function hold_transcript(p_thread text, p_on boolean) returns boolean
language plpgsql security definer set search_path = public, pg_temp as $$
begin
  update transcripts t set hold = p_on where t.thread = p_thread and t.content is not null;
  if not found then return false; end if;
  perform journal_extend(authority_chain(),
    jsonb_build_object('kind', 'legal_hold', 'thread', p_thread, 'on', p_on, 'by', current_principal()));
  return true;
end $$;

create function sweep_transcripts(p_limit int) returns int
language sql security definer set search_path = public, pg_temp as $$
  with due as (
    select t.tenant, t.thread from transcripts t
     where t.retained_until <= clock_timestamp() and not t.hold and t.content is not null limit p_limit
  ), gone as (
    update transcripts t set content = null, digest = '', gone = clock_timestamp() from due
     where t.tenant = due.tenant and t.thread = due.thread returning 1
  ) select count(*)::int from gone
$$;

-- Memories of one person wherever they are in the entered tenant; called by forget_person alone.
create policy erases on memories for delete to cs_system using (tenant = current_tenant());
create policy erases on memory_archive for all to cs_system
  using (tenant = current_tenant()) with check (content is null);
create policy erases on memory_links for all to cs_system using (tenant = current_tenant());
create policy erases on memory_seen for all to cs_system using (tenant = current_tenant());
grant delete on memory_archive to cs_system;
grant select, delete on memory_links to cs_system;
create function erase_memories(p_user text, p_runs text[])
returns table (what text, place text, near text)
language sql security definer set search_path = public, pg_temp as $$
  with gone as (
    delete from memories m
     where m.tenant = current_tenant()
       and (m.scope = 'user:' || p_user or starts_with(m.scope, 'session:' || p_user || '/')
            or m.scope = any (p_runs) or m.provenance ->> 'principal' = p_user)
    returning m.scope, m.near
  ), shelved as (
    delete from memory_archive a
     where a.tenant = current_tenant()
       and (a.scope = 'user:' || p_user or starts_with(a.scope, 'session:' || p_user || '/')
            or a.scope = any (p_runs) or a.writer = p_user)
    returning a.scope, a.content ->> 'near' as near
  ), linked as (
    delete from memory_links l
     where l.tenant = current_tenant() and l.provenance ->> 'principal' = p_user returning l.scope
  ), seen as (
    delete from memory_seen s
     where s.tenant = current_tenant()
       and (s.seer = any (p_runs) or starts_with(s.seer, 'session:' || p_user || '/')) returning 1
  )
  select 'memories', gone.scope, gone.near from gone
  union all select 'archive', shelved.scope, shelved.near from shelved
  union all select 'links', linked.scope, null from linked
$$;

-- Forgets the entered person: all of it in this transaction, or nothing. What stays is that it happened.
create function forget_person(p_by text)
returns table (code text, about text, counts jsonb)
language plpgsql security definer set search_path = public, pg_temp as $$
declare
  v_user text := current_principal(); v_open text; v_runs text[]; v_threads text[]; v_counts jsonb; v_gone jsonb;
  v_n int;
begin
  select r.id into v_open from runs r
   where r.requester = v_user and r.kind = 'run' and r.status in ('queued', 'running', 'waiting') limit 1;
  if found then return query select 'busy', v_open, null::jsonb; return; end if;
  select coalesce(array_agg(r.id), '{}'), coalesce(array_agg(distinct r.thread), '{}') into v_runs, v_threads
    from runs r where r.requester = v_user and r.kind = 'run';
  select t.thread into v_open from transcripts t where t.thread = any (v_threads) and t.hold limit 1;
  if not found then select h.id into v_open from held_memories(v_user) h limit 1; end if;
  if v_open is not null then return query select 'held', v_open, null::jsonb; return; end if;

  select coalesce(jsonb_agg(to_jsonb(e)), '[]') into v_gone
    from erase_memories(v_user, array(select 'run:' || r from unnest(v_runs) r)) e;
  insert into memory_tombstones (mark)
  select distinct memory_hmac(place || chr(10) || (e ->> 'near'))
    from jsonb_array_elements(v_gone) e, unnest(array[e ->> 'place', 'by:' || v_user]) as place
   where e ->> 'near' is not null
  on conflict do nothing;
  select coalesce(jsonb_object_agg(w.what, w.n), '{}') into v_counts
    from (select e ->> 'what' as what, count(*) as n from jsonb_array_elements(v_gone) e group by 1) w;

  delete from result_rows w where w.handle in (select h.handle from results h where h.run = any (v_runs));
  delete from results h where h.run = any (v_runs);
  get diagnostics v_n = row_count;
  v_counts := v_counts || jsonb_build_object('results', v_n);
  delete from checkpoint_writes w where w.thread_id = any (v_threads);
  delete from checkpoint_blobs b where b.thread_id = any (v_threads);
  delete from checkpoints c where c.thread_id = any (v_threads);
  get diagnostics v_n = row_count;
  v_counts := v_counts || jsonb_build_object('checkpoints', v_n);
  delete from transcripts t where t.thread = any (v_threads);
  get diagnostics v_n = row_count;
  v_counts := v_counts || jsonb_build_object('transcripts', v_n);
  update model_calls m set prompt = null, answer = null where m.run = any (v_runs);
  delete from requests q where q.principal = v_user;
  -- A run without its request cannot go on; what it did stays in its journal.
  update runs r set input = '{}', answers = '[]', message = '', plan = null,
         status = case when r.status = 'stopped' then 'cancelled' else r.status end
   where r.id = any (v_runs);
  get diagnostics v_n = row_count;
  v_counts := v_counts || jsonb_build_object('runs', v_n);
  perform journal_extend(authority_chain(), jsonb_build_object('kind', 'forgotten',
    'person', encode(memory_hmac('person' || chr(10) || v_user), 'hex'), 'by', p_by, 'counts', v_counts));
  return query select 'ok', encode(memory_hmac('person' || chr(10) || v_user), 'hex'), v_counts;
end $$;

create function held_memories(p_user text) returns table (id text)
language sql security definer set search_path = public, pg_temp as $$
  select a.id::text from memory_archive a
   where a.tenant = current_tenant() and a.hold
     and (a.scope = 'user:' || p_user or starts_with(a.scope, 'session:' || p_user || '/') or a.writer = p_user)
$$;

revoke execute on function due_transcripts(interval, int), read_transcript(text),
  shelve_transcript(text, bytea, text, interval), restore_transcript(text, text), hold_transcript(text, boolean),
  sweep_transcripts(int), erase_memories(text, text[]), held_memories(text), forget_person(text) from public;
grant execute on function due_transcripts(interval, int), read_transcript(text),
  shelve_transcript(text, bytea, text, interval), restore_transcript(text, text), hold_transcript(text, boolean),
  sweep_transcripts(int), forget_person(text) to cs_app;

-- Only the owner of a function may say who executes it, and a change of the owner takes the old one's leave along.
grant create on schema public to cs_system;
alter function due_transcripts(interval, int) owner to cs_system;
alter function sweep_transcripts(int) owner to cs_system;
alter function erase_memories(text, text[]) owner to cs_system;
alter function held_memories(text) owner to cs_system;
set local role cs_system;
-- In any order, so that scopes full of pins do not keep housekeeping from all others.
create or replace function crowded_scopes(p_facts int, p_episodes int, p_limit int)
returns table (tenant text, scope text)
language sql security definer set search_path = public, pg_temp as $$
  select t.tenant, t.scope
    from (select m.tenant, m.scope, count(*) as n from memories m group by m.tenant, m.scope) t
    left join (select m.tenant, m.scope, count(*) as n from memories m
                where m.superseded_by is null and m.key is not null group by m.tenant, m.scope) f
      on f.tenant = t.tenant and f.scope = t.scope
   where t.n - coalesce(f.n, 0) > p_episodes or f.n > p_facts
   order by random() limit p_limit
$$;
grant execute on function erase_memories(text, text[]), held_memories(text) to cs_owner;
revoke execute on function sweep_memories(int), sweep_memory_archive(int), crowded_scopes(int, int, int) from public;
grant execute on function sweep_memories(int), sweep_memory_archive(int), crowded_scopes(int, int, int) to cs_app;
reset role;
revoke create on schema public from cs_system;
