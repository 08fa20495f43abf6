-- What was said stands beside the chain, which holds a salted digest of it: words can be forgotten, and the chain still
-- holds. Only what is named here as fact is chained in clear: a field that nobody thought of counts as words.

alter table journal
  add column words text,
  add column salt uuid,
  add column author text,
  add constraint journal_words_salted check ((words is null) = (salt is null));
comment on column journal.words is 'the rest of the body as text; null if there is none, or if it was forgotten';
comment on column journal.author is 'who said it, if that is no part of the machinery; for forgetting alone';
create index journal_words_by on journal (tenant, author) where words is not null and author is not null;

create function journal_words(p_body jsonb) returns jsonb language sql immutable parallel safe
return p_body - array['kind', 'key', 'at', 'user', 'by', 'to', 'role', 'step', 'tool', 'effect', 'plan', 'digest',
  'checkpoint', 'policy', 'rules', 'approval', 'permit', 'call', 'pins', 'state', 'attempt', 'cost', 'compensates',
  'code', 'need', 'groups', 'exposure', 'actions', 'expires', 'decision', 'channel', 'nonce', 'status', 'id', 'version',
  'scope', 'name', 'memory', 'on', 'gone', 'archived', 'reasons', 'counts', 'person', 'ok', 'effects', 'skipped',
  'approvals', 'entries', 'model_call'];

create function journal_seal(p_words text, p_salt uuid) returns text language sql immutable parallel safe
return encode(sha256(uuid_send(p_salt) || convert_to(p_words, 'UTF8')), 'hex');

-- An entry as it was told, or what is left of it.
create function journal_told(p journal) returns jsonb language sql stable
return coalesce(p.words::jsonb, '{}') || (p.body::jsonb - 'sealed');

-- Words may go, once and for good; nothing else ever changes.
create or replace function journal_is_append_only() returns trigger language plpgsql as $$
begin
  if tg_op = 'UPDATE' and tg_level = 'ROW' then
    if new.words is null and old.words is not null and (new.tenant, new.run, new.seq, new.prev, new.hash, new.body)
         is not distinct from (old.tenant, old.run, old.seq, old.prev, old.hash, old.body) then
      return new;
    end if;
  end if;
  raise exception 'the journal is append-only: % refused', tg_op using errcode = 'insufficient_privilege';
end $$;

create or replace function journal_record(p_run runs, p_reserve jsonb, p_spend jsonb, variadic p_bodies jsonb[])
returns int language plpgsql set search_path = public, pg_temp as $$
declare
  v_seq int := p_run.seq; v_head bytea := p_run.head; v_hash bytea; v_text text; v_body jsonb; v_rest jsonb;
  v_words text; v_salt uuid;
begin
  foreach v_body in array p_bodies loop
    v_seq := v_seq + 1;
    v_rest := journal_words(v_body);
    if v_rest = '{}' then
      v_words := null;
      v_salt := null;
    else
      v_words := v_rest::text;
      v_salt := gen_random_uuid();
      v_body := (v_body - array(select jsonb_object_keys(v_rest)))
                || jsonb_build_object('sealed', journal_seal(v_words, v_salt));
    end if;
    v_text := (v_body || jsonb_build_object(
      'at', to_char(clock_timestamp() at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')))::text;
    v_hash := sha256(v_head || convert_to(p_run.id, 'UTF8') || int4send(v_seq) || convert_to(v_text, 'UTF8'));
    insert into journal (tenant, run, seq, prev, hash, body, words, salt, author)
    values (p_run.tenant, p_run.id, v_seq, v_head, v_hash, v_text, v_words, v_salt, v_body ->> 'by');
    v_head := v_hash;
  end loop;
  if p_reserve is null and p_spend is null then
    update runs set seq = v_seq, head = v_head where id = p_run.id;
    return v_seq;
  end if;
  update runs set seq = v_seq, head = v_head,
         reserved_tokens = reserved_tokens + coalesce((p_reserve ->> 'tokens')::bigint, 0),
         reserved_micros = reserved_micros + coalesce((p_reserve ->> 'micros')::bigint, 0),
         reserved_calls = reserved_calls + coalesce((p_reserve ->> 'calls')::bigint, 0),
         spent_tokens = spent_tokens + coalesce((p_spend ->> 'tokens')::bigint, 0),
         spent_micros = spent_micros + coalesce((p_spend ->> 'micros')::bigint, 0),
         spent_calls = spent_calls + coalesce((p_spend ->> 'calls')::bigint, 0),
         spent_millis = spent_millis + coalesce((p_spend ->> 'millis')::bigint, 0)
   where id = p_run.id;
  return v_seq;
end $$;

-- Those that answer with an entry which is there already answer with its words.
create or replace function append(p_run text, p_fence int, p_body jsonb)
returns table (code text, fresh boolean, body jsonb)
language plpgsql security definer set search_path = public, pg_temp as $$
declare v_run runs; v_old jsonb;
begin
  select * into v_run from runs where id = p_run for no key update;
  if not found then return query select 'not_found', false, null::jsonb; return; end if;
  if is_reserved_kind(p_body ->> 'kind') then return query select 'forbidden', false, null::jsonb; return; end if;
  if p_fence is not null and v_run.fence <> p_fence then
    return query select 'lease_lost', false, null::jsonb; return;
  end if;
  if p_body ? 'key' then
    select journal_told(j) into v_old from journal j where j.run = p_run and j.key = p_body ->> 'key';
    if found then return query select 'ok', false, v_old; return; end if;
  end if;
  perform journal_record(v_run, null, null, p_body);
  return query select 'ok', true, p_body;
end $$;

create or replace function begin_read(p jsonb)
returns table (code text, body jsonb)
language plpgsql security definer set search_path = public, pg_temp as $$
declare v_run runs; v_code text; v_body jsonb;
begin
  perform authority_lock_shared();
  v_code := authority_refusal(p);
  if v_code is not null then return query select v_code, null::jsonb; return; end if;
  -- Nothing is written here, so no lock: whether the lease still holds is asked again when the read is recorded.
  select * into v_run from runs r where r.id = p ->> 'run';
  if v_run.fence = (p ->> 'fence')::int then
    select journal_told(j) into v_body from journal j where j.run = v_run.id and j.key = p ->> 'key';
    if found then return query select 'replay', v_body; return; end if;
  end if;
  v_code := run_refusal(v_run, p);
  if v_code is not null then return query select v_code, null::jsonb; return; end if;
  return query select 'go', null::jsonb;
end $$;

create or replace function end_read(p jsonb)
returns table (code text, body jsonb)
language plpgsql security definer set search_path = public, pg_temp as $$
declare v_run runs; v_old jsonb; v_body jsonb := (p -> 'body') || '{"kind": "read"}';
begin
  select * into v_run from runs r where r.id = p ->> 'run' for no key update;
  if v_run.fence is distinct from (p ->> 'fence')::int or v_run.status <> 'running' then
    return query select 'lease_lost', null::jsonb; return;
  end if;
  if v_body ? 'key' then
    select journal_told(j) into v_old from journal j where j.run = v_run.id and j.key = v_body ->> 'key';
    if found then return query select 'replay', v_old; return; end if;
  end if;
  perform journal_record(v_run, null, v_body -> 'cost', v_body);
  return query select 'ok', v_body;
end $$;

revoke execute on function journal_words(jsonb), journal_seal(text, uuid), journal_told(journal) from public;
