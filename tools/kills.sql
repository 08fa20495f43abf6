-- The stop switch. Called by kills.py.

-- Whether a stop switch covers this work.
create or replace function is_killed(p_run text, p_role text, p_tool text, p_user text) returns boolean
language sql stable as $$
  select exists (select 1 from kills k
                  where k.kind = 'all' or (k.kind = 'run' and k.name = p_run) or (k.kind = 'agent' and k.name = p_role)
                     or (k.kind = 'tool' and k.name = p_tool) or (k.kind = 'user' and k.name = p_user))
$$;
revoke execute on function is_killed(text, text, text, text) from public;

-- Makes permits within reach useless that no service has used yet. One that a service is using right now is not waited
-- for: the send that carries it is under way, and its claim is among the open ones.
create or replace function void_permits(p_kind text, p_name text) returns void
language sql set search_path = public, pg_temp as $$
  delete from permits.permit d where d.jti in (
    select t.jti from permits.permit t
     where t.tenant = current_tenant() and t.consumed is null
       and case p_kind when 'all' then true when 'run' then t.run = p_name when 'agent' then t.actor = p_name
                       when 'tool' then t.tool = p_name when 'user' then t.subject = p_name end
       for update skip locked)
$$;
revoke execute on function void_permits(text, text) from public;

-- Pulls the stop switch. Every claim and every later send that begins after it has committed sees it, and `drain_claims`
-- waits for those that began before. What it writes itself it waits for half a second at most, and fails if that was
-- not enough: `end_writers` is for whoever stands in its way.
create or replace function kill(p_kind text, p_name text, p_reason text)
returns table (code text) language plpgsql security definer set search_path = public, pg_temp set lock_timeout = '500ms' as $$
declare v_kill kills;
begin
  insert into kills (tenant, kind, name, reason, by)
  values (current_tenant(), p_kind, p_name, p_reason, current_principal()) on conflict do nothing;
  select * into v_kill from kills k where k.kind = p_kind and k.name = p_name;
  perform void_permits(p_kind, p_name);
  perform journal_extend(authority_chain(), jsonb_build_object('kind', 'kill', 'scope', p_kind, 'name', p_name,
    'by', current_principal(), 'reason', p_reason, 'rows', jsonb_build_array(governed_row(v_kill))));
  return query select 'ok';
end $$;
revoke execute on function kill(text, text, text) from public;
grant execute on function kill(text, text, text) to cs_app;

-- Waits until claims that began before the switch have committed or ended, less than half a second, and voids their
-- permits.
create or replace function drain_claims(p_kind text, p_name text)
returns table (code text) language plpgsql security definer set search_path = public, pg_temp set lock_timeout = '400ms' as $$
begin
  perform authority_lock_exclusive();
  perform void_permits(p_kind, p_name);
  return query select 'ok';
exception when lock_not_available then
  return query select 'busy';
end $$;
revoke execute on function drain_claims(text, text) from public;
grant execute on function drain_claims(text, text) to cs_app;

-- Ends the caller's own role's sessions that hold the lock of this tenant's authority or wait for it, and returns those
-- that it may not end. A claim that is cut short has sent nothing, and who waits would hold it next.
create or replace function end_authority_holders()
returns table (pid int) language plpgsql set search_path = public, pg_temp as $$
declare v int;
begin
  for v in select l.pid from pg_locks l
            where l.locktype = 'advisory' and l.classid = 7200 and l.objid = hashtext(current_tenant())::oid
              and l.objsubid = 2 and l.pid <> pg_backend_pid()
              and l.database = (select d.oid from pg_database d where d.datname = current_database())
  loop
    begin
      perform pg_terminate_backend(v);
    exception when insufficient_privilege then
      pid := v;
      return next;
    end;
  end loop;
end $$;
revoke execute on function end_authority_holders() from public;
grant execute on function end_authority_holders() to cs_app;

-- Ends the caller's own role's sessions that have been writing runs, their journal or switches for half a second in one
-- transaction: one of them keeps a switch from being written. None of ours needs so long for these.
create or replace function end_writers()
returns void language sql set search_path = public, pg_temp as $$
  select pg_terminate_backend(a.pid) from pg_stat_activity a
   where a.datname = current_database() and a.usename = current_user and a.pid <> pg_backend_pid()
     and a.backend_xid is not null and a.xact_start < clock_timestamp() - interval '500 ms'
     and exists (select 1 from pg_locks l
                  where l.pid = a.pid and l.granted and l.mode <> 'AccessShareLock'
                    and l.relation in ('runs'::regclass, 'journal'::regclass, 'kills'::regclass))
$$;
revoke execute on function end_writers() from public;
grant execute on function end_writers() to cs_app;

-- Effects within reach of a switch that are claimed and not settled: of each, the send already under way may still arrive.
create or replace function open_claims(p_kind text, p_name text)
returns table (id text, run text, step text, tool text, attempts int, claimed timestamptz)
language sql stable set search_path = public, pg_temp as $$
  select e.id, e.run, e.step, e.tool, e.attempts, e.claimed from effects e
   where e.tenant = current_tenant() and e.state = 'claimed'
     and case p_kind when 'all' then true when 'run' then e.run = p_name when 'agent' then e.role = p_name
                     when 'tool' then e.tool = p_name when 'user' then e.user_id = p_name end
   order by e.claimed, e.id
$$;
revoke execute on function open_claims(text, text) from public;
grant execute on function open_claims(text, text) to cs_app;

-- Releases the stop switch.
create or replace function unkill(p_kind text, p_name text)
returns table (code text) language plpgsql security definer set search_path = public, pg_temp as $$
begin
  perform demand_group(array['ops', 'finance', 'admin'], 'release the stop switch');
  perform authority_lock_exclusive();
  delete from kills k where k.kind = p_kind and k.name = p_name;
  if not found then return query select 'not_found'; return; end if;
  perform journal_extend(authority_chain(), jsonb_build_object('kind', 'unkill', 'scope', p_kind, 'name', p_name,
    'by', current_principal(), 'rows', jsonb_build_array(deleted_row('kills', p_kind || '/' || p_name))));
  return query select 'ok';
end $$;
revoke execute on function unkill(text, text) from public;
grant execute on function unkill(text, text) to cs_app;
