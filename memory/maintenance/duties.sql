-- The log of what workers do in the background. Called by duties.py.

-- Owned by the system role, which works for no tenant and sees what its policies name.
set local role cs_system;

-- Notes that a duty was done, or, with a trouble, that it failed.
create or replace function note_duty(p_duty text, p_trouble text) returns void
language sql security definer set search_path = public, pg_temp as $$
  insert into housekeeping as h (duty, done, failed, trouble)
  values (p_duty, case when p_trouble = '' then clock_timestamp() end,
          case when p_trouble <> '' then clock_timestamp() end, left(p_trouble, 100))
  on conflict (duty) do update set done = coalesce(excluded.done, h.done), failed = coalesce(excluded.failed, h.failed),
    trouble = excluded.trouble
$$;
revoke execute on function note_duty(text, text) from public, cs_app;
grant execute on function note_duty(text, text) to cs_worker;

-- Every duty with the seconds since it was done and since it failed; no trouble means that it was done last.
create or replace function noted_duties() returns table (duty text, done float8, failed float8, trouble text)
language sql security definer set search_path = public, pg_temp as $$
  select h.duty, extract(epoch from clock_timestamp() - h.done)::float8,
         extract(epoch from clock_timestamp() - h.failed)::float8, h.trouble
    from housekeeping h order by h.duty
$$;
revoke execute on function noted_duties() from public, cs_app;
grant execute on function noted_duties() to cs_worker;

reset role;
