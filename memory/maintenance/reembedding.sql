-- Vectors of another embedder, made in the background. Called by reembedding.py.

-- Adds vectors of another embedder to a version that is still current, and drops those of embedders not kept; touches
-- nothing else. False if there is nothing to do any more.
create or replace function embed_knowledge(p jsonb, p_phrases vector[], p_presence vector) returns boolean
language plpgsql security definer set search_path = public, pg_temp as $$
declare v knowledge_vectors;
begin
  select * into v from knowledge_vectors k where k.id = p ->> 'id' and k.embedder = '' for update;
  if v.version is distinct from (p ->> 'version')::int
     or exists (select 1 from knowledge_vectors k where k.id = v.id and k.embedder = p ->> 'embedder') then
    return false;
  end if;
  delete from knowledge_vectors k where k.id = v.id and k.embedder <> '' and not p -> 'keep' ? k.embedder;
  perform place_phrases(p, v.version, v.kind, p_phrases, p_presence);
  return true;
end $$;
revoke execute on function embed_knowledge(jsonb, vector[], vector) from public, cs_app;
grant execute on function embed_knowledge(jsonb, vector[], vector) to cs_worker;

-- One index per length, over all tenants and embedders: what does not belong is filtered while it is followed.
-- Publishing waits while it is built, which is when it is still small.
create or replace function index_phrases(p_least int) returns int
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
revoke execute on function index_phrases(int) from public, cs_app;
grant execute on function index_phrases(int) to cs_worker;

-- Owned by the system role, which works for no tenant and sees what its policies name.
set local role cs_system;

-- Some scopes, of every tenant, that hold vectors of others than this embedder; both sides of it are read from the
-- index. In any order, so that one that cannot be helped does not keep the others waiting.
create or replace function foreign_scopes(p_embedder text, p_limit int) returns table (tenant text, scope text)
language sql security definer set search_path = public, pg_temp as $$
  select f.tenant, f.scope from (
    (select m.tenant, m.scope from memories m where m.embedder < p_embedder limit 10000) union
    (select m.tenant, m.scope from memories m where m.embedder > p_embedder limit 10000)) f
   order by random() limit p_limit
$$;
revoke execute on function foreign_scopes(text, int) from public, cs_app;
grant execute on function foreign_scopes(text, int) to cs_worker;

-- Some scopes, of every tenant, with memories whose words were written by earlier rules.
create or replace function unposted_scopes(p_limit int) returns table (tenant text, scope text)
language sql security definer set search_path = public, pg_temp set enable_seqscan = off as $$
  select f.tenant, f.scope from (
    select m.tenant, m.scope from memories m where m.posted = 0 order by m.tenant, m.scope limit 10000) f
   group by f.tenant, f.scope order by random() limit p_limit
$$;
revoke execute on function unposted_scopes(int) from public, cs_app;
grant execute on function unposted_scopes(int) to cs_worker;

-- How many memories and knowledge items have no vectors of this embedder, in one tenant or in all.
create or replace function count_foreign(p_embedder text, p_tenant text)
returns table (memories bigint, knowledge bigint)
language sql security definer set search_path = public, pg_temp as $$
  select (select count(*) from memories m
           where m.embedder < p_embedder and (p_tenant is null or m.tenant = p_tenant))
       + (select count(*) from memories m
           where m.embedder > p_embedder and (p_tenant is null or m.tenant = p_tenant)),
         (select coalesce(sum(greatest(a.items - coalesce(e.items, 0), 0)), 0)::bigint from knowledge_spread a
            left join knowledge_spread e on e.tenant = a.tenant and e.kind = a.kind and e.embedder = p_embedder
           where a.embedder = '' and (p_tenant is null or a.tenant = p_tenant))
$$;
revoke execute on function count_foreign(text, text) from public, cs_app;
grant execute on function count_foreign(text, text) to cs_worker;

-- The same for the entered tenant alone.
create or replace function count_own_foreign(p_embedder text) returns table (memories bigint, knowledge bigint)
language sql stable security definer set search_path = public, pg_temp as $$
  select c.memories, c.knowledge from count_foreign(p_embedder, current_tenant()) c where current_tenant() is not null
$$;
revoke execute on function count_own_foreign(text) from public;
grant execute on function count_own_foreign(text) to cs_app;

-- Tenants in which some current item has no vectors of an embedder.
create or replace function lagging_knowledge(p_embedder text, p_limit int) returns table (tenant text)
language sql security definer set search_path = public, pg_temp as $$
  select a.tenant from knowledge_spread a
    left join knowledge_spread e on e.tenant = a.tenant and e.kind = a.kind and e.embedder = p_embedder
   where a.embedder = '' and a.items > coalesce(e.items, 0) group by a.tenant order by random() limit p_limit
$$;
revoke execute on function lagging_knowledge(text, int) from public, cs_app;
grant execute on function lagging_knowledge(text, int) to cs_worker;

-- Lengths of vectors of which there are many by now, and no index yet; longer ones than 2000 cannot have one.
create or replace function unindexed_phrases(p_least int) returns table (dims int)
language sql security definer set search_path = public, pg_temp as $$
  select s.dims from knowledge_spread s
   where s.dims between 1 and 2000 and to_regclass('public.knowledge_phrases_' || s.dims) is null
   group by s.dims having sum(s.phrases) >= p_least
$$;
revoke execute on function unindexed_phrases(int) from public;
grant execute on function unindexed_phrases(int) to cs_owner;

reset role;
