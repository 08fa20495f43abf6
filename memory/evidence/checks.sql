-- When the journal is checked, and what came of it. Called by checks.py.

-- Notes what a check of the entered tenant showed. A break, or its end, is told in the chain of administration: an alert,
-- which keeps nobody from reading.
create or replace function note_check(p jsonb) returns table (code text)
language plpgsql security definer set search_path = public, pg_temp as $$
declare v_old evidence_checks; v_problems int := (p ->> 'problems')::int;
begin
  perform demand_installation('note checks');
  select * into v_old from evidence_checks c where c.tenant = current_tenant() for update;
  insert into evidence_checks as c (tenant, began, ended, seconds, leaves, held, broken, problems, first)
  values (current_tenant(), clock_timestamp(), clock_timestamp(), (p ->> 'seconds')::float8, (p ->> 'leaves')::bigint,
          case v_problems when 0 then clock_timestamp() end, case when v_problems > 0 then clock_timestamp() end,
          v_problems, left(p ->> 'first', 500))
  on conflict (tenant) do update set ended = excluded.ended, seconds = excluded.seconds, leaves = excluded.leaves,
    held = coalesce(excluded.held, c.held), problems = excluded.problems, first = excluded.first,
    broken = case when excluded.problems > 0 then least(c.broken, excluded.broken) end;
  if (v_problems > 0) <> (coalesce(v_old.problems, 0) > 0)
     or v_problems > 0 and v_old.first is distinct from left(p ->> 'first', 500) then
    perform journal_extend(authority_chain(), jsonb_build_object('kind', 'alert', 'by', current_principal(),
      'code', case v_problems when 0 then 'journal_holds' else 'journal_broken' end,
      'counts', jsonb_build_object('problems', v_problems), 'first', p ->> 'first'));
  end if;
  return query select 'ok';
end $$;
revoke execute on function note_check(jsonb) from public;
grant execute on function note_check(jsonb) to cs_app;

-- Owned by the system role, which works for no tenant and sees what its policies name.
set local role cs_system;

-- Takes a tenant whose journal is due: after news not sooner than a minute, nor than twenty times as long as the last
-- check took; without news after an hour. Who took one and did not come back is waited for ten minutes. Times in the future
-- are no check's: whoever wrote them keeps nobody from checking.
create or replace function take_due_check() returns table (tenant text)
language sql security definer set search_path = public, pg_temp as $$
  insert into evidence_checks as c (tenant, began)
  select t.id, clock_timestamp() from tenants t left join evidence_checks d on d.tenant = t.id
   where d.tenant is null
      or greatest(d.began, d.ended) > clock_timestamp()
      or d.began < clock_timestamp() - interval '1 hour'
      or coalesce(d.ended < d.began, true) and d.began < clock_timestamp() - interval '10 minutes'
      or d.ended >= d.began
         and d.ended < clock_timestamp() - greatest(60, least(d.seconds * 20, 3600)) * interval '1 second'
         and exists (select 1 from log_leaves l where l.tenant = t.id and l.position >= d.leaves)
   order by coalesce(d.began <= clock_timestamp(), false), d.began limit 1
  on conflict (tenant) do update
    set began = excluded.began, ended = case when c.ended <= clock_timestamp() then c.ended end
   where c.began < clock_timestamp() - interval '1 minute' or greatest(c.began, c.ended) > clock_timestamp()
  returning c.tenant
$$;
revoke execute on function take_due_check() from public, cs_app;
grant execute on function take_due_check() to cs_worker;

-- How it stands with the journal of every tenant, in seconds ago; a check in the future was none, and the other times are
-- at most now.
create or replace function check_standings()
returns table (tenant text, checked float8, held float8, broken float8, problems int, first text)
language sql stable security definer set search_path = public, pg_temp as $$
  select c.tenant, case when c.ended <= n.now then (n.epoch - extract(epoch from c.ended))::float8 end,
         case when c.held is not null then greatest(0, n.epoch - extract(epoch from c.held))::float8 end,
         case when c.broken is not null then greatest(0, n.epoch - extract(epoch from c.broken))::float8 end,
         c.problems, c.first
    from evidence_checks c, (select x as now, extract(epoch from x) as epoch from clock_timestamp() x) n
   where c.ended is not null order by c.tenant
$$;
revoke execute on function check_standings() from public, cs_app;
grant execute on function check_standings() to cs_worker;

-- The same for whoever asks whether this installation is ready: how long ago all were checked at worst, null before every
-- one was, and since when one does not hold, but not whose.
create or replace function journal_health() returns table (tenants bigint, checked float8, broken float8)
language sql stable security definer set search_path = public, pg_temp as $$
  select count(*), case when count(*) = count(s.checked) then max(s.checked) end, max(s.broken)
    from check_standings() s
$$;
revoke execute on function journal_health() from public;
grant execute on function journal_health() to cs_app;

reset role;
