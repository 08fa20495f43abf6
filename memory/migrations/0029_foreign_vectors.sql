-- After the embedder was changed: where vectors of the old one are, so that they are made anew in the background.

create index memories_embedder on memories (embedder, tenant, scope);

-- Some scopes, of every tenant, that hold vectors of others than this embedder; both sides of it are read from the index.
-- In any order, so that one that cannot be helped does not keep the others waiting.
create function foreign_scopes(p_embedder text, p_limit int) returns table (tenant text, scope text)
language sql security definer set search_path = public, pg_temp as $$
  select f.tenant, f.scope from (
    (select m.tenant, m.scope from memories m where m.embedder < p_embedder limit 10000) union
    (select m.tenant, m.scope from memories m where m.embedder > p_embedder limit 10000)) f
   order by random() limit p_limit
$$;

create function count_foreign(p_embedder text, p_tenant text) returns table (memories bigint)
language sql security definer set search_path = public, pg_temp as $$
  select (select count(*) from memories m
           where m.embedder < p_embedder and (p_tenant is null or m.tenant = p_tenant))
       + (select count(*) from memories m
           where m.embedder > p_embedder and (p_tenant is null or m.tenant = p_tenant))
$$;

revoke execute on function foreign_scopes(text, int), count_foreign(text, text) from public;
grant execute on function foreign_scopes(text, int), count_foreign(text, text) to cs_app;
grant create on schema public to cs_system;
alter function foreign_scopes(text, int) owner to cs_system;
alter function count_foreign(text, text) owner to cs_system;
revoke create on schema public from cs_system;
