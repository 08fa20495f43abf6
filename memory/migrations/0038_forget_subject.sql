-- Forgetting one memory or subject: older versions go along wherever they are, and the journal knows that it happened.

-- By id, live or archived, by subject, or all of the scope that is written. Answers ok, or held with the id of what is
-- under legal hold; then nothing has gone. The entry has counts and a keyed digest, never a text or a subject.
create function forget_subject(p_id text, p_key text, p_all boolean)
returns table (code text, about text, gone int, archived int)
language plpgsql security definer set search_path = public, pg_temp as $$
declare v_scope text := (current_writes())[1]; v_key text := p_key; v_digest text;
begin
  -- The lock of pruning: neither it nor an import moves a version away meanwhile.
  perform pg_advisory_xact_lock(hashtextextended(current_tenant() || '/' || v_scope, 7610));
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

-- As before, but all the runs that are in the way are named at once, oldest first.
create or replace function forget_person(p_person text)
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
  perform forget_sayings(p_person, v_runs);
  -- What they refused a colleague with was that run's answer, and stands in its graph's state.
  update runs r set message = '' where r.id = any (v_judged);
  v_counts := v_counts || jsonb_build_object('words', forget_words(p_person, v_runs));
  v_about := encode(memory_hmac('person' || chr(10) || p_person), 'hex');
  perform journal_extend(authority_chain(), jsonb_build_object('kind', 'forgotten', 'person', v_about,
    'by', current_principal(), 'counts', v_counts));
  return query select 'ok', v_about, v_counts;
end $$;

revoke execute on function forget_subject(text, text, boolean) from public;
grant execute on function forget_subject(text, text, boolean) to cs_app;
