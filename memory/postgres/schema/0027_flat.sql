-- What one statement reads does not grow with what was done before it.

-- A statement that enters and reads at once is planned before anybody has entered: a policy that asks in place is taken
-- for one that nothing meets, and any index looks as good as the right one. Asked once, apart, the plan stays right.
drop policy tenant on runs;
create policy tenant on runs
  using (tenant = (select current_tenant())) with check (tenant = (select current_tenant()));
drop policy tenant on effects;
create policy tenant on effects
  using (tenant = (select current_tenant())) with check (tenant = (select current_tenant()));
drop policy tenant on approvals;
create policy tenant on approvals
  using (tenant = (select current_tenant())) with check (tenant = (select current_tenant()));
drop policy tenant on votes;
create policy tenant on votes
  using (tenant = (select current_tenant())) with check (tenant = (select current_tenant()));
drop policy tenant on principals;
create policy tenant on principals
  using (tenant = (select current_tenant())) with check (tenant = (select current_tenant()));
drop policy tenant on keys;
create policy tenant on keys
  using (tenant = (select current_tenant())) with check (tenant = (select current_tenant()));
drop policy tenant on authority;
create policy tenant on authority
  using (tenant = (select current_tenant())) with check (tenant = (select current_tenant()));
drop policy tenant on kills;
create policy tenant on kills
  using (tenant = (select current_tenant())) with check (tenant = (select current_tenant()));
drop policy own on requests;
create policy own on requests
  using (tenant = (select current_tenant()) and principal = (select current_principal()))
  with check (tenant = (select current_tenant()) and principal = (select current_principal()));
drop policy own on model_calls;
create policy own on model_calls for select
  using (tenant = (select current_tenant()) and exists (
    select 1 from runs r
     where r.id = run and r.tenant = (select current_tenant()) and r.requester = (select current_principal())));
drop policy owner on model_calls;
create policy owner on model_calls to cs_owner
  using (tenant = (select current_tenant())) with check (tenant = (select current_tenant()));
drop policy tenant on journal_news;
create policy tenant on journal_news
  using (tenant = (select current_tenant())) with check (tenant = (select current_tenant()));
drop policy scope on memory_links;
create policy scope on memory_links
  using (tenant = (select current_tenant())
         and (scope = any ((select current_reads())::text[]) or scope = any ((select current_writes())::text[])))
  with check (tenant = (select current_tenant()) and scope = any ((select current_writes())::text[])
              and exists (select 1 from memories m where m.tenant = (select current_tenant()) and m.id = memory));
drop policy seer on memory_seen;
create policy seer on memory_seen
  using (tenant = (select current_tenant())
         and (seer = any ((select current_reads())::text[]) or seer = any ((select current_writes())::text[])))
  with check (tenant = (select current_tenant())
              and (seer = any ((select current_reads())::text[]) or seer = any ((select current_writes())::text[]))
              and exists (select 1 from memories m where m.tenant = (select current_tenant()) and m.id = memory));

-- Lists, newest first, and what a run, a thread or a question asks for.
drop index runs_recent;
create index runs_recent on runs (tenant, created desc, id desc);
create index runs_of_thread on runs (tenant, thread, created);
create index effects_recent on effects (tenant, claimed desc, id);
create index effects_not_done on effects (tenant, state, claimed desc, id) where state <> 'done';
create index effects_reversing on effects (tenant, compensates) where compensates is not null or frees <> '[]';
create index approvals_of_run on approvals (run, round);
drop index approvals_recent;
create index approvals_recent on approvals (tenant, opened desc, id desc);
create index approvals_open on approvals (tenant, opened desc, id desc) where status = 'open';
create index approvals_by_status on approvals (tenant, status, opened desc, id desc);
drop index requests_age;
create index requests_age on requests (tenant, principal, created);
drop index memory_archive_scope;
create index memory_archive_scope on memory_archive (tenant, scope, pruned desc, id desc);
drop index memories_scope;
create index memories_scope on memories (scope, tenant, created desc, id desc);
-- By embedder alone: else whoever asks for a scope may be led through it.
drop index memories_embedder;
create index memories_embedder on memories (embedder) include (tenant, scope);
create index transcripts_recent on transcripts (tenant, archived desc, thread desc);

-- The summary that a run left, which its next ending replaces.
alter table memories add column summary_of text generated always as (
  case when key is null and provenance -> 'facts' ? 'status' then left(provenance ->> 'run', 200) end) stored;
alter table memories alter column summary_of set statistics 0;
create index memories_summaries on memories (tenant, scope, summary_of) where summary_of is not null;

-- By which rules the words of a memory were written: 0 are those before texts were folded (memory/store/write.sql), where
-- they differ. Workers write these anew (memory/maintenance/reembedding.py).
alter table memories add column posted smallint not null default 1;
alter table memories no force row level security;
update memories set posted = 0
 where concat_ws(' ', speaker, key, body) ~ '[^\u0001-\u007f]' or body ~ '[0-9],[0-9]{3}' or body ~* '\mv[0-9]+\.[0-9]';
alter table memories force row level security;
create index memories_unposted on memories (tenant, scope) where posted = 0;

-- What it did is done before the row is there (memory/store/write.sql).
drop trigger if exists memories_post on memories;
drop function if exists post_memory();

-- The planner puts a function in place of its call only if it is not `strict`, which here changes no answer: the root of
-- nothing is null either way.
alter function word_root(text) called on null input;

-- Runs whose thread was archived, or whose thread another run stands for: whoever looks for threads at rest passes them
-- by. A run that is not marked stands for its thread.
alter table runs add column shelved timestamptz;
create index runs_at_rest on runs (ended) where kind = 'run' and shelved is null and ended is not null;

-- Scopes that memories were added to since somebody counted them.
create table memory_growth (
  tenant text not null,
  scope text not null
);
comment on table memory_growth is 'a row for each statement that added memories, until the scope was counted; of the system alone';
alter table memory_growth alter column tenant set statistics 0, alter column scope set statistics 0;
alter table memory_growth enable row level security, force row level security;
create policy system on memory_growth to cs_system using (true) with check (true);
create policy owner on memory_growth to cs_owner using (true) with check (true);
grant select, insert, delete on memory_growth to cs_system;
-- Row security is lifted for this statement, since the owner has entered no tenant.
alter table memories no force row level security;
insert into memory_growth (tenant, scope) select distinct tenant, scope from memories;
alter table memories force row level security;

-- Without samples of its columns (0025) the planner takes every condition for equally selective, and in a small table any
-- index for the right one. How distinct columns are is said here and never measured: a tenant selects nothing, an id one
-- row. Before version 18 nobody but an administrator can say it, and plans are made without.
do $$
declare v record;
begin
  if current_setting('server_version_num')::int < 180000 then return; end if;
  for v in select c.relname as relation, a.attname as name, case
                    when a.attname = 'tenant' then 1
                    when a.attname in ('id', 'jti', 'digest', 'key', 'mark', 'handle', 'lexeme', 'hash') then -1
                    when a.attname in ('root', 'near') then -0.5
                    when a.attname in ('scope', 'scope_id', 'seer', 'principal') then -0.02
                    when c.relname in ('journal', 'log_leaves', 'memory_postings') or c.relname like 'checkpoint%' then -0.1
                    else -0.5 end as distinctness
             from pg_class c join pg_attribute a on a.attrelid = c.oid
            where c.relnamespace = 'public'::regnamespace and c.relkind = 'r' and not a.attisdropped
              and a.attstattarget = 0 and c.relname not in ('tenants', 'memory_growth')
              and a.attname in ('tenant', 'id', 'jti', 'digest', 'key', 'mark', 'handle', 'lexeme', 'hash', 'root', 'near',
                                'scope', 'scope_id', 'seer', 'principal', 'run', 'thread', 'thread_id', 'checkpoint_id', 'approval',
                                'effect', 'memory', 'summary_of')
  loop
    perform pg_restore_attribute_stats('schemaname', 'public', 'relname', v.relation::text, 'attname', v.name::text, 'inherited',
      false, 'null_frac', 0::real, 'avg_width', 20, 'n_distinct', v.distinctness::real);
  end loop;
end $$;
