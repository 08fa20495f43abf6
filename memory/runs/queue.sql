-- The queue of runs: rows that are queued, oldest first, and the notice that there is one. Called by queue.py.

-- Has workers look for runs, if the caller's transaction commits and the run is one of the entered tenant.
create or replace function wake_run(p_run text) returns void
language sql volatile security definer set search_path = public, pg_temp as $$
  select pg_notify('runs', '') from runs r where r.id = p_run
$$;
revoke execute on function wake_run(text) from public;
grant execute on function wake_run(text) to cs_app;

-- Starts a run, has a worker look at it, and keeps what is answered under the request's key, if it has one: all of it or
-- nothing. A request that came before gets what was answered then; one whose key is at work, or belongs to another
-- request, gets nothing. The checks and their order are those of idempotency.py.
create or replace function accept_run(p jsonb, p_request jsonb)
returns table (code text, open_run text, answer jsonb)
language plpgsql set search_path = public, pg_temp as $$
declare v_old requests; v_start record;
begin
  if p_request ? 'key' then
    if not pg_try_advisory_xact_lock(7150, hashtext(concat_ws('/', current_tenant(), current_principal(),
                                                               p_request ->> 'key'))) then
      return query select 'conflict', null::text, null::jsonb; return;
    end if;
    select * into v_old from requests r where r.key = p_request ->> 'key';
    if found then
      return query select case when v_old.hash = p_request ->> 'hash' then 'replay' else 'mismatch' end, null::text,
                          case when v_old.hash = p_request ->> 'hash' then v_old.answer end;
      return;
    end if;
  end if;
  select * into v_start from start_run(p);
  if v_start.code = 'ok' then
    perform wake_run(p ->> 'id');
    if p_request ? 'key' then
      delete from requests r
       where r.created < (select clock_timestamp()) - make_interval(hours => (p_request ->> 'hours')::int);
      insert into requests (key, route, hash, answer)
      values (p_request ->> 'key', p_request ->> 'route', p_request ->> 'hash', p_request -> 'answer');
    end if;
  end if;
  return query select v_start.code, v_start.open_run, null::jsonb;
end $$;
revoke execute on function accept_run(jsonb, jsonb) from public;
grant execute on function accept_run(jsonb, jsonb) to cs_app;

-- Owned by the system role, which works for no tenant and sees what its policies name.
set local role cs_system;

-- Takes the oldest queued runs for a worker, at most so many; what another worker is taking is passed over. A run that
-- was put back has a beat of a time to come; one far from now is from before the clock was set back.
create or replace function take_runs(p_worker int, p_flows text[], p_most int)
returns table (tenant text, id text, thread text, flow text, requester text, fence int, input jsonb, correlation text)
language sql volatile security definer set search_path = public, pg_temp as $$
  with due as materialized (
    select r.id from runs r
     where r.status = 'queued' and r.flow = any (p_flows)
       and (r.beat is null or r.beat not between clock_timestamp() and clock_timestamp() + interval '1 minute')
     order by r.created, r.id limit p_most for no key update skip locked
  ) select l.* from due d cross join lateral lease_run(d.id, p_worker, p_flows) l
$$;
revoke execute on function take_runs(int, text[], int) from public, cs_app;
grant execute on function take_runs(int, text[], int) to cs_worker;

-- Waits a moment for the death of a worker's neighbour, the next in a ring of all that hold their seat: true if it died,
-- false if it lives, null if there is none. Caught here, the end of the wait is no error in the server's log.
create or replace function outlive_neighbour(p_worker int) returns boolean
language plpgsql volatile security definer set search_path = public, pg_temp set lock_timeout = '2s' as $$
declare v_number int;
begin
  select l.objid::int into v_number from pg_locks l
   where l.locktype = 'advisory' and l.classid = 7100 and l.objsubid = 2 and l.granted and l.mode = 'ExclusiveLock'
     and l.database = (select oid from pg_database where datname = current_database()) and l.objid <> p_worker::oid
   order by l.objid < p_worker::oid, l.objid limit 1;
  if v_number is null then return null; end if;
  perform pg_advisory_lock_shared(7100, v_number);
  perform pg_advisory_unlock_shared(7100, v_number);
  return true;
exception when lock_not_available then
  return false;
end $$;
revoke execute on function outlive_neighbour(int) from public, cs_app;
grant execute on function outlive_neighbour(int) to cs_worker;

reset role;
