-- Stamps of governed rows (memory/evidence/rows.sql): one number for each, so that the latest of a row can be told whatever
-- chain it stands in.
create sequence row_stamps;

-- Tenants whose rows from before there were stamps have not been stamped yet.
alter table tenants add column adopted boolean not null default true;
update tenants set adopted = false;

-- The checkpoint from which a question was asked; votes on it name it.
alter table approvals add column checkpoint text;

-- Their successors answer with the round, write the entry themselves, and are told whose runs a person refused.
drop function if exists keep_proposal(approvals, jsonb);
drop function if exists spend(text, jsonb);
drop function if exists forget_words(text, text[]);
