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

-- An answer is worth more than other texts, also when the question has left: so a memory keeps whether it follows one.
alter table memories add column answers boolean not null default false;
comment on column memories.answers is 'whether what was said just before it in its session asks';
create or replace function measure_memory() returns trigger
language plpgsql security definer set search_path = public, pg_temp set enable_sort = off set enable_seqscan = off as $$
begin
  select coalesce(sum(w.hits), 0) into new.size from memory_words(new.body, new.speaker, new.said) w;
  if new.place > 0 and not new.answers then
    new.answers := coalesce((select m.asks from memories m
                              where m.tenant = new.tenant and m.scope = new.scope_kind || ':' || new.scope_id
                                and m.session = new.session and m.place < new.place
                              order by m.place desc limit 1), false);
  end if;
  return new;
end $$;
alter table memories no force row level security;
update memories m set answers = true
  from (select tenant, id, lag(asks) over (partition by tenant, scope, session order by place, created, id) as asked
          from memories where session is not null) b
 where b.tenant = m.tenant and b.id = m.id and b.asked;
alter table memories force row level security;
