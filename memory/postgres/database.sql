-- Entering: for whom a transaction works. The app's role cannot claim it: its entry is taken only with the mark of a
-- key that SQL of that role never sees. Called by database.py; signing.py makes the mark.

-- An entry's seal is a hash of it and of the moment its transaction began. The random beginning keeps an entry unknown
-- to whoever makes a function fail half way through it.
create or replace function take_entry(p_entry text) returns void language plpgsql as $$
declare
  v_entry text := pg_catalog.gen_random_uuid()::text || p_entry;
  v_seal text := pg_catalog.encode(pg_catalog.sha256(
    pg_catalog.convert_to(v_entry, 'UTF8') || pg_catalog.timestamptz_send(pg_catalog.transaction_timestamp())), 'hex');
begin
  perform pg_catalog.set_config('countersign.entry', v_entry, true),
          pg_catalog.setval('public.entry_seal_high', ('x' || substr(v_seal, 1, 16))::bit(64)::bigint),
          pg_catalog.setval('public.entry_seal_low', ('x' || substr(v_seal, 17, 16))::bit(64)::bigint);
end $$;
revoke execute on function take_entry(text) from public;

-- For the owner's own work and its functions; returns the tenant, or null for an empty one: callers that join with it
-- then reach nothing.
create or replace function enter(tenant text, principal text, reads text[], writes text[])
returns text language plpgsql volatile as $$
begin
  perform public.take_entry(jsonb_build_object('tenant', tenant, 'principal', principal,
                                               'reads', reads::text, 'writes', writes::text)::text);
  return nullif(tenant, '');
end $$;
revoke execute on function enter(text, text, text[], text[]) from public;

-- Takes back what a `select` of other people can leave in a session: settings, and locks that outlive a transaction.
-- Settings that were not set cost nothing here.
create or replace function rinse() returns void language plpgsql volatile as $$
begin
  reset all;
  perform pg_catalog.pg_advisory_unlock_all();
end $$;
revoke execute on function rinse() from public;

-- For the app: `entry` is an object as text (tenant, principal, reads and writes as array literals, pid, at in
-- microseconds), `mark` its HMAC-SHA256. It counts once, in the session it names, within a minute.
create or replace function enter(entry text, mark bytea) returns text
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
  if (v ->> 'pid')::int <> pg_backend_pid() then
    raise exception 'entry refused: made for another session' using errcode = 'insufficient_privilege';
  end if;
  -- A code of its own: whoever signed it looks at the clock again (refusals.py) and signs anew.
  if (v ->> 'at')::bigint <= v_last
     or abs((v ->> 'at')::bigint - extract(epoch from clock_timestamp()) * 1000000) > 60000000 then
    raise exception 'entry refused: made for another time, or used before' using errcode = 'XT001';
  end if;
  perform public.rinse();
  -- limits.py says why so long.
  perform setval('public.entry_last', (v ->> 'at')::bigint), public.take_entry(entry),
          set_config('lock_timeout', '15s', true), set_config('idle_in_transaction_session_timeout', '60s', true);
  return nullif(v ->> 'tenant', '');
end $$;
revoke execute on function enter(text, bytea) from public;
grant execute on function enter(text, bytea) to cs_app;
