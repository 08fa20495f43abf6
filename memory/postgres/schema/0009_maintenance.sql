-- What workers do in the background, and its log. Owned by memory/maintenance.

create table housekeeping (
  duty text primary key check (length(duty) between 1 and 60),
  done timestamptz,
  failed timestamptz,
  trouble text not null default '' check (length(trouble) <= 100)
);
comment on table housekeeping is
  'when each duty of the workers was last done, and when it last failed at what; of no tenant';
alter table housekeeping enable row level security, force row level security;
create policy system on housekeeping to cs_system using (true) with check (true);
grant select, insert, update on housekeeping to cs_system;
