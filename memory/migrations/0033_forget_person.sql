-- Forgetting a person, second version: who may ask for it is checked here and not only by the API; words of the
-- journal, of approvals and of effects go too; and nothing that is written meanwhile slips through.

-- Statistics for the planner are samples of what stands in a column: of texts there are none.
do $$
declare v record;
begin
  for v in select c.oid::regclass as of_table, a.attname as name
             from (values ('memories', 'body'), ('memories', 'key'), ('memories', 'terms'), ('memories', 'provenance'),
                     ('memories', 'speaker'), ('memories', 'session'), ('memories', 'scope'), ('memories', 'scope_id'),
                     ('memory_links', 'provenance'), ('memory_links', 'scope'), ('memory_archive', 'content'),
                     ('memory_archive', 'scope'), ('memory_postings', 'lexeme'), ('memory_postings', 'root'),
                     ('memory_postings', 'scope'), ('memory_marks', 'mark'), ('memory_marks', 'scope'),
                     ('memory_seen', 'seer'), ('results', 'name'),
                     ('results', 'shape'), ('result_rows', 'row'), ('runs', 'thread'), ('runs', 'correlation'),
                     ('runs', 'input'), ('runs', 'answers'), ('runs', 'message'), ('runs', 'cancel'), ('runs', 'plan'),
                     ('journal', 'words'), ('model_calls', 'prompt'), ('model_calls', 'answer'), ('requests', 'key'),
                     ('requests', 'answer'), ('approvals', 'shown'), ('approvals', 'edited'), ('approvals', 'reason'),
                     ('votes', 'reason'), ('effects', 'args'), ('effects', 'outcome'), ('kills', 'reason'),
                     ('keys', 'label'), ('checkpoints', 'thread_id'), ('checkpoints', 'checkpoint'),
                     ('checkpoints', 'metadata'), ('checkpoint_blobs', 'thread_id'), ('checkpoint_blobs', 'blob'),
                     ('checkpoint_writes', 'thread_id'), ('checkpoint_writes', 'blob'), ('transcripts', 'thread'),
                     ('transcripts', 'content')) as t (on_table, name)
             join pg_class c on c.oid = ('public.' || t.on_table)::regclass
             join pg_attribute a on a.attrelid = c.oid and a.attname = t.name loop
    execute format('alter table %s alter column %I set statistics 0', v.of_table, v.name);
  end loop;
end $$;

-- Waits for a forgetting that is under way, and makes a later one wait for the text that is now taken in.
create or replace function is_forgotten(p_places text[], p_near text) returns boolean
language plpgsql security definer set search_path = public, pg_temp as $$
begin
  perform pg_advisory_xact_lock_shared(7700, hashtext(current_tenant()));
  return exists (select 1 from memory_tombstones limit 1)
     and exists (select 1 from unnest(p_places) as place
                   join memory_tombstones t on t.mark = memory_hmac(place || chr(10) || p_near));
end $$;

create policy erases on requests to cs_owner
  using (tenant = (select current_tenant())) with check (tenant = (select current_tenant()));

-- Empties the entries of these runs and what this person said in other runs, and says so in each chain.
create function forget_words(p_user text, p_runs text[]) returns int
language plpgsql set search_path = public, pg_temp as $$
declare v record; v_all int := 0;
begin
  for v in select j.run, array_agg(j.seq order by j.seq) as entries from journal j
            where j.words is not null
              and (j.run = any (p_runs) or (j.tenant = current_tenant() and j.author = p_user))
            group by j.run order by j.run loop
    perform 1 from runs r where r.id = v.run for no key update;
    update journal j set words = null, salt = null where j.run = v.run and j.seq = any (v.entries);
    perform journal_extend(v.run, jsonb_build_object('kind', 'forgotten', 'by', current_principal(),
                                                     'entries', to_jsonb(v.entries)));
    v_all := v_all + cardinality(v.entries);
  end loop;
  return v_all;
end $$;

-- Takes the words out of rows that stay because they say what was done. What the business answered stays with them.
create function forget_sayings(p_user text, p_runs text[]) returns void
language sql set search_path = public, pg_temp as $$
  update approvals a set shown = '{}', edited = null,
         reason = case when a.status in ('rejected', 'edited') then null else a.reason end
   where a.run = any (p_runs);
  update approvals a set edited = null, reason = null
   where a.status in ('rejected', 'edited') and a.decided_by = p_user;
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

-- What else their runs left behind.
create function forget_work(p_runs text[], p_threads text[]) returns jsonb
language plpgsql set search_path = public, pg_temp as $$
declare v_results int; v_checkpoints int; v_transcripts int;
begin
  delete from result_rows w where w.handle in (select h.handle from results h where h.run = any (p_runs));
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

-- Memories with what hangs on them; each text leaves its keyed marks.
create function forget_memories(p_user text, p_runs text[]) returns jsonb
language plpgsql set search_path = public, pg_temp as $$
declare v_gone jsonb;
begin
  select coalesce(jsonb_agg(to_jsonb(e)), '[]') into v_gone
    from erase_memories(p_user, array(select 'run:' || r from unnest(p_runs) r)) e;
  insert into memory_tombstones (mark)
  select distinct memory_hmac(place || chr(10) || (e ->> 'near'))
    from jsonb_array_elements(v_gone) e, unnest(array[e ->> 'place', 'by:' || p_user]) as place
   where e ->> 'near' is not null
  on conflict do nothing;
  return (select coalesce(jsonb_object_agg(w.what, w.n), '{}')
            from (select e ->> 'what' as what, count(*) as n from jsonb_array_elements(v_gone) e group by 1) w);
end $$;

drop function forget_person(text);

-- Whether the entered person is in one of these groups: by the table, never by what a request says of itself.
create function is_of(p_groups text[]) returns boolean
language sql stable security definer set search_path = public, pg_temp as $$
  select exists (select 1 from principals p where p.id = current_principal() and p.groups && p_groups)
$$;

-- Whether the installation itself was entered: a name that no person bears, which only our own processes can enter as.
create function is_installation() returns boolean
language sql stable security definer set search_path = public, pg_temp as $$
  select current_principal() = 'countersign'
     and not exists (select 1 from principals p where p.id = current_principal())
$$;

-- Forgets a person: all of it in this transaction, or nothing. Only they themselves and administrators may ask for it.
create function forget_person(p_person text)
returns table (code text, about text, counts jsonb)
language plpgsql security definer set search_path = public, pg_temp as $$
declare v_about text; v_runs text[]; v_judged text[]; v_threads text[]; v_counts jsonb;
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
  select r.id into v_about from runs r
   where r.kind = 'run' and (r.requester = p_person or r.id = any (v_judged))
     and r.status in ('queued', 'running', 'waiting') limit 1;
  if found then return query select 'busy', v_about, null::jsonb; return; end if;
  select coalesce(array_agg(r.id) filter (where r.requester = p_person), '{}'),
         coalesce(array_agg(distinct r.thread), '{}') into v_runs, v_threads
    from runs r where r.kind = 'run' and (r.requester = p_person or r.id = any (v_judged));
  select t.thread into v_about from transcripts t where t.thread = any (v_threads) and t.hold limit 1;
  if not found then select h.id into v_about from held_memories(p_person) h limit 1; end if;
  if v_about is not null then return query select 'held', v_about, null::jsonb; return; end if;

  v_counts := forget_memories(p_person, v_runs) || forget_work(v_runs, v_threads)
              || jsonb_build_object('runs', cardinality(v_runs));
  perform forget_sayings(p_person, v_runs);
  -- What they refused a colleague with was that run's answer, and stands in its graph's state.
  update runs r set message = '' where r.id = any (v_judged);
  v_counts := v_counts || jsonb_build_object('words', forget_words(p_person, v_runs));
  v_about := encode(memory_hmac('person' || chr(10) || p_person), 'hex');
  perform journal_extend(authority_chain(), jsonb_build_object('kind', 'forgotten', 'person', v_about,
    'by', current_principal(), 'counts', v_counts));
  return query select 'ok', v_about, v_counts;
end $$;

revoke execute on function forget_words(text, text[]), forget_sayings(text, text[]), forget_work(text[], text[]),
  forget_memories(text, text[]), forget_person(text), is_of(text[]), is_installation() from public;
grant execute on function forget_person(text) to cs_app;
