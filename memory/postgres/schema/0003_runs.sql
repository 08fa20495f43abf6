-- Runs and what they leave: rows and leases, checkpoints, results, transcripts, model calls, answered requests. Owned
-- by memory/runs.

create sequence worker_numbers as int;
grant usage on sequence worker_numbers to cs_app;

-- The run row is lease, chain head, budget and queue entry in one; the journal is its append-only story.
create table runs (
  tenant text not null,
  id text primary key,
  kind text not null default 'run' check (kind in ('run', 'authority')),
  thread text not null,
  requester text check (kind = 'authority' or requester is not null),
  status text not null default 'queued'
    check (status in ('queued', 'running', 'waiting', 'done', 'failed', 'denied', 'stopped', 'cancelled')),
  reason text,
  message text not null default '',
  input jsonb not null,
  answers jsonb not null default '[]',
  correlation text not null,
  plan jsonb,
  plan_hash text,
  waits_for text,
  attempt int not null default 1,
  fence int not null default 0,
  worker int,
  beat timestamptz,
  cancel text,
  seq int not null default 0,
  head bytea not null,
  limit_tokens bigint not null, spent_tokens bigint not null default 0, reserved_tokens bigint not null default 0,
  limit_micros bigint not null, spent_micros bigint not null default 0, reserved_micros bigint not null default 0,
  limit_calls bigint not null, spent_calls bigint not null default 0, reserved_calls bigint not null default 0,
  spent_millis bigint not null default 0,
  created timestamptz not null default clock_timestamp(),
  ended timestamptz,
  foreign key (tenant, requester) references principals
);
create unique index runs_one_open_per_thread on runs (tenant, thread)
  where kind = 'run' and status in ('queued', 'running', 'waiting');
create index runs_recent on runs (tenant, created desc);
create index runs_active on runs (status) where status in ('queued', 'running');
alter table runs alter column thread set statistics 0, alter column message set statistics 0,
  alter column input set statistics 0, alter column answers set statistics 0,
  alter column correlation set statistics 0, alter column plan set statistics 0, alter column cancel set statistics 0;
alter table runs enable row level security, force row level security;
create policy tenant on runs using (tenant = current_tenant()) with check (tenant = current_tenant());
-- Leases and sweeps work for whichever tenant has work.
create policy system on runs to cs_system using (true) with check (true);
grant select on runs to cs_app;
grant select, update on runs to cs_system;

-- What was answered to requests that carry an Idempotency-Key, so that a repeated one is answered alike. A row is
-- written in the transaction that does the work: there is never an answer without it, nor it without the answer.
create table requests (
  tenant text not null default current_tenant(),
  principal text not null default current_principal(),
  key text not null check (length(key) between 1 and 200),
  route text not null,
  hash text not null check (hash ~ '^[0-9a-f]{64}$'),
  answer jsonb not null,
  created timestamptz not null default clock_timestamp(),
  primary key (tenant, principal, key)
);
create index requests_age on requests (created);
alter table requests alter column key set statistics 0, alter column answer set statistics 0;
alter table requests enable row level security, force row level security;
create policy own on requests
  using (tenant = current_tenant() and principal = current_principal())
  with check (tenant = current_tenant() and principal = current_principal());
-- The owner's functions forget a person, whoever asked for it.
create policy erases on requests to cs_owner
  using (tenant = (select current_tenant())) with check (tenant = (select current_tenant()));
grant select, insert, delete on requests to cs_app;

-- Large results by handle; rows are kept as canonical text, so that their digest can be computed again anywhere.
create table results (
  tenant text not null default current_tenant(),
  handle text not null check (handle ~ '^h_[0-9a-f]{24}$'),
  run text not null check (run <> ''),
  name text not null check (name <> ''),
  count int not null check (count >= 0),
  total bigint not null,
  digest text not null check (digest ~ '^[0-9a-f]{64}$'),
  shape jsonb not null,
  created timestamptz not null default clock_timestamp(),
  primary key (tenant, handle)
);
create index results_of_run on results (tenant, run);
alter table results alter column name set statistics 0, alter column shape set statistics 0;
alter table results enable row level security, force row level security;
create policy tenant on results
  using (tenant = (select current_tenant())) with check (tenant = (select current_tenant()));
grant select, insert on results to cs_app;

-- No foreign key: rows are written before the header that makes them readable, and 60,000 checks would cost more than
-- the insert. Both tables can only grow, and a reader compares the digest.
create table result_rows (
  tenant text not null default current_tenant(),
  handle text not null,
  ord int not null check (ord >= 0),
  amount bigint not null,
  row text not null,
  primary key (tenant, handle, ord)
);
alter table result_rows alter column row set statistics 0;
alter table result_rows enable row level security, force row level security;
create policy tenant on result_rows
  using (tenant = (select current_tenant())) with check (tenant = (select current_tenant()));
grant select, insert on result_rows to cs_app;

-- What language models were asked and answered, and the tokens set aside before each call (tools/token_budget.sql).
create table model_calls (
  tenant text not null,
  id bigint generated always as identity primary key,
  run text not null references runs,
  role text not null,
  reserved bigint not null,
  used bigint,
  prompt_digest text,
  prompt text,
  answer text,
  asked timestamptz not null default clock_timestamp()
);
create index model_calls_of_run on model_calls (run, id);
alter table model_calls alter column prompt set statistics 0, alter column answer set statistics 0;
alter table model_calls enable row level security, force row level security;
create policy tenant on model_calls using (tenant = current_tenant()) with check (tenant = current_tenant());
grant select on model_calls to cs_app;

-- Where each run's graph stands: the tables of LangGraph's own Postgres saver, so that its readers understand them,
-- with a tenant in every key, and written only by functions that know who leads the run (memory/runs/checkpoints.sql).
create table checkpoint_migrations (v integer primary key);
insert into checkpoint_migrations select generate_series(0, 9);
grant select on checkpoint_migrations to cs_app;

create table checkpoints (
  tenant text not null default current_tenant(),
  thread_id text not null,
  checkpoint_ns text not null default '',
  checkpoint_id text not null,
  parent_checkpoint_id text,
  type text,
  checkpoint jsonb not null,
  metadata jsonb not null default '{}',
  primary key (tenant, thread_id, checkpoint_ns, checkpoint_id)
);
alter table checkpoints alter column thread_id set statistics 0, alter column checkpoint set statistics 0,
  alter column metadata set statistics 0;
alter table checkpoints enable row level security, force row level security;
create policy tenant on checkpoints
  using (tenant = (select current_tenant())) with check (tenant = (select current_tenant()));
-- Which threads have checkpoints left to archive.
create policy looks on checkpoints for select to cs_system using (true);
grant select on checkpoints to cs_app, cs_system;

create table checkpoint_blobs (
  tenant text not null default current_tenant(),
  thread_id text not null,
  checkpoint_ns text not null default '',
  channel text not null,
  version text not null,
  type text not null,
  blob bytea,
  primary key (tenant, thread_id, checkpoint_ns, channel, version)
);
alter table checkpoint_blobs alter column thread_id set statistics 0, alter column blob set statistics 0;
alter table checkpoint_blobs enable row level security, force row level security;
create policy tenant on checkpoint_blobs
  using (tenant = (select current_tenant())) with check (tenant = (select current_tenant()));
grant select on checkpoint_blobs to cs_app;

create table checkpoint_writes (
  tenant text not null default current_tenant(),
  thread_id text not null,
  checkpoint_ns text not null default '',
  checkpoint_id text not null,
  task_id text not null,
  idx integer not null,
  channel text not null,
  type text,
  blob bytea not null,
  task_path text not null default '',
  primary key (tenant, thread_id, checkpoint_ns, checkpoint_id, task_id, idx)
);
alter table checkpoint_writes alter column thread_id set statistics 0, alter column blob set statistics 0;
alter table checkpoint_writes enable row level security, force row level security;
create policy tenant on checkpoint_writes
  using (tenant = (select current_tenant())) with check (tenant = (select current_tenant()));
grant select on checkpoint_writes to cs_app;

-- Threads at rest, compressed; null once the retention has ended.
create table transcripts (
  tenant text not null default current_tenant(),
  thread text not null,
  content bytea,
  size bigint not null,
  digest text not null,
  archived timestamptz not null default clock_timestamp(),
  retained_until timestamptz not null,
  restored timestamptz,
  hold boolean not null default false,
  gone timestamptz,
  primary key (tenant, thread),
  check ((content is null) = (gone is not null))
);
comment on column transcripts.size is 'bytes of values in the rows it replaced, without their keys and indexes';
create index transcripts_due on transcripts (retained_until) where content is not null and not hold;
-- It is compressed already.
alter table transcripts alter column content set storage external,
  alter column thread set statistics 0, alter column content set statistics 0;
alter table transcripts enable row level security, force row level security;
create policy tenant on transcripts
  using (tenant = (select current_tenant())) with check (tenant = (select current_tenant()));
create policy system on transcripts to cs_system
  using (retained_until <= clock_timestamp() and not hold) with check (content is null);
create policy looks on transcripts for select to cs_system using (true);
grant select on transcripts to cs_app;
grant select, update on transcripts to cs_system;
