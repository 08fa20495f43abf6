-- For whom a transaction works, so that the app's role cannot claim it: an entry is taken only with the mark of a key
-- that SQL of that role never sees, and it counts only while two sequences of this session, which that role may read
-- but not set, hold its seal. A setting alone, which any role may write, is worth nothing any more.

create table entry_key (
  one boolean primary key default true check (one),
  inner_pad bytea not null check (length(inner_pad) = 64),
  outer_pad bytea not null check (length(outer_pad) = 64),
  changed timestamptz not null default clock_timestamp()
);
comment on table entry_key is 'the HMAC key of entries, xored with its two paddings; nobody but the owner reads it';
alter table entry_key enable row level security;
alter table entry_key force row level security;
create policy owner on entry_key to cs_owner using (true) with check (true);

-- currval() is what this session set last: a memory of the server that needs neither a row nor a commit.
create unlogged sequence entry_seal_high minvalue -9223372036854775808 start 1;
create unlogged sequence entry_seal_low minvalue -9223372036854775808 start 1;
create unlogged sequence entry_last minvalue 0 start 1;
grant select on sequence entry_seal_high, entry_seal_low to cs_app, cs_system;

-- An entry's seal is a hash of it and of the moment its transaction began. The random beginning keeps an entry unknown
-- to whoever makes a function fail half way through it.
create function take_entry(p_entry text) returns void language plpgsql as $$
declare
  v_entry text := pg_catalog.gen_random_uuid()::text || p_entry;
  v_seal text := pg_catalog.encode(pg_catalog.sha256(
    pg_catalog.convert_to(v_entry, 'UTF8') || pg_catalog.timestamptz_send(pg_catalog.transaction_timestamp())), 'hex');
begin
  perform pg_catalog.set_config('countersign.entry', v_entry, true),
          pg_catalog.setval('public.entry_seal_high', ('x' || substr(v_seal, 1, 16))::bit(64)::bigint),
          pg_catalog.setval('public.entry_seal_low', ('x' || substr(v_seal, 17, 16))::bit(64)::bigint);
end $$;

-- For the owner's own work and its functions; returns the tenant, or null for an empty one.
create or replace function enter(tenant text, principal text, reads text[], writes text[])
returns text language plpgsql volatile as $$
begin
  perform public.take_entry(jsonb_build_object('tenant', tenant, 'principal', principal,
                                               'reads', reads::text, 'writes', writes::text)::text);
  return nullif(tenant, '');
end $$;

-- For the app: `entry` is an object as text (tenant, principal, reads and writes as array literals, pid, at in
-- microseconds), `mark` its HMAC-SHA256. It counts once, in the session it names, within a minute.
create function enter(entry text, mark bytea) returns text
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp as $$
declare v_key public.entry_key; v jsonb; v_last bigint := 0;
begin
  select * into v_key from public.entry_key;
  -- Hashed again, so that the time a comparison takes tells nothing.
  if sha256(mark) is distinct from
     sha256(sha256(v_key.outer_pad || sha256(v_key.inner_pad || convert_to(entry, 'UTF8')))) then
    raise exception 'entry refused: it does not bear the mark of this database''s key'
      using errcode = 'insufficient_privilege';
  end if;
  v := entry::jsonb;
  begin
    v_last := currval('public.entry_last');
  exception when object_not_in_prerequisite_state then null;
  end;
  if (v ->> 'pid')::int <> pg_backend_pid() or (v ->> 'at')::bigint <= v_last
     or abs((v ->> 'at')::bigint - extract(epoch from clock_timestamp()) * 1000000) > 60000000 then
    raise exception 'entry refused: made for another session or time, or used before'
      using errcode = 'insufficient_privilege';
  end if;
  perform setval('public.entry_last', (v ->> 'at')::bigint), public.take_entry(entry);
  return nullif(v ->> 'tenant', '');
end $$;

-- What was entered, or null; a setting that was written by hand has no seal.
create function entered() returns jsonb language plpgsql stable parallel restricted as $$
declare v_entry text := nullif(pg_catalog.current_setting('countersign.entry', true), '');
begin
  if v_entry is not null and pg_catalog.substr(pg_catalog.sha256(pg_catalog.convert_to(v_entry, 'UTF8')
         || pg_catalog.timestamptz_send(pg_catalog.transaction_timestamp())), 1, 16)
       = pg_catalog.int8send(pg_catalog.currval('public.entry_seal_high'))
         || pg_catalog.int8send(pg_catalog.currval('public.entry_seal_low')) then
    return pg_catalog.substr(v_entry, 37)::pg_catalog.jsonb;
  end if;
  return null;
end $$;

create or replace function current_tenant() returns text language sql stable parallel restricted
return nullif(entered() ->> 'tenant', '');

create or replace function current_principal() returns text language sql stable parallel restricted
return nullif(entered() ->> 'principal', '');

create or replace function current_reads() returns text[] language sql stable parallel restricted
return coalesce(nullif(entered() ->> 'reads', ''), '{}')::text[];

create or replace function current_writes() returns text[] language sql stable parallel restricted
return coalesce(nullif(entered() ->> 'writes', ''), '{}')::text[];

revoke execute on function enter(text, text, text[], text[]) from cs_app, cs_system;
revoke execute on function enter(text, bytea), take_entry(text), entered() from public;
grant execute on function enter(text, bytea) to cs_app;
grant execute on function entered() to cs_app, cs_system;

-- Where statements touch many rows, who was entered is asked once per statement. Elsewhere, where an index finds the one
-- row, asking apart would cost more than asking in place.
do $$
declare v record; v_change text; v_part text;
begin
  for v in select p.polname, p.polrelid::regclass as on_table, pg_get_expr(p.polqual, p.polrelid) as seen,
                  pg_get_expr(p.polwithcheck, p.polrelid) as taken
             from pg_policy p join pg_class c on c.oid = p.polrelid
            where c.relnamespace = 'public'::regnamespace
              and c.relname not in ('principals', 'keys', 'runs', 'authority', 'kills', 'effects', 'approvals', 'votes',
                                    'requests', 'model_calls') loop
    if coalesce(v.seen, '') || coalesce(v.taken, '') !~ 'current_(tenant|principal|reads|writes)\(\)' then continue; end if;
    v_change := format('alter policy %I on %s', v.polname, v.on_table);
    foreach v_part in array array['using:' || v.seen, 'with check:' || v.taken] loop
      if v_part is null then continue; end if;
      v_change := v_change || format(' %s (%s)', split_part(v_part, ':', 1),
        regexp_replace(regexp_replace(substr(v_part, strpos(v_part, ':') + 1),
          'current_(reads|writes)\(\)', '(select current_\1())::text[]', 'g'),
          'current_(tenant|principal)\(\)', '(select current_\1())', 'g'));
    end loop;
    execute v_change;
  end loop;
end $$;
