-- Jobs of the queue: which run a worker should look at. Called by queue.py.

-- Has a worker look at a run of the entered tenant, if the caller's transaction commits; nothing for any other.
create or replace function wake_run(p_run text) returns void
language sql volatile security definer set search_path = public, pg_temp as $$
  select queue.procrastinate_defer_jobs_v1(array[row('runs', 'drive', 0, null, null,
           jsonb_build_object('run', r.id), null)::queue.procrastinate_job_to_defer_v1])
    from runs r where r.id = p_run
$$;
revoke execute on function wake_run(text) from public;
grant execute on function wake_run(text) to cs_app;

-- The same for a run of any tenant.
create or replace function wake_any_run(p_run text) returns void
language sql volatile security definer set search_path = public, pg_temp as $$
  select queue.procrastinate_defer_jobs_v1(array[row('runs', 'drive', 0, null, null,
           jsonb_build_object('run', p_run), null)::queue.procrastinate_job_to_defer_v1])
$$;
revoke execute on function wake_any_run(text) from public;
grant execute on function wake_any_run(text) to cs_worker;

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
