-- Who wrote what a round asks for, besides its requester: the people who edited it.
alter table approvals add column authors text[] not null default '{}';
