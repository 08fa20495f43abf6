-- Texts that entries of the journal name by their hash: sets of policies, and descriptions of the tools they judged. A
-- text is its own address, so that nobody can put another one in its place.
create table texts (
  tenant text not null default current_tenant(),
  kind text not null check (kind in ('policy', 'cards')),
  hash text not null check (hash = encode(sha256(convert_to(text, 'UTF8')), 'hex')),
  text text not null,
  at timestamptz not null default clock_timestamp(),
  primary key (tenant, kind, hash)
);
alter table texts alter column text set statistics 0;
alter table texts enable row level security, force row level security;
create policy tenant on texts
  using (tenant = (select current_tenant())) with check (tenant = (select current_tenant()));
grant select on texts to cs_app;

-- Where the step that kept a result started from; null in rows from before.
alter table results add column checkpoint text;
