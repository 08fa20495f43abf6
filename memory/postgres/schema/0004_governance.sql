-- Who may, what people decided, what was recorded. Owned by memory/governance; the stop switch is used by
-- tools/kills.py.

-- The policy set in force.
create table authority (
  tenant text primary key references tenants,
  policy text not null,
  changed timestamptz not null default clock_timestamp()
);
alter table authority enable row level security, force row level security;
create policy tenant on authority using (tenant = current_tenant()) with check (tenant = current_tenant());
grant select on authority to cs_app;

create table kills (
  tenant text not null references tenants,
  kind text not null check (kind in ('all', 'run', 'agent', 'tool', 'user')),
  name text not null default '',
  reason text not null default '',
  by text not null,
  at timestamptz not null default clock_timestamp(),
  primary key (tenant, kind, name)
);
alter table kills alter column reason set statistics 0;
alter table kills enable row level security, force row level security;
create policy tenant on kills using (tenant = current_tenant()) with check (tenant = current_tenant());
grant select on kills to cs_app;

-- One approval is a list of resolved action digests.
create table approvals (
  tenant text not null,
  id text primary key,
  run text not null references runs,
  round int not null,
  requester text not null,
  status text not null default 'open'
    check (status in ('open', 'approved', 'rejected', 'edited', 'expired', 'void')),
  reason text,
  need int not null check (need >= 1),
  groups text[] not null,
  requester_excluded boolean not null,
  nonce text not null,
  exposure bigint not null,
  step text not null,
  plan_hash text not null,
  policy text not null,
  rules jsonb not null,
  pins jsonb not null,
  shown jsonb not null,
  edited jsonb,
  decided_by text,
  opened timestamptz not null default clock_timestamp(),
  expires timestamptz not null,
  decided timestamptz,
  valid_until timestamptz
);
create unique index approvals_one_open_per_run on approvals (run) where status = 'open';
create index approvals_recent on approvals (tenant, opened desc);
alter table approvals alter column shown set statistics 0, alter column edited set statistics 0,
  alter column reason set statistics 0;
alter table approvals enable row level security, force row level security;
create policy tenant on approvals using (tenant = current_tenant()) with check (tenant = current_tenant());
-- Which questions are overdue, in whatever tenant.
create policy system on approvals to cs_system using (true);
grant select on approvals to cs_app, cs_system;

create table approval_items (
  tenant text not null,
  approval text not null references approvals,
  digest text not null,
  step text not null,
  tool text not null,
  amount bigint not null,
  consumed timestamptz,
  effect text,
  primary key (approval, digest)
);
alter table approval_items enable row level security, force row level security;
create policy tenant on approval_items
  using (tenant = (select current_tenant())) with check (tenant = (select current_tenant()));
grant select on approval_items to cs_app;

create table votes (
  tenant text not null,
  approval text not null references approvals,
  approver text not null,
  decision text not null check (decision in ('approve', 'reject', 'edit')),
  reason text not null,
  channel text not null,
  nonce text not null,
  at timestamptz not null default clock_timestamp(),
  primary key (approval, approver)
);
alter table votes alter column reason set statistics 0;
alter table votes enable row level security, force row level security;
create policy tenant on votes using (tenant = current_tenant()) with check (tenant = current_tenant());
grant select on votes to cs_app;

-- Entries chained by hash; their words stand beside the chain, which holds a salted digest of them, so that words can
-- be forgotten and the chain still holds. The triggers that keep it append-only stand in memory/governance/journal.sql.
create table journal (
  tenant text not null,
  run text not null references runs,
  seq int not null,
  prev bytea not null,
  hash bytea not null,
  body text not null,
  kind text not null generated always as ((body::jsonb) ->> 'kind') stored,
  key text generated always as ((body::jsonb) ->> 'key') stored,
  effect text generated always as ((body::jsonb) ->> 'effect') stored,
  call_hash text generated always as ((body::jsonb) ->> 'call') stored,
  words text,
  salt uuid,
  author text,
  primary key (run, seq),
  constraint journal_words_salted check ((words is null) = (salt is null))
);
comment on column journal.words is 'the rest of the body as text; null if there is none, or if it was forgotten';
comment on column journal.author is 'who said it, if that is no part of the machinery; for forgetting alone';
create unique index journal_once on journal (run, key) where key is not null;
create index journal_effect on journal (effect) where effect is not null;
create index journal_calls on journal (run, call_hash) where call_hash is not null;
create index journal_words_by on journal (tenant, author) where words is not null and author is not null;
alter table journal alter column words set statistics 0;
alter table journal enable row level security, force row level security;
create policy tenant on journal
  using (tenant = (select current_tenant())) with check (tenant = (select current_tenant()));
grant select on journal to cs_app;

-- What came of each step, read from what is on record anyway: a step of several batches is one row. Row security is
-- that of the journal, for whoever asks. Read by memory/runs/outcomes.py.
create view step_outcomes with (security_invoker = true) as
with told as (
  select distinct on (j.run, j.body::jsonb ->> 'step')
         j.tenant, j.run, j.seq, split_part(j.body::jsonb ->> 'step', '#', 1) as step, j.kind, j.body::jsonb as body,
         min(j.seq) over (partition by j.run, split_part(j.body::jsonb ->> 'step', '#', 1)) as first
    from journal j
   where j.kind in ('read', 'outcome', 'resolved', 'skipped', 'denied') and j.body::jsonb ? 'step'
   order by j.run, j.body::jsonb ->> 'step', j.seq desc
)
select tenant, run, step, min(first) as first, max(body ->> 'tool') as tool,
       (array_agg(coalesce(body ->> 'state', kind)
                  order by coalesce(body ->> 'state', kind) not in ('done', 'skipped') desc, seq desc))[1] as status,
       coalesce(sum((body #>> '{cost,millis}')::bigint), 0)::bigint as duration,
       jsonb_build_object('calls', coalesce(sum((body #>> '{cost,calls}')::bigint), 0),
                          'tokens', coalesce(sum((body #>> '{cost,tokens}')::bigint), 0),
                          'micros', coalesce(sum((body #>> '{cost,micros}')::bigint), 0)) as cost,
       coalesce(array_agg(coalesce(body ->> 'effect', body ->> 'checkpoint') order by seq)
                filter (where coalesce(body ->> 'effect', body ->> 'checkpoint') is not null), '{}') as pointers
  from told group by tenant, run, step;
comment on view step_outcomes is 'duration in milliseconds; pointers are effects, or the checkpoint of a read';
grant select on step_outcomes to cs_app;
