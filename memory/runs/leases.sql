-- What waits in a lease, and the journal of a run that somebody leads. Called by leases.py.

-- Whether the entered person's run is led under this fence. Fences are no secrets, and whoever leads a run enters as its
-- requester.
create or replace function is_led(v_run runs, p_fence int) returns boolean
language sql stable set search_path = public, pg_temp as $$
  select coalesce(v_run.status = 'running' and v_run.fence = p_fence and v_run.requester = current_principal(), false)
$$;
revoke execute on function is_led(runs, int) from public;

-- Saves what waited in a lease, in its order: checkpoints, plans to adopt, entries. Nothing of it if the fence does not
-- lead the run any more; anything else that is not taken ends it there. A function that follows in the same statement
-- finds authority and the run's row locked, in the order in which claims lock them.
create or replace function unload(p_run text, p_fence int, p jsonb, p_bytes bytea) returns table (code text)
language plpgsql security definer set search_path = public, pg_temp as $$
declare v_run record; v_item jsonb; v_code text := 'ok';
begin
  perform authority_lock_shared();
  select r.thread, r.checkpoints_deleted into v_run from runs r
   where r.id = p_run and is_led(r, p_fence) for no key update;
  if not found then return query select 'lease_lost'; return; end if;
  for v_item in select x from jsonb_array_elements(p -> 'items') as x loop
    if v_item ? 'save' then
      v_code := case when v_item #>> '{save,thread}' <> v_run.thread then 'lease_lost'
                     when v_run.checkpoints_deleted is not null then 'deleted' else 'ok' end;
      if v_code = 'ok' then
        perform store_checkpoint(v_item -> 'save',
                                 substring(p_bytes from (v_item ->> 'start')::int for (v_item ->> 'length')::int));
      end if;
    elsif v_item ? 'plan' then
      select a.code into v_code from adopt_plan(p_run, p_fence, v_item -> 'plan') a;
    else
      select a.code into v_code from append(p_run, p_fence, v_item -> 'entry') a;
    end if;
    exit when v_code <> 'ok';
  end loop;
  return query select v_code;
end $$;
revoke execute on function unload(text, int, jsonb, bytea) from public;
grant execute on function unload(text, int, jsonb, bytea) to cs_app;

-- The whole journal of a run, as it is after whatever was called before in the same statement.
create or replace function run_story(p_run text) returns table (entries json)
language plpgsql volatile set search_path = public, pg_temp as $$
begin
  return query select coalesce(json_agg(json_build_array(j.seq, encode(j.prev, 'hex'), encode(j.hash, 'hex'), j.body,
                                                         j.words, j.salt) order by j.seq), '[]')
                 from journal j where j.run = p_run;
end $$;
revoke execute on function run_story(text) from public;
grant execute on function run_story(text) to cs_app;
