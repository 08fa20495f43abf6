-- A run names its flow, and a worker leads only flows that it knows.
alter table runs add column flow text not null default 'governed' check (flow ~ '^[a-z][a-z0-9_]{0,39}$');

-- Their successors are told which flows the worker knows.
drop function if exists lease_run(text, int);
drop function if exists forgotten_runs(interval);
