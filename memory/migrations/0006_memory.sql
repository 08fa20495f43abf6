-- What is remembered: one table for the user, session, agent and run scopes, seen by scope and not by query.

create table memories (
  tenant text not null default current_tenant(),
  id uuid not null,
  scope_kind text not null check (scope_kind in ('user', 'session', 'agent', 'run')),
  scope_id text not null check (scope_id <> ''),
  scope text not null generated always as (scope_kind || ':' || scope_id) stored,
  key text check (length(key) between 1 and 200),
  body text not null check (octet_length(body) between 1 and 8192),
  digest text not null check (digest ~ '^[0-9a-f]{64}$'),
  embedder text not null,
  embedding vector not null,
  trust text not null check (trust in ('human', 'tool', 'model', 'untrusted')),
  provenance jsonb not null,
  uses int not null default 0,
  created timestamptz not null default clock_timestamp(),
  expires timestamptz,
  valid_from timestamptz not null default clock_timestamp(),
  valid_to timestamptz,
  superseded_by uuid,
  primary key (tenant, id),
  constraint memories_run_expires check (scope_kind <> 'run' or expires is not null)
);
comment on column memories.embedding is
  'length depends on the embedder; compared only with vectors of the same embedder, by exact scan inside scopes';
-- Vectors of short texts are mostly zeros: compressed beside their row, a search reads them about a third faster.
alter table memories alter column embedding set storage main;
create unique index memories_current on memories (tenant, scope, key) where superseded_by is null and key is not null;
create index memories_scope on memories (tenant, scope, created);
create index memories_expiry on memories (expires) where expires is not null;

alter table memories enable row level security;
alter table memories force row level security;
create policy reads on memories for select
  using (tenant = current_tenant() and (scope = any (current_reads()) or scope = any (current_writes())));
create policy adds on memories for insert
  with check (tenant = current_tenant() and scope = any (current_writes()));
create policy changes on memories for update
  using (tenant = current_tenant() and scope = any (current_writes()))
  with check (tenant = current_tenant() and scope = any (current_writes()));
create policy forgets on memories for delete
  using (tenant = current_tenant()
         and (scope = any (current_writes()) or (scope_kind = 'run' and scope = any (current_reads()))));
create policy system on memories to cs_system using (expires <= clock_timestamp());
grant select, insert, update, delete on memories to cs_app;
grant select, delete on memories to cs_system;

-- Ends the working memory of a run; joins the transaction that ends the run.
create function erase_run(p_run text) returns int
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

-- Deletes what has expired in every tenant, in small bites; expired rows are hidden long before.
create function sweep_memories(p_limit int) returns int
language sql security definer set search_path = public, pg_temp as $$
  with gone as (
    delete from memories m using (
      select e.tenant, e.id from memories e where e.expires <= clock_timestamp() limit p_limit
    ) e where m.tenant = e.tenant and m.id = e.id returning 1
  ) select count(*)::int from gone
$$;
grant create on schema public to cs_system;
alter function sweep_memories(int) owner to cs_system;
revoke create on schema public from cs_system;
revoke execute on function erase_run(text), sweep_memories(int) from public;
grant execute on function erase_run(text), sweep_memories(int) to cs_app;
