-- Pruning a scope into the archive, and counted use, by which pruning chooses. Called by pruning.py.

-- Takes the named rows out of one scope, keeps what is not merely expired, and records it without any of the content.
-- Pruning takes thousands of rows in one go, so nothing is computed for each of them that is not kept.
create or replace function prune_memories(p jsonb)
returns table (gone int, kept int)
language plpgsql security definer set search_path = public, pg_temp as $$
declare
  v_leaving jsonb := p -> 'leaving';
  v_scope text := p ->> 'scope';
  v_gone int; v_kept int; v_digest text; v_columns text;
begin
  if v_scope <> all (current_writes()) then
    raise exception 'scope % is not the one to write; enter with it before pruning', v_scope
      using errcode = 'insufficient_privilege';
  end if;
  select encode(memory_hmac(string_agg(m.id || ':' || m.digest || ':' || (v_leaving ->> m.id::text), chr(10)
                                       order by m.id)), 'hex')
    into v_digest from memories m where m.scope = v_scope and v_leaving ? m.id::text;
  -- Every column but these; as text a vector is the larger part of a row and takes longest to write.
  select string_agg('m.' || quote_ident(a.attname), ', ' order by a.attnum) into v_columns from pg_attribute a
   where a.attrelid = 'memories'::regclass and a.attnum > 0 and not a.attisdropped
     and a.attname not in ('embedding', 'embedder', 'tenant');
  execute format($sql$
    insert into memory_archive (tenant, id, scope, writer, content, reason, policy, pruned_by, retained_until)
    select $1, r.id, r.scope, r.provenance ->> 'principal', to_jsonb(r), $2 ->> r.id::text, $3, $4, $5
      from (select %s from memories m where m.scope = $6 and $2 ? m.id::text) r
     where $2 ->> r.id::text <> 'expired' and not r.pinned
    on conflict (tenant, id) do update set content = excluded.content, writer = excluded.writer, gone = null,
      reason = excluded.reason, policy = excluded.policy, pruned = clock_timestamp(),
      retained_until = excluded.retained_until
  $sql$, v_columns)
  using current_tenant(), v_leaving, p ->> 'policy', coalesce(current_principal(), ''),
        clock_timestamp() + (p ->> 'retention')::interval, v_scope;
  get diagnostics v_kept = row_count;
  delete from memories m
   where m.scope = v_scope and v_leaving ? m.id::text and (not m.pinned or v_leaving ->> m.id::text = 'expired');
  get diagnostics v_gone = row_count;
  perform journal_extend(authority_chain(), jsonb_build_object('kind', 'pruned', 'scope', v_scope,
    'policy', p ->> 'policy', 'by', current_principal(), 'gone', v_gone, 'archived', v_kept, 'digest', v_digest,
    'reasons', (select jsonb_object_agg(r.value, r.n) from
                 (select l.value, count(*) as n from jsonb_each_text(v_leaving) l group by l.value) r)));
  return query select v_gone, v_kept;
end $$;
revoke execute on function prune_memories(jsonb) from public;
grant execute on function prune_memories(jsonb) to cs_app;

-- Cited use is counted once for each run that was shown a memory and named it, wherever the memory lives.
create or replace function cite_memories(p_seers text[], p_ids text[]) returns int
language sql security definer set search_path = public, pg_temp as $$
  with cited as (
    update memory_seen s set cited = true
     where s.seer = any (p_seers) and s.seer like 'run:%' and s.memory::text = any (p_ids) and not s.cited
    returning s.memory
  ), counted as (
    update memories m set uses = m.uses + 1 from cited where m.id = cited.memory returning 1
  ) select count(*)::int from counted
$$;
revoke execute on function cite_memories(text[], text[]) from public;
grant execute on function cite_memories(text[], text[]) to cs_app;

-- Owned by the system role, which works for no tenant and sees what its policies name.
set local role cs_system;

-- Scopes of every tenant with more in them than they have room for, counted from indexes alone, of those that grew since
-- they were counted: what has room is not looked at again until then. In any order, so that scopes full of pins do not
-- keep housekeeping from all others.
create or replace function crowded_scopes(p_facts int, p_episodes int, p_limit int)
returns table (tenant text, scope text)
language sql security definer set search_path = public, pg_temp set enable_seqscan = off as $$
  with grown as materialized (
    select g.tenant, g.scope, t.n - f.n > p_episodes or f.n > p_facts as crowded
      from (select distinct n.tenant, n.scope from memory_growth n) g
     cross join lateral (select count(*) as n from memories m where m.tenant = g.tenant and m.scope = g.scope) t
     cross join lateral (select count(*) as n from memories m where m.tenant = g.tenant and m.scope = g.scope
                            and m.superseded_by is null and m.key is not null) f
  ), counted as (
    -- Only rows of this snapshot, whose memories were counted.
    delete from memory_growth n using grown g where n.tenant = g.tenant and n.scope = g.scope and not g.crowded
  )
  select g.tenant, g.scope from grown g where g.crowded order by random() limit p_limit
$$;
revoke execute on function crowded_scopes(int, int, int) from public, cs_app;
grant execute on function crowded_scopes(int, int, int) to cs_worker;

reset role;
