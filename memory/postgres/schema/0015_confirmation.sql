-- A state that was set and is so no more is set anew under the same key: the effect before it stays on record, and names
-- the one that took its place.
alter table effects add column superseded_by text;
drop index effects_one_per_key;
create unique index effects_one_per_key on effects (tenant, key)
  where state in ('claimed', 'done', 'unverified', 'in_doubt') and superseded_by is null;

-- Questions about what was done, besides those about what is to be done: they can also be answered by taking it back.
alter table approvals add column kind text not null default 'action' check (kind in ('action', 'audit'));
alter table approvals drop constraint approvals_status_check, add constraint approvals_status_check
  check (status in ('open', 'approved', 'rejected', 'edited', 'taken_back', 'expired', 'void'));
alter table votes drop constraint votes_decision_check, add constraint votes_decision_check
  check (decision in ('approve', 'reject', 'edit', 'take_back'));

-- Its successor takes how often each tool is looked at from the tool's card.
drop function if exists take_doubts(text[], int, int);

-- The run whose request a fork carries out: the keys of its writes are that run's.
alter table runs add column origin text;

-- The keys of what an effect takes back once it is done, whoever finds that out, and the effect that its plan names.
alter table effects add column frees jsonb not null default '[]', add column compensates text;
