-- Erasure: a run's notes, a subject, a person, and what has expired. Called by erasure.py.

-- HMAC-SHA256 with the key of the tenant, which is made when it is first needed.
create or replace function memory_hmac(p_text text) returns bytea
language plpgsql set search_path = public, pg_temp as $$
declare v memory_secrets; v_key bytea; v_in bytea := ''; v_out bytea := '';
begin
  select * into v from memory_secrets where tenant = current_tenant();
  if not found then
    v_key := sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))
             || decode(repeat('00', 32), 'hex');
    for i in 0..63 loop
      v_in := v_in || decode(lpad(to_hex(get_byte(v_key, i) # 54), 2, '0'), 'hex');
      v_out := v_out || decode(lpad(to_hex(get_byte(v_key, i) # 92), 2, '0'), 'hex');
    end loop;
    insert into memory_secrets (inner_pad, outer_pad) values (v_in, v_out) on conflict do nothing;
    select * into strict v from memory_secrets where tenant = current_tenant();
  end if;
  return sha256(v.outer_pad || sha256(v.inner_pad || convert_to(p_text, 'UTF8')));
end $$;
revoke execute on function memory_hmac(text) from public;

-- Whether a text was forgotten in one of these places, of which whoever asks must be able to write each scope: else the
-- answer would tell what others had said. Of authors it answers for the one who asks. What was forgotten is
-- known by its wording; by its terms if it was forgotten before wording was compared. Waits for a forgetting that is
-- under way, and makes a later one wait for the text that is now taken in.
create or replace function is_forgotten(p_places text[], p_near text) returns boolean
language plpgsql security definer set search_path = public, pg_temp as $$
declare v_marks bytea[];
begin
  if exists (select from unnest(p_places) as place where place not like 'by:%' and place <> all (current_writes())) then
    raise exception 'only of scopes entered for writing is it said what was forgotten'
      using errcode = 'insufficient_privilege';
  end if;
  perform pg_advisory_xact_lock_shared(7700, hashtext(current_tenant()));
  if not exists (select 1 from memory_tombstones limit 1) then return false; end if;
  -- Computed before they are compared, and once each, however many tombstones there are.
  v_marks := array(select memory_hmac(place || chr(10) || sign)
                     from unnest(p_places) as place cross join string_to_table(p_near, '~') as sign
                    where place = 'by:' || current_principal() or place = any (current_writes()));
  return exists (select 1 from memory_tombstones t where t.mark = any (v_marks));
end $$;
revoke execute on function is_forgotten(text[], text) from public;
grant execute on function is_forgotten(text[], text) to cs_app;

-- Ends the working memory of a run; joins the transaction that ends the run.
create or replace function erase_run(p_run text) returns int
language plpgsql set search_path = public, pg_temp as $$
declare v_gone int;
begin
  if ('run:' || p_run) <> all (current_reads() || current_writes()) then
    raise exception 'run % is not among the scopes entered; enter with it before erasing', p_run
      using errcode = 'insufficient_privilege';
  end if;
  delete from memories where scope = 'run:' || p_run;
  get diagnostics v_gone = row_count;
  return v_gone;
end $$;
revoke execute on function erase_run(text) from public;
grant execute on function erase_run(text) to cs_app;

-- Empties the entries of these runs, what this person said in other runs and how those ended that they refused, and says
-- so in each chain, with new stamps of the rows of which nothing is on record any more.
create or replace function forget_words(p_user text, p_runs text[], p_judged text[]) returns int
language plpgsql set search_path = public, pg_temp as $$
declare v record; v_all int := 0; v_rows jsonb;
begin
  for v in select j.run, array_agg(j.seq order by j.seq) as entries from journal j
            where j.words is not null
              and (j.run = any (p_runs) or j.run = any (p_judged) and j.kind = 'ended'
                   or (j.tenant = current_tenant() and j.author = p_user))
            group by j.run order by j.run loop
    perform 1 from runs r where r.id = v.run for no key update;
    select coalesce(jsonb_agg(jsonb_build_array(s.row -> 0, s.row -> 1)), '[]') into v_rows from (
      select r.row from journal j, jsonb_array_elements(j.words::jsonb -> 'rows') as r (row)
       where jsonb_typeof(j.words::jsonb -> 'rows') = 'array' and j.run = v.run and j.seq = any (v.entries)
      union all select g from governed_rows(v.run) g) s;
    update journal j set words = null, salt = null where j.run = v.run and j.seq = any (v.entries);
    perform journal_extend(v.run, jsonb_build_object('kind', 'forgotten', 'by', current_principal(),
                                                     'entries', to_jsonb(v.entries),
                                                     'rows', governed_rows_at(v_rows)));
    v_all := v_all + cardinality(v.entries);
  end loop;
  return v_all;
end $$;
revoke execute on function forget_words(text, text[], text[]) from public;

-- The governed rows beside their runs' that lose words of a person: [table, key] of each.
create or replace function rows_of_person(p_user text, p_judged text[]) returns jsonb
language sql stable set search_path = public, pg_temp as $$
  select coalesce(jsonb_agg(jsonb_build_array(x.name, x.key)), '[]') from (
    select 'keys' as name, k.id as key from keys k where k.principal = p_user
    union all select 'kills', k.kind || '/' || k.name from kills k where k.by = p_user
    union all select 'votes', v.approval || '/' || v.approver from votes v where v.approver = p_user
    union all select 'approvals', a.id from approvals a where a.decided_by = p_user or a.proposal ->> 'by' = p_user
    union all select 'knowledge_approvals', w.id || '/' || w.version || '/' || w.approver
                from knowledge_approvals w where w.approver = p_user
    union all select 'runs', r from unnest(p_judged) r) x
$$;
revoke execute on function rows_of_person(text, text[]) from public;

-- Takes the words out of rows that stay because they say what was done. What the business answered stays with them.
create or replace function forget_sayings(p_user text, p_runs text[]) returns void
language sql set search_path = public, pg_temp as $$
  update approvals a set shown = '{}', edited = null, proposal = null,
         reason = case when a.status in ('rejected', 'edited') then null else a.reason end
   where a.run = any (p_runs);
  update approvals a set edited = null, reason = null
   where a.status in ('rejected', 'edited') and a.decided_by = p_user;
  update approvals a set proposal = null where a.proposal ->> 'by' = p_user;
  update knowledge_approvals w set reason = '' where w.approver = p_user;
  update votes v set reason = ''
   where v.approver = p_user or v.approval in (select a.id from approvals a where a.run = any (p_runs));
  update effects e set args = '{}', outcome = e.outcome - array['message', 'note'] where e.run = any (p_runs);
  update kills k set reason = '' where k.by = p_user;
  update keys k set label = '' where k.principal = p_user;
  update model_calls m set prompt = null, answer = null, prompt_digest = null where m.run = any (p_runs);
  delete from requests q where q.principal = p_user;
  -- A run without its request cannot go on; that it was there, and how it ended, stays.
  update runs r set input = '{}', answers = '[]', message = '', plan = null, thread = r.id, correlation = r.id,
         cancel = case when r.cancel is not null then 'cancelled' end,
         status = case when r.status = 'stopped' then 'cancelled' else r.status end
   where r.id = any (p_runs);
$$;
revoke execute on function forget_sayings(text, text[]) from public;

-- What else their runs left behind.
create or replace function forget_work(p_runs text[], p_threads text[]) returns jsonb
language plpgsql set search_path = public, pg_temp as $$
declare v_results int; v_checkpoints int; v_transcripts int;
begin
  delete from result_rows w where (w.principal, w.handle) in (
    select h.principal, h.handle from results h where h.run = any (p_runs));
  delete from results h where h.run = any (p_runs);
  get diagnostics v_results = row_count;
  delete from checkpoint_writes w where w.thread_id = any (p_threads);
  delete from checkpoint_blobs b where b.thread_id = any (p_threads);
  delete from checkpoints c where c.thread_id = any (p_threads);
  get diagnostics v_checkpoints = row_count;
  delete from transcripts t where t.thread = any (p_threads);
  get diagnostics v_transcripts = row_count;
  return jsonb_build_object('results', v_results, 'checkpoints', v_checkpoints, 'transcripts', v_transcripts);
end $$;
revoke execute on function forget_work(text[], text[]) from public;

-- Memories with what hangs on them; each text leaves its keyed marks.
create or replace function forget_memories(p_user text, p_runs text[]) returns jsonb
language plpgsql set search_path = public, pg_temp as $$
declare v_gone jsonb;
begin
  select coalesce(jsonb_agg(to_jsonb(e)), '[]') into v_gone
    from erase_memories(p_user, array(select 'run:' || r from unnest(p_runs) r)) e;
  insert into memory_tombstones (mark)
  select distinct memory_hmac(place || chr(10) || split_part(e ->> 'near', '~', 1))
    from jsonb_array_elements(v_gone) e, unnest(array[e ->> 'place', 'by:' || p_user]) as place
   where e ->> 'near' is not null
  on conflict do nothing;
  return (select coalesce(jsonb_object_agg(w.what, w.n), '{}')
            from (select e ->> 'what' as what, count(*) as n from jsonb_array_elements(v_gone) e group by 1) w);
end $$;
revoke execute on function forget_memories(text, text[]) from public;

-- Forgets a person: all of it in this transaction, or nothing. What stays is that it happened. Only they themselves and
-- administrators may ask for it. All the runs that are in the way are named at once, oldest first.
create or replace function forget_person(p_person text)
returns table (code text, about text, counts jsonb)
language plpgsql security definer set search_path = public, pg_temp as $$
declare v_about text; v_runs text[]; v_judged text[]; v_threads text[]; v_counts jsonb; v_rows jsonb;
begin
  if current_principal() is null or current_principal() <> p_person and not is_of(array['admin']) then
    return query select 'forbidden', null::text, null::jsonb; return;
  end if;
  -- Starting a run refers to this row: none begins unseen, and two forgettings take turns.
  perform pg_advisory_xact_lock(7700, hashtext(current_tenant()));
  perform 1 from principals p where p.id = p_person for update;
  select coalesce(array_agg(distinct a.run), '{}') into v_judged from approvals a
   where a.decided_by = p_person and a.status in ('rejected', 'edited');
  perform 1 from runs r where r.kind = 'run' and (r.requester = p_person or r.id = any (v_judged))
   order by r.id for no key update;
  select string_agg(r.id, ', ' order by r.created, r.id) into v_about from runs r
   where r.kind = 'run' and (r.requester = p_person or r.id = any (v_judged))
     and r.status in ('queued', 'running', 'waiting');
  if v_about is not null then return query select 'busy', v_about, null::jsonb; return; end if;
  select coalesce(array_agg(r.id) filter (where r.requester = p_person), '{}'),
         coalesce(array_agg(distinct r.thread), '{}') into v_runs, v_threads
    from runs r where r.kind = 'run' and (r.requester = p_person or r.id = any (v_judged));
  select t.thread into v_about from transcripts t where t.thread = any (v_threads) and t.hold limit 1;
  if not found then select h.id into v_about from held_memories(p_person) h limit 1; end if;
  if v_about is not null then return query select 'held', v_about, null::jsonb; return; end if;

  v_counts := forget_memories(p_person, v_runs) || forget_work(v_runs, v_threads)
              || jsonb_build_object('runs', cardinality(v_runs));
  v_rows := rows_of_person(p_person, v_judged);
  perform forget_sayings(p_person, v_runs);
  -- What they refused a colleague with was that run's answer, and stands in its graph's state.
  update runs r set message = '' where r.id = any (v_judged);
  v_counts := v_counts || jsonb_build_object('words', forget_words(p_person, v_runs, v_judged));
  v_about := encode(memory_hmac('person' || chr(10) || p_person), 'hex');
  perform journal_extend(authority_chain(), jsonb_build_object('kind', 'forgotten', 'person', v_about,
    'by', current_principal(), 'counts', v_counts, 'rows', governed_rows_at(v_rows)));
  return query select 'ok', v_about, v_counts;
end $$;
revoke execute on function forget_person(text) from public;
grant execute on function forget_person(text) to cs_app;

-- Forgets memories by id, live or archived, by subject, or all of the scope that is written; older versions go along
-- wherever they are. Answers ok, or held with the id of what is
-- under legal hold; then nothing has gone. The entry has counts and a keyed digest, never a text or a subject.
create or replace function forget_subject(p_id text, p_key text, p_all boolean)
returns table (code text, about text, gone int, archived int)
language plpgsql security definer set search_path = public, pg_temp as $$
declare v_scope text := (current_writes())[1]; v_key text := p_key; v_digest text;
begin
  -- The lock of pruning: neither it nor an import moves a version away meanwhile.
  perform pg_advisory_xact_lock(hashtextextended(current_tenant() || '/' || v_scope, 7550));
  if v_key is null then
    select k.key into v_key
      from (select m.key from memories m where m.scope = v_scope and m.id::text = p_id
            union all
            select a.content ->> 'key' from memory_archive a where a.scope = v_scope and a.id::text = p_id) k
     where k.key is not null limit 1;
  end if;
  select a.id::text into about from memory_archive a
   where a.scope = v_scope and a.hold and a.content is not null
     and (p_all or a.id::text = p_id or a.content ->> 'key' = v_key) order by a.id limit 1;
  if found then code := 'held'; return next; return; end if;
  with live as (
    delete from memories m where m.scope = v_scope and (p_all or m.id::text = p_id or m.key = v_key)
    returning m.id, m.digest
  ), shelved as (
    delete from memory_archive a
     where a.scope = v_scope and a.content is not null
       and (p_all or a.id::text = p_id or a.content ->> 'key' = v_key)
    returning a.id, a.content ->> 'digest' as digest
  )
  select (select count(*) from live), (select count(*) from shelved),
         (select string_agg(e.id || ':' || e.digest, chr(10) order by e.id)
            from (select * from live union all select * from shelved) e)
    into gone, archived, v_digest;
  code := 'ok';
  if gone + archived > 0 then
    perform journal_extend(authority_chain(), jsonb_build_object('kind', 'forgotten', 'scope', v_scope,
      'by', current_principal(), 'counts', jsonb_build_object('memories', gone, 'archive', archived),
      'digest', encode(memory_hmac(v_digest), 'hex')));
  end if;
  return next;
end $$;
revoke execute on function forget_subject(text, text, boolean) from public;
grant execute on function forget_subject(text, text, boolean) to cs_app;

-- Owned by the system role, which works for no tenant and sees what its policies name.
set local role cs_system;

-- Memories of one person wherever they are in the entered tenant; called by forget_memories alone.
create or replace function erase_memories(p_user text, p_runs text[])
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
  ), counted as (
    -- Names of scopes hold words, too.
    delete from memory_growth g
     where g.tenant = current_tenant()
       and (g.scope = 'user:' || p_user or g.scope = any (p_runs) or starts_with(g.scope, 'session:' || p_user || '/'))
    returning 1
  )
  select 'memories', gone.scope, gone.near from gone
  union all select 'archive', shelved.scope, shelved.near from shelved
  union all select 'links', linked.scope, null from linked
$$;
revoke execute on function erase_memories(text, text[]) from public;
grant execute on function erase_memories(text, text[]) to cs_owner;

-- Ids of a person's archived rows under a legal hold.
create or replace function held_memories(p_user text) returns table (id text)
language sql security definer set search_path = public, pg_temp as $$
  select a.id::text from memory_archive a
   where a.tenant = current_tenant() and a.hold
     and (a.scope = 'user:' || p_user or starts_with(a.scope, 'session:' || p_user || '/') or a.writer = p_user)
$$;
revoke execute on function held_memories(text) from public;
grant execute on function held_memories(text) to cs_owner;

-- Deletes what has ended and lets hold again what waited for that, in every tenant and in small bites; expired rows are
-- hidden long before. A run that is cancelled while it waits has no worker that would erase what it noted.
create or replace function sweep_memories(p_limit int) returns int
language plpgsql security definer set search_path = public, pg_temp
-- By index, however few rows the planner believes in.
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
declare v_now timestamptz := clock_timestamp(); v_gone int; v_back int;
begin
  -- What somebody is at work on is left for the next time: whoever writes a subject locks several of its rows.
  with due as materialized (
    select e.tenant, e.id from memories e where e.expires <= v_now order by e.expires limit p_limit for update skip locked
  ), ended as materialized (
    select e.tenant, e.id from memories e join runs r on r.id = e.scope_id and r.tenant = e.tenant
     where e.scope_kind = 'run' and r.status in ('done', 'failed', 'denied', 'cancelled')
     limit p_limit
  )
  delete from memories m using (select * from due union all select * from ended) e
   where m.tenant = e.tenant and m.id = e.id;
  get diagnostics v_gone = row_count;
  update memories m
     set covered_until = null,
         superseded_by = case when d.later or m.expires <= v_now then m.superseded_by end
    from (
      select c.tenant, c.id,
             exists (select 1 from memories o
                      where o.tenant = c.tenant and o.scope = c.scope and o.key = c.key and o.id <> c.id
                        and (o.superseded_by is null
                             or o.covered_until <= v_now and (o.created, o.id) > (c.created, c.id))) as later
        from memories c
       where c.covered_until <= v_now
         and not exists (select 1 from memories o where o.tenant = c.tenant and o.scope = c.scope and o.key = c.key
                            and o.superseded_by is null and o.expires <= v_now)
       order by c.covered_until limit p_limit for update of c skip locked) d
   where m.tenant = d.tenant and m.id = d.id and m.covered_until <= v_now;
  get diagnostics v_back = row_count;
  return v_gone + v_back;
end $$;
revoke execute on function sweep_memories(int) from public, cs_app;
grant execute on function sweep_memories(int) to cs_worker;

-- Ends retentions in every tenant, in small bites, and forgets what long finished runs were shown: a run may wait for
-- people longer than a day, and must not tell as news then what it read before.
create or replace function sweep_memory_archive(p_limit int) returns int
language sql security definer set search_path = public, pg_temp
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
  with seen as (
    delete from memory_seen s
     where s.seen < (select clock_timestamp()) - interval '1 day'
       and not exists (select 1 from runs r
                        where r.id = substr(s.seer, 5) and starts_with(s.seer, 'run:') and r.tenant = s.tenant
                          and r.status in ('queued', 'running', 'waiting', 'stopped'))
  ), due as (
    select a.tenant, a.id from memory_archive a
     where a.retained_until <= (select clock_timestamp()) and not a.hold and a.content is not null
     order by a.retained_until limit p_limit
  ), gone as (
    update memory_archive a set content = null, writer = null, gone = clock_timestamp() from due
     where a.tenant = due.tenant and a.id = due.id returning 1
  ) select count(*)::int from gone
$$;
revoke execute on function sweep_memory_archive(int) from public, cs_app;
grant execute on function sweep_memory_archive(int) to cs_worker;

reset role;
