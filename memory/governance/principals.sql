-- People, their groups and their keys. Called by principals.py, and by all functions that ask for a group.

-- Whether the installation itself was entered: a name that no person bears, which only our own processes can enter as.
create or replace function is_installation() returns boolean
language sql stable security definer set search_path = public, pg_temp as $$
  select current_principal() = 'countersign'
     and not exists (select 1 from principals p where p.id = current_principal())
$$;
revoke execute on function is_installation() from public;

-- Whether the entered person is in one of these groups: by the table, never by what a request says of itself.
create or replace function is_of(p_groups text[]) returns boolean
language sql stable security definer set search_path = public, pg_temp as $$
  select exists (select 1 from principals p where p.id = current_principal() and p.groups && p_groups)
$$;
revoke execute on function is_of(text[]) from public;

-- Refuses whoever is neither of one of the groups nor the installation.
create or replace function demand_group(p_groups text[], p_to text) returns void
language plpgsql stable set search_path = public, pg_temp as $$
begin
  if session_user <> 'cs_owner' and not is_of(p_groups) and not is_installation() then
    raise exception 'only % may %', array_to_string(p_groups, ', '), p_to using errcode = 'insufficient_privilege';
  end if;
end $$;
revoke execute on function demand_group(text[], text) from public;

-- Creates or changes a person of the entered tenant. Who belongs to a group decides who may permit, so only the owner
-- puts people in place.
create or replace function put_principal(p_id text, p_groups text[], p_alone bigint, p_joint bigint)
returns table (id text) language sql security definer set search_path = public, pg_temp as $$
  insert into principals (tenant, id, groups, limit_alone, limit_joint)
  values (current_tenant(), p_id, p_groups, p_alone, p_joint)
  on conflict (tenant, id) do update
     set groups = excluded.groups, limit_alone = excluded.limit_alone, limit_joint = excluded.limit_joint
  returning principals.id
$$;
revoke execute on function put_principal(text, text[], bigint, bigint) from public;

-- People and keys decide who may permit, so every change of them leaves an entry in the chain of authority, also where
-- the owner writes to the tables directly. Nobody is kept from it; it is shown. The channel is the database role.
create or replace function journal_person() returns trigger language plpgsql set search_path = public, pg_temp as $$
declare v_old jsonb := '{}'; v_new jsonb := '{}'; v_changed jsonb;
begin
  if tg_op <> 'INSERT' then v_old := to_jsonb(old) - array['created']; end if;
  if tg_op <> 'DELETE' then v_new := to_jsonb(new) - array['created']; end if;
  select jsonb_object_agg(n.name, jsonb_build_object('was', v_old -> n.name, 'is', v_new -> n.name)) into v_changed
    from jsonb_object_keys(v_old || v_new) as n (name)
   where n.name not in ('tenant', 'id') and v_old -> n.name is distinct from v_new -> n.name;
  if v_changed is null and v_old ->> 'id' = v_new ->> 'id' then return null; end if;
  perform journal_extend(authority_chain_of((v_old || v_new) ->> 'tenant'), jsonb_build_object('kind',
    case tg_op when 'INSERT' then 'person_added' when 'DELETE' then 'person_removed' else 'person_changed' end,
    'person', (v_old || v_new) ->> 'id', 'changed', v_changed,
    'by', coalesce(current_principal(), session_user), 'channel', session_user,
    'rows', case when tg_op <> 'DELETE' then jsonb_build_array(governed_row(new)) else '[]' end
      || case when v_old ->> 'id' is distinct from v_new ->> 'id' and tg_op <> 'INSERT'
              then jsonb_build_array(deleted_row('principals', v_old ->> 'id')) else '[]' end));
  return null;
end $$;
revoke execute on function journal_person() from public;
create or replace trigger principals_journal after insert or update or delete on principals
  for each row execute function journal_person();

-- Forgotten labels leave no entry; of claims that came too late the first twenty do, since whoever has a used code can
-- send it as often as they like.
create or replace function journal_key() returns trigger language plpgsql set search_path = public, pg_temp as $$
declare v_kind text; v keys := coalesce(new, old);
begin
  v_kind := case
    when tg_op = 'INSERT' then 'key_created'
    when tg_op = 'DELETE' then 'key_deleted'
    when new.claimed is not null and old.claimed is null then 'key_claimed'
    when new.revoked is not null and old.revoked is null then 'key_revoked'
    when new.refusals > old.refusals then case when new.refusals <= 20 then 'key_claim_refused' end
    when to_jsonb(new) - array['label'] <> to_jsonb(old) - array['label'] then 'key_changed' end;
  if v_kind is not null then
    perform journal_extend(authority_chain_of(v.tenant), jsonb_build_object('kind', v_kind, 'id', v.id,
      'person', v.principal, 'status', case when v.hash is null then 'claim' else 'usable' end, 'expires', v.expires,
      'by', coalesce(current_principal(), session_user), 'channel', session_user,
      'rows', jsonb_build_array(case tg_op when 'DELETE' then deleted_row('keys', v.id) else governed_row(v) end)));
  end if;
  return null;
end $$;
revoke execute on function journal_key() from public;
create or replace trigger keys_journal after insert or update or delete on keys
  for each row execute function journal_key();

-- What people do against the machinery's word, here and below, is for the groups that may, whatever else the app's role
-- was brought to ask. A key that works at once is for oneself; the owner may make any.
create or replace function create_key(p_principal text, p_hash bytea, p_label text, p_expires timestamptz)
returns table (id text) language plpgsql security definer set search_path = public, pg_temp as $$
begin
  perform demand_group(array['admin'], 'make keys');
  if session_user <> 'cs_owner' and p_principal is distinct from current_principal() then
    raise exception 'a key for somebody else begins as a code that they claim'
      using errcode = 'insufficient_privilege';
  end if;
  return query insert into keys (tenant, principal, hash, label, expires, made_by)
    values (current_tenant(), p_principal, p_hash, p_label, p_expires, current_principal()) returning keys.id;
end $$;
revoke execute on function create_key(text, bytea, text, timestamptz) from public;
grant execute on function create_key(text, bytea, text, timestamptz) to cs_app;

-- Makes a key that is worth nothing until its person claims it.
create or replace function create_claim(p_principal text, p_claim bytea, p_label text, p_expires timestamptz)
returns table (id text, claim_until timestamptz)
language plpgsql security definer set search_path = public, pg_temp as $$
begin
  perform demand_group(array['admin'], 'make keys');
  return query insert into keys (tenant, principal, claim, claim_until, label, expires, made_by)
    values (current_tenant(), p_principal, p_claim, clock_timestamp() + interval '7 days', p_label, p_expires,
            current_principal()) returning keys.id, keys.claim_until;
end $$;
revoke execute on function create_claim(text, bytea, text, timestamptz) from public;
grant execute on function create_claim(text, bytea, text, timestamptz) to cs_app;

-- Gives a claimed key its secret, once: as its person, or as the owner in their name. `taken` is when it was.
create or replace function claim_key(p_claim bytea, p_hash bytea)
returns table (code text, id text, person text, taken timestamptz)
language plpgsql security definer set search_path = public, pg_temp as $$
declare v keys;
begin
  select * into v from keys k where k.claim = p_claim for update;
  if not found or session_user <> 'cs_owner' and v.principal is distinct from current_principal() then
    return query select 'not_found', null::text, null::text, null::timestamptz; return;
  end if;
  if v.claimed is not null then
    update keys k set refusals = k.refusals + 1 where k.id = v.id;
    return query select 'claimed', v.id, v.principal, v.claimed; return;
  end if;
  if v.revoked is not null or least(v.claim_until, v.expires) <= clock_timestamp() then
    code := case when v.revoked is null then 'expired' else 'revoked' end;
    return query select code, v.id, v.principal, null::timestamptz; return;
  end if;
  update keys k set hash = p_hash, claimed = clock_timestamp() where k.id = v.id;
  return query select 'ok', v.id, v.principal, clock_timestamp();
end $$;
revoke execute on function claim_key(bytea, bytea) from public;
grant execute on function claim_key(bytea, bytea) to cs_app;

-- Ends a key.
create or replace function revoke_key(p_id text)
returns table (id text) language plpgsql security definer set search_path = public, pg_temp as $$
begin
  perform demand_group(array['admin'], 'end keys');
  return query update keys set revoked = coalesce(revoked, clock_timestamp()) where keys.id = p_id returning keys.id;
end $$;
revoke execute on function revoke_key(text) from public;
grant execute on function revoke_key(text) to cs_app;

-- Owned by the system role, which works for no tenant and sees what its policies name.
set local role cs_system;

-- Finds whose key this is, before anybody has been entered.
create or replace function principal_of_key(p_hash bytea)
returns table (tenant text, id text, groups text[], limit_alone bigint, limit_joint bigint, standing text)
language sql stable security definer set search_path = public, pg_temp as $$
  select p.tenant, p.id, p.groups, p.limit_alone, p.limit_joint,
         case when k.revoked is not null then 'revoked'
              when k.expires <= clock_timestamp() then 'expired' else 'valid' end
    from keys k join principals p on p.tenant = k.tenant and p.id = k.principal
   where k.hash = p_hash
$$;
revoke execute on function principal_of_key(bytea) from public;
grant execute on function principal_of_key(bytea) to cs_app;

-- Finds for whom a code was made, before anybody has been entered; with it nobody is let in anywhere.
create or replace function person_of_claim(p_claim bytea) returns table (tenant text, id text)
language sql stable security definer set search_path = public, pg_temp as $$
  select k.tenant, k.principal from keys k where k.claim = p_claim
$$;
revoke execute on function person_of_claim(bytea) from public;
grant execute on function person_of_claim(bytea) to cs_app;

reset role;
