-- What row security hides is not told by other ways either: statistics, keys and names.

-- Statistics for the planner are samples of what stands in a column, and its estimates tell them to everybody: of
-- columns that say who, where or what there are none. Whatever has few values of our own choosing keeps them.
do $$
declare v record;
begin
  for v in select c.relname as relation, a.attname as name from pg_class c join pg_attribute a on a.attrelid = c.oid
            where c.relnamespace = 'public'::regnamespace and c.relkind = 'r' and a.attnum > 0 and not a.attisdropped
              and a.attstattarget is distinct from 0
              and c.relname not in ('schema_migrations', 'schema_functions', 'checkpoint_migrations')
              and format_type(a.atttypid, null) in ('text', 'uuid', 'bytea', 'jsonb', 'text[]', 'uuid[]', 'vector')
              and a.attname not in ('status', 'kind', 'state', 'trust', 'scope_kind', 'embedder', 'currency')
              and not exists (select from pg_depend d where d.objid = c.oid and d.deptype = 'e') loop
    execute format('alter table %I alter column %I set statistics 0', v.relation, v.name);
    -- Earlier samples go at once where the server can do that; before version 18 an administrator can (docs/operating.md).
    if current_setting('server_version_num')::int >= 180000 then
      execute format('select pg_clear_attribute_stats(%L, %L, %L, false)', 'public', v.relation, v.name);
    end if;
  end loop;
end $$;

-- Names of tenants: each sees its own.
alter table tenants enable row level security, force row level security;
create policy own on tenants using (id = (select current_tenant()));
create policy owner on tenants to cs_owner using (true) with check (true);
create policy system on tenants to cs_system using (true);

-- What is told of a memory needs one that the teller sees: else an id that exists would be taken and an invented one
-- refused, as is the rule of a foreign key.
drop policy scope on memory_links;
create policy scope on memory_links
  using (tenant = (select current_tenant())
         and (scope = any ((select current_reads())::text[]) or scope = any ((select current_writes())::text[])))
  with check (tenant = (select current_tenant()) and scope = any ((select current_writes())::text[])
              and exists (select 1 from memories m where m.tenant = current_tenant() and m.id = memory));
drop policy seer on memory_seen;
create policy seer on memory_seen
  using (tenant = (select current_tenant())
         and (seer = any ((select current_reads())::text[]) or seer = any ((select current_writes())::text[])))
  with check (tenant = (select current_tenant())
              and (seer = any ((select current_reads())::text[]) or seer = any ((select current_writes())::text[]))
              and exists (select 1 from memories m where m.tenant = current_tenant() and m.id = memory));

-- Prompts hold lines of their requester's memory: they are the requester's. Workers archive them, and the owner's
-- functions reserve, forget and restore them.
drop policy tenant on model_calls;
create policy own on model_calls for select
  using (tenant = current_tenant() and exists (
    select 1 from runs r where r.id = run and r.tenant = current_tenant() and r.requester = current_principal()));
create policy archives on model_calls for select to cs_worker using (tenant = current_tenant());
create policy owner on model_calls to cs_owner using (tenant = current_tenant()) with check (tenant = current_tenant());
