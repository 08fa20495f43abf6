-- What leaves a scope for want of room: an act with a record, from which each row can be taken back for a while.

create table memory_archive (
  tenant text not null default current_tenant(),
  id uuid not null,
  scope text not null,
  writer text,
  content jsonb,
  reason text not null check (reason in ('superseded', 'double', 'room')),
  policy text not null,
  pruned_by text not null,
  pruned timestamptz not null default clock_timestamp(),
  retained_until timestamptz not null,
  hold boolean not null default false,
  gone timestamptz,
  primary key (tenant, id),
  check ((content is null) = (gone is not null))
);
comment on table memory_archive is 'content is the row without its vector; null once the retention has ended: a tombstone';
create index memory_archive_scope on memory_archive (tenant, scope, pruned);
create index memory_archive_due on memory_archive (retained_until) where content is not null and not hold;
alter table memory_archive enable row level security;
alter table memory_archive force row level security;
create policy scope on memory_archive
  using (tenant = current_tenant() and (scope = any (current_reads()) or scope = any (current_writes())))
  with check (tenant = current_tenant() and scope = any (current_writes()));
create policy system on memory_archive to cs_system
  using (retained_until <= clock_timestamp() and not hold) with check (content is null);
grant select on memory_archive to cs_app;
grant select, update on memory_archive to cs_system;

-- Cited use is counted once for each run that was shown a memory and named it, wherever the memory lives.
alter table memory_seen add column cited boolean not null default false;
create policy cites on memories for update to cs_owner
  using (tenant = current_tenant() and scope = any (current_reads()))
  with check (tenant = current_tenant() and scope = any (current_reads()));

create function cite_memories(p_seers text[], p_ids text[]) returns int
language sql security definer set search_path = public, pg_temp as $$
  with cited as (
    update memory_seen s set cited = true
     where s.seer = any (p_seers) and s.seer like 'run:%' and s.memory::text = any (p_ids) and not s.cited
    returning s.memory
  ), counted as (
    update memories m set uses = m.uses + 1 from cited where m.id = cited.memory returning 1
  ) select count(*)::int from counted
$$;

create or replace function is_reserved_kind(p_kind text) returns boolean language sql immutable as $$
  select coalesce(p_kind in ('requested', 'planned', 'proposed', 'permitted', 'outcome', 'interrupted', 'resolved',
    'read', 'held', 'vote', 'vote_refused', 'question', 'approval', 'kill', 'unkill', 'policy', 'knowledge',
    'answered', 'cancel', 'resumed', 'ended', 'pruned', 'restored', 'legal_hold', 'forgotten'), true)
$$;

-- Takes the named rows out of one scope, keeps what is not merely expired, and records it without any of the content.
create function prune_memories(p jsonb)
returns table (gone int, kept int)
language plpgsql security definer set search_path = public, pg_temp as $$
declare v_gone int; v_kept int; v_digest text;
begin
  if p ->> 'scope' <> all (current_writes()) then
    raise exception 'scope % is not the one to write; enter with it before pruning', p ->> 'scope'
      using errcode = 'insufficient_privilege';
  end if;
  select encode(memory_hmac(string_agg(m.id || ':' || m.digest || ':' || l.value, chr(10) order by m.id)), 'hex')
    into v_digest from memories m join jsonb_each_text(p -> 'leaving') l on l.key = m.id::text
   where m.scope = p ->> 'scope';
  insert into memory_archive (id, scope, writer, content, reason, policy, pruned_by, retained_until)
  select m.id, m.scope, m.provenance ->> 'principal', to_jsonb(m) - array['embedding', 'embedder', 'tenant'], l.value,
         p ->> 'policy', coalesce(current_principal(), ''), clock_timestamp() + (p ->> 'retention')::interval
    from memories m join jsonb_each_text(p -> 'leaving') l on l.key = m.id::text
   where m.scope = p ->> 'scope' and l.value <> 'expired' and not m.pinned
  on conflict (tenant, id) do update set content = excluded.content, writer = excluded.writer, gone = null,
    reason = excluded.reason, policy = excluded.policy, pruned = clock_timestamp(),
    retained_until = excluded.retained_until;
  get diagnostics v_kept = row_count;
  delete from memories m using jsonb_each_text(p -> 'leaving') l
   where m.id::text = l.key and m.scope = p ->> 'scope' and (not m.pinned or l.value = 'expired');
  get diagnostics v_gone = row_count;
  perform journal_extend(authority_chain(), jsonb_build_object('kind', 'pruned', 'scope', p ->> 'scope',
    'policy', p ->> 'policy', 'by', current_principal(), 'gone', v_gone, 'archived', v_kept, 'digest', v_digest,
    'reasons', (select jsonb_object_agg(r.value, r.n) from
                 (select l.value, count(*) as n from jsonb_each_text(p -> 'leaving') l group by l.value) r)));
  return query select v_gone, v_kept;
end $$;

-- Writes a row from its own form, whatever columns it has by now; sees and may do only what its caller may.
create function put_memory(p jsonb, p_embedder text, p_vector text) returns uuid
language plpgsql set search_path = public, pg_temp as $$
declare v_columns text; v_id uuid; v_row jsonb := (p - 'tenant')
  || jsonb_build_object('embedder', p_embedder, 'embedding', p_vector,
       'digest', encode(sha256(convert_to(p ->> 'body', 'UTF8')), 'hex'));
begin
  select string_agg(quote_ident(a.attname), ', ' order by a.attnum) into v_columns from pg_attribute a
   where a.attrelid = 'memories'::regclass and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
     and v_row ? a.attname;
  execute format('insert into memories (%s) select %s from jsonb_populate_record(null::memories, $1) returning id',
                 v_columns, v_columns) into v_id using v_row;
  return v_id;
end $$;

-- After a row was put back: the copy goes, and the record says so.
create function unshelve_memory(p_id text) returns boolean
language plpgsql security definer set search_path = public, pg_temp as $$
begin
  delete from memory_archive a
   where a.id::text = p_id and a.content is not null and a.scope = any (current_writes());
  if not found then return false; end if;
  perform journal_extend(authority_chain(),
    jsonb_build_object('kind', 'restored', 'memory', p_id, 'by', current_principal()));
  return true;
end $$;

-- Keeps an archived row beyond its retention, or lets it go again.
create function hold_memory(p_id text, p_on boolean) returns boolean
language plpgsql security definer set search_path = public, pg_temp as $$
begin
  update memory_archive a set hold = p_on
   where a.id::text = p_id and a.content is not null and a.scope = any (current_writes());
  if not found then return false; end if;
  perform journal_extend(authority_chain(),
    jsonb_build_object('kind', 'legal_hold', 'memory', p_id, 'on', p_on, 'by', current_principal()));
  return true;
end $$;

-- Ends retentions in every tenant, in small bites, and forgets what long finished runs were shown.
create function sweep_memory_archive(p_limit int) returns int
language sql security definer set search_path = public, pg_temp as $$
  with seen as (
    delete from memory_seen where seen < clock_timestamp() - interval '1 day'
  ), due as (
    select a.tenant, a.id from memory_archive a
     where a.retained_until <= clock_timestamp() and not a.hold and a.content is not null limit p_limit
  ), gone as (
    update memory_archive a set content = null, writer = null, gone = clock_timestamp() from due
     where a.tenant = due.tenant and a.id = due.id returning 1
  ) select count(*)::int from gone
$$;

-- Names scopes that hold more than they may, in every tenant; both counts are read from indexes alone.
create policy counts on memories for select to cs_system using (true);
create function crowded_scopes(p_facts int, p_episodes int, p_limit int)
returns table (tenant text, scope text)
language sql security definer set search_path = public, pg_temp as $$
  select t.tenant, t.scope
    from (select m.tenant, m.scope, count(*) as n from memories m group by m.tenant, m.scope) t
    left join (select m.tenant, m.scope, count(*) as n from memories m
                where m.superseded_by is null and m.key is not null group by m.tenant, m.scope) f
      on f.tenant = t.tenant and f.scope = t.scope
   where t.n - coalesce(f.n, 0) > p_episodes or f.n > p_facts
   order by t.n desc, t.tenant, t.scope limit p_limit
$$;

grant create on schema public to cs_system;
alter function crowded_scopes(int, int, int) owner to cs_system;
alter function sweep_memory_archive(int) owner to cs_system;
revoke create on schema public from cs_system;
revoke execute on function cite_memories(text[], text[]), prune_memories(jsonb), put_memory(jsonb, text, text),
  unshelve_memory(text), hold_memory(text, boolean), sweep_memory_archive(int),
  crowded_scopes(int, int, int) from public;
grant execute on function cite_memories(text[], text[]), prune_memories(jsonb), put_memory(jsonb, text, text),
  unshelve_memory(text), hold_memory(text, boolean), sweep_memory_archive(int),
  crowded_scopes(int, int, int) to cs_app;
