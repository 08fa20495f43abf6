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
