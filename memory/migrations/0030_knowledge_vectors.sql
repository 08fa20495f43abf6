-- By what current knowledge is found: vectors made from its text, which may be made anew while the versions stay as they
-- are; and how much of it there is, so that a search knows whether to look at all of it or to follow an index.

create table knowledge_vectors (
  tenant text not null default current_tenant(),
  id text not null,
  version int not null,
  kind text not null,
  embedder text not null,
  dims int not null default 0,
  phrases int not null default 0,
  presence vector,
  primary key (tenant, id, embedder),
  foreign key (tenant, id, version) references knowledge
);
comment on table knowledge_vectors is 'one row for each current item, with no embedder, and one for each embedder it has vectors of';
comment on column knowledge_vectors.presence is '1 for each dimension that the title or an utterance uses; null if dense';

create table knowledge_spread (
  tenant text not null default current_tenant(),
  kind text not null,
  embedder text not null,
  dims int not null default 0,
  items int not null default 0,
  phrases int not null default 0,
  counts vector,
  primary key (tenant, kind, embedder)
);
comment on table knowledge_spread is 'sums over knowledge_vectors; counts says how many items use each dimension';

create function spread_knowledge() returns trigger language plpgsql set search_path = public, pg_temp as $$
begin
  if tg_op = 'DELETE' then
    update knowledge_spread s set items = s.items - 1, phrases = s.phrases - old.phrases,
           counts = case when old.presence is null then s.counts else s.counts - old.presence end
     where s.tenant = old.tenant and s.kind = old.kind and s.embedder = old.embedder;
  else
    insert into knowledge_spread as s (tenant, kind, embedder, dims, items, phrases, counts)
    values (new.tenant, new.kind, new.embedder, new.dims, 1, new.phrases, new.presence)
    on conflict (tenant, kind, embedder) do update set items = s.items + 1, phrases = s.phrases + new.phrases,
      dims = new.dims, counts = case when new.presence is null then s.counts
                                     else coalesce(s.counts + new.presence, new.presence) end;
  end if;
  return null;
end $$;
create trigger knowledge_vectors_spread after insert or delete on knowledge_vectors
  for each row execute function spread_knowledge();

-- What was there; the owner stands above row security for this only.
alter table knowledge no force row level security;
alter table knowledge_phrases no force row level security;
drop trigger knowledge_phrases_no_change on knowledge_phrases;
alter table knowledge_phrases add column kind text, add column embedder text;
delete from knowledge_phrases p using knowledge k
 where k.tenant = p.tenant and k.id = p.id and k.version > p.version;
update knowledge_phrases p set kind = k.kind, embedder = k.embedder from knowledge k
 where k.tenant = p.tenant and k.id = p.id and k.version = p.version;
insert into knowledge_vectors (tenant, id, version, kind, embedder)
select k.tenant, k.id, k.version, k.kind, '' from knowledge k
 where not exists (select 1 from knowledge n where n.tenant = k.tenant and n.id = k.id and n.version > k.version);
insert into knowledge_vectors (tenant, id, version, kind, embedder, dims, phrases, presence)
select k.tenant, k.id, k.version, k.kind, k.embedder, p.dims, p.phrases, k.presence
  from (select tenant, id, version, max(vector_dims(embedding)) as dims, count(*) as phrases
          from knowledge_phrases group by tenant, id, version) p
  join knowledge k using (tenant, id, version);
alter table knowledge_phrases drop constraint knowledge_phrases_pkey,
  drop constraint knowledge_phrases_tenant_id_version_fkey, drop column version,
  alter column kind set not null, alter column embedder set not null, add primary key (tenant, id, embedder, ord),
  add foreign key (tenant, id, embedder) references knowledge_vectors on delete cascade;
-- Beside their row, where most vectors fit once they are compressed: reading all of a kind is faster so.
alter table knowledge_phrases alter column embedding set storage main;
create index knowledge_phrases_kind on knowledge_phrases (tenant, kind, embedder);
alter table knowledge drop column embedder, drop column presence;
alter table knowledge force row level security;
alter table knowledge_phrases force row level security;

do $$ declare v_table text; begin
  foreach v_table in array array['knowledge_vectors', 'knowledge_spread'] loop
    execute format('alter table %I enable row level security; alter table %I force row level security;'
                   'grant select on %I to cs_app', v_table, v_table, v_table);
    execute format('create policy tenant on %I using (tenant = (select current_tenant()))'
                   ' with check (tenant = (select current_tenant()))', v_table);
  end loop;
end $$;
create policy counts on knowledge_spread for select to cs_system using (true);
grant select on knowledge_spread to cs_system;

-- Gives the current version vectors of one embedder.
create function place_phrases(p jsonb, p_version int, p_kind text) returns void
language plpgsql set search_path = public, pg_temp as $$
begin
  if jsonb_array_length(p -> 'phrases') = 0 then return; end if;
  insert into knowledge_vectors (id, version, kind, embedder, dims, phrases, presence)
  values (p ->> 'id', p_version, p_kind, p ->> 'embedder', vector_dims((p -> 'phrases' ->> 0)::vector),
          jsonb_array_length(p -> 'phrases'), (p ->> 'presence')::vector);
  insert into knowledge_phrases (id, kind, embedder, ord, embedding)
  select p ->> 'id', p_kind, p ->> 'embedder', x.ord, x.phrase::vector
    from jsonb_array_elements_text(p -> 'phrases') with ordinality x (phrase, ord);
end $$;

create or replace function publish_knowledge(p jsonb)
returns table (code text, version int, woken text[])
language plpgsql security definer set search_path = public, pg_temp as $$
declare v_version int; v_current int; v_old text; v_woken text[] := '{}';
begin
  if current_principal() is null or p ->> 'trust' is distinct from 'human'
     or exists (select 1 from unnest(current_writes() || current_reads()) s where s like 'run:%') then
    return query select 'forbidden', null::int, v_woken; return;
  end if;
  perform authority_lock_exclusive();
  select max(k.version) into v_current from knowledge k where k.id = p ->> 'id';
  v_version := coalesce((p ->> 'version')::int, v_current + 1, 1);
  select k.digest into v_old from knowledge k where k.id = p ->> 'id' and k.version = v_version;
  if found then
    return query select case when v_old = p ->> 'digest' then 'known' else 'conflict' end, v_version, v_woken; return;
  end if;
  if p ->> 'version' is null and exists (
    select 1 from knowledge k
     where k.id = p ->> 'id' and k.version = v_current and k.digest = p ->> 'digest' and k.kind = p ->> 'kind'
       and k.title = p ->> 'title' and k.owner = p ->> 'owner' and k.review_by = (p ->> 'review_by')::date) then
    return query select 'known', v_current, v_woken; return;
  end if;
  insert into knowledge (id, version, kind, title, body, digest, owner, review_by, note, published_by)
  values (p ->> 'id', v_version, p ->> 'kind', p ->> 'title', p ->> 'body', p ->> 'digest', p ->> 'owner',
          (p ->> 'review_by')::date, coalesce(p ->> 'note', ''), current_principal());
  perform journal_extend(authority_chain(), jsonb_build_object('kind', 'knowledge', 'id', p ->> 'id',
    'version', v_version, 'digest', p ->> 'digest', 'by', current_principal()));
  if v_current is null or v_version > v_current then
    delete from knowledge_vectors v where v.id = p ->> 'id';
    insert into knowledge_vectors (id, version, kind, embedder) values (p ->> 'id', v_version, p ->> 'kind', '');
    perform place_phrases(p, v_version, p ->> 'kind');
    select coalesce(array_agg(x), '{}') into v_woken from void_approvals_pinning(p ->> 'id') x;
  end if;
  return query select 'ok', v_version, v_woken;
end $$;

-- Adds vectors of another embedder to a version that is still current, and drops those of embedders not kept; touches
-- nothing else. False if there is nothing to do any more.
create function embed_knowledge(p jsonb) returns boolean
language plpgsql security definer set search_path = public, pg_temp as $$
declare v knowledge_vectors;
begin
  select * into v from knowledge_vectors k where k.id = p ->> 'id' and k.embedder = '' for update;
  if v.version is distinct from (p ->> 'version')::int
     or exists (select 1 from knowledge_vectors k where k.id = v.id and k.embedder = p ->> 'embedder') then
    return false;
  end if;
  delete from knowledge_vectors k where k.id = v.id and k.embedder <> '' and not p -> 'keep' ? k.embedder;
  perform place_phrases(p, v.version, v.kind);
  return true;
end $$;

-- Tenants in which some current item has no vectors of an embedder.
create function lagging_knowledge(p_embedder text, p_limit int) returns table (tenant text)
language sql security definer set search_path = public, pg_temp as $$
  select a.tenant from knowledge_spread a
    left join knowledge_spread e on e.tenant = a.tenant and e.kind = a.kind and e.embedder = p_embedder
   where a.embedder = '' and a.items > coalesce(e.items, 0) group by a.tenant order by random() limit p_limit
$$;

drop function count_foreign(text, text);
create function count_foreign(p_embedder text, p_tenant text) returns table (memories bigint, knowledge bigint)
language sql security definer set search_path = public, pg_temp as $$
  select (select count(*) from memories m
           where m.embedder < p_embedder and (p_tenant is null or m.tenant = p_tenant))
       + (select count(*) from memories m
           where m.embedder > p_embedder and (p_tenant is null or m.tenant = p_tenant)),
         (select coalesce(sum(greatest(a.items - coalesce(e.items, 0), 0)), 0)::bigint from knowledge_spread a
            left join knowledge_spread e on e.tenant = a.tenant and e.kind = a.kind and e.embedder = p_embedder
           where a.embedder = '' and (p_tenant is null or a.tenant = p_tenant))
$$;

-- Lengths of vectors of which there are many by now, and no index yet; longer ones than 2000 cannot have one.
create function unindexed_phrases(p_least int) returns table (dims int)
language sql security definer set search_path = public, pg_temp as $$
  select s.dims from knowledge_spread s
   where s.dims between 1 and 2000 and to_regclass('public.knowledge_phrases_' || s.dims) is null
   group by s.dims having sum(s.phrases) >= p_least
$$;

-- One index per length, over all tenants and embedders: what does not belong is filtered while it is followed. Publishing
-- waits while it is built, which is when it is still small.
create function index_phrases(p_least int) returns int
language plpgsql security definer set search_path = public, pg_temp as $$
declare v record; v_made int := 0;
begin
  for v in select u.dims from unindexed_phrases(greatest(p_least, 1000)) u loop
    execute format('create index if not exists %I on knowledge_phrases using hnsw ((embedding::vector(%s))'
                   ' vector_cosine_ops) where vector_dims(embedding) = %s', 'knowledge_phrases_' || v.dims, v.dims, v.dims);
    v_made := v_made + 1;
  end loop;
  return v_made;
end $$;

revoke execute on function spread_knowledge(), place_phrases(jsonb, int, text), embed_knowledge(jsonb),
  lagging_knowledge(text, int), count_foreign(text, text), unindexed_phrases(int), index_phrases(int) from public;
grant execute on function embed_knowledge(jsonb), lagging_knowledge(text, int), count_foreign(text, text),
  index_phrases(int) to cs_app;
grant create on schema public to cs_system;
alter function lagging_knowledge(text, int) owner to cs_system;
alter function count_foreign(text, text) owner to cs_system;
alter function unindexed_phrases(int) owner to cs_system;
set local role cs_system;
grant execute on function unindexed_phrases(int) to cs_owner;
reset role;
revoke create on schema public from cs_system;
