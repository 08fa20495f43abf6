-- Who exists: tenants, people and services, and the hashes of their keys.

create table tenants (
  id text primary key check (id ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
  created timestamptz not null default clock_timestamp()
);

create table principals (
  tenant text not null references tenants,
  id text not null check (id ~ '^[a-z0-9][a-z0-9._@-]{0,62}$'),
  groups text[] not null default '{}',
  limit_alone bigint not null default 0 check (limit_alone >= 0),
  limit_joint bigint not null default 0 check (limit_joint >= 0),
  created timestamptz not null default clock_timestamp(),
  primary key (tenant, id)
);

create table keys (
  id text primary key default gen_random_uuid()::text,
  tenant text not null,
  principal text not null,
  hash bytea not null unique,
  label text not null default '',
  created timestamptz not null default clock_timestamp(),
  expires timestamptz,
  revoked timestamptz,
  foreign key (tenant, principal) references principals
);

alter table principals enable row level security;
alter table principals force row level security;
alter table keys enable row level security;
alter table keys force row level security;
create policy tenant on principals using (tenant = current_tenant()) with check (tenant = current_tenant());
create policy tenant on keys using (tenant = current_tenant()) with check (tenant = current_tenant());
create policy system on principals to cs_system using (true);
create policy system on keys to cs_system using (true);
grant select on principals, keys to cs_app, cs_system;
grant select on tenants to cs_app, cs_system;
grant usage on schema public to cs_system;

-- Finds whose key this is, before anybody has been entered.
create function principal_of_key(p_hash bytea)
returns table (tenant text, id text, groups text[], limit_alone bigint, limit_joint bigint, standing text)
language sql stable security definer set search_path = public, pg_temp as $$
  select p.tenant, p.id, p.groups, p.limit_alone, p.limit_joint,
         case when k.revoked is not null then 'revoked'
              when k.expires <= clock_timestamp() then 'expired' else 'valid' end
    from keys k join principals p on p.tenant = k.tenant and p.id = k.principal
   where k.hash = p_hash
$$;

-- Creates or changes a person of the entered tenant.
create function put_principal(p_id text, p_groups text[], p_alone bigint, p_joint bigint)
returns table (id text) language sql security definer set search_path = public, pg_temp as $$
  insert into principals (tenant, id, groups, limit_alone, limit_joint)
  values (current_tenant(), p_id, p_groups, p_alone, p_joint)
  on conflict (tenant, id) do update
     set groups = excluded.groups, limit_alone = excluded.limit_alone, limit_joint = excluded.limit_joint
  returning principals.id
$$;

create function create_key(p_principal text, p_hash bytea, p_label text, p_expires timestamptz)
returns table (id text) language sql security definer set search_path = public, pg_temp as $$
  insert into keys (tenant, principal, hash, label, expires)
  values (current_tenant(), p_principal, p_hash, p_label, p_expires) returning keys.id
$$;

create function revoke_key(p_id text)
returns table (id text) language sql security definer set search_path = public, pg_temp as $$
  update keys set revoked = coalesce(revoked, clock_timestamp()) where keys.id = p_id returning keys.id
$$;

revoke execute on function principal_of_key(bytea), put_principal(text, text[], bigint, bigint),
  create_key(text, bytea, text, timestamptz), revoke_key(text) from public;
grant execute on function principal_of_key(bytea), put_principal(text, text[], bigint, bigint),
  create_key(text, bytea, text, timestamptz), revoke_key(text) to cs_app;

-- Last, because only the owner may say who executes.
grant create on schema public to cs_system;
alter function principal_of_key(bytea) owner to cs_system;
revoke create on schema public from cs_system;
