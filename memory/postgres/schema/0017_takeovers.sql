-- An edit that its author alone could approve is kept as a proposal, which the requester may take over.
alter table approvals
  -- By whom, what, why, and the nonce of it.
  add column proposal jsonb,
  -- The requester, once they made an edit a request of their own.
  add column taken_over_by text;
alter table approvals alter column proposal set statistics 0;

-- By which key a vote came; null where none was asked for, and in votes from before.
alter table votes add column key text;

-- Questions that wait while the release changes: publishers of what they rest on become authors there as well. The
-- owner has entered no tenant here, so row security is lifted for these statements.
alter table approvals no force row level security;
alter table knowledge no force row level security;
alter table principals no force row level security;
update approvals a set authors = array(
  select x from unnest(a.authors) x union
  select k.published_by from jsonb_to_recordset(a.pins) as p (id text, version int)
    join knowledge k on k.tenant = a.tenant and k.id = p.id and k.version = p.version
    join principals q on q.tenant = k.tenant and q.id = k.published_by)
 where a.status = 'open';
alter table approvals force row level security;
alter table knowledge force row level security;
alter table principals force row level security;
