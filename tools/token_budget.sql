-- Tokens of language models: set aside before a call, spent after it. Called by token_budget.py.

-- Budget outside the gateway, as language models use it; the caller holds the run row's lock.
create or replace function reserve(p_run text, p_cost jsonb, p_sign int) returns void
language sql set search_path = public, pg_temp as $$
  update runs set reserved_tokens = reserved_tokens + p_sign * (p_cost ->> 'tokens')::bigint,
                  reserved_micros = reserved_micros + p_sign * (p_cost ->> 'micros')::bigint,
                  reserved_calls = reserved_calls + p_sign * (p_cost ->> 'calls')::bigint
   where id = p_run
$$;
revoke execute on function reserve(text, jsonb, int) from public;

-- Before a call to a model: stop switch, fence and budget; nothing is asked unless this says go.
create or replace function reserve_tokens(p jsonb)
returns table (code text, call bigint)
language plpgsql security definer set search_path = public, pg_temp as $$
declare v_run runs; v_code text; v_cost jsonb; v_call bigint;
begin
  perform authority_lock_shared();
  v_cost := jsonb_build_object('tokens', (p ->> 'tokens')::bigint, 'micros', 0, 'calls', 0);
  if is_killed(p ->> 'run', p ->> 'role', null, p ->> 'user') then
    return query select 'killed', null::bigint; return;
  end if;
  select * into v_run from runs r where r.id = p ->> 'run' for no key update;
  v_code := run_refusal(v_run, jsonb_build_object('fence', p -> 'fence', 'cost', v_cost));
  if v_code is not null then return query select v_code, null::bigint; return; end if;
  perform reserve(v_run.id, v_cost, 1);
  insert into model_calls (tenant, run, role, reserved)
  values (v_run.tenant, v_run.id, p ->> 'role', (p ->> 'tokens')::bigint) returning id into v_call;
  return query select 'go', v_call;
end $$;
revoke execute on function reserve_tokens(jsonb) from public;
grant execute on function reserve_tokens(jsonb) to cs_app;

-- After a call: its tokens are spent, the rest is released, and prompt and answer are kept for people.
create or replace function spend_tokens(p jsonb)
returns table (code text)
language plpgsql security definer set search_path = public, pg_temp as $$
declare
  v_call model_calls; v_run runs;
  v_cost jsonb := jsonb_build_object('tokens', (p ->> 'used')::bigint, 'micros', 0, 'calls', 0, 'millis', 0);
begin
  select * into v_run from runs r where r.id = p ->> 'run' and r.requester = current_principal() for no key update;
  select * into v_call from model_calls c
   where c.run = v_run.id and c.used is null order by c.id desc limit 1 for update;
  if not found then return query select 'not_found'; return; end if;
  update model_calls c set used = (p ->> 'used')::bigint, prompt_digest = p ->> 'prompt_digest',
         prompt = p ->> 'prompt', answer = p ->> 'answer' where c.id = v_call.id;
  perform journal_record(v_run, jsonb_build_object('tokens', -v_call.reserved), v_cost, jsonb_build_object(
    'kind', 'model_call', 'role', v_call.role, 'prompt', p ->> 'prompt_digest', 'model_call', v_call.id,
    'checkpoint', p ->> 'checkpoint', 'cost', v_cost));
  return query select 'ok';
end $$;
revoke execute on function spend_tokens(jsonb) from public;
grant execute on function spend_tokens(jsonb) to cs_app;
