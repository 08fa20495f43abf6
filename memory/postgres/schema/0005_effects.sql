-- What agents did: one row per natural key, written only through the functions of tools/effects.sql, and the permits by
-- which the business service lets it happen.

create table effects (
  tenant text not null,
  id text primary key default gen_random_uuid()::text,
  run text not null references runs,
  step text not null,
  role text not null,
  tool text not null,
  user_id text not null,
  key text not null,
  generation int not null default 0,
  digest text not null,
  args jsonb not null,
  args_hash text not null,
  amount bigint not null default 0,
  plan_hash text not null,
  policy text not null,
  approval text,
  permit text not null,
  fence int not null,
  attempts int not null default 1,
  state text not null default 'claimed'
    check (state in ('claimed', 'done', 'failed', 'unverified', 'in_doubt', 'compensated')),
  outcome jsonb,
  cost jsonb not null,
  claimed timestamptz not null default clock_timestamp(),
  settled timestamptz
);
-- A failed or compensated effect is over: the same business event may be attempted again, as a new generation.
create unique index effects_one_per_key on effects (tenant, key)
  where state in ('claimed', 'done', 'unverified', 'in_doubt');
create unique index effects_by_generation on effects (tenant, key, generation);
create index effects_of_run on effects (run, claimed);
alter table effects alter column args set statistics 0, alter column outcome set statistics 0;
alter table effects enable row level security, force row level security;
create policy tenant on effects using (tenant = current_tenant()) with check (tenant = current_tenant());
grant select on effects to cs_app;

-- Permits belong to neither side: claim issues them, the business service consumes them.
create schema permits;
create table permits.permit (
  jti text primary key,
  tenant text not null,
  tool text not null,
  args_hash text not null,
  subject text not null,
  actor text not null,
  run text not null,
  effect text not null,
  expires timestamptz not null,
  consumed timestamptz
);
create index permit_open on permits.permit (effect) where consumed is null;
grant usage on schema permits to cs_world;
