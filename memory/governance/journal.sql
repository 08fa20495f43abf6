-- The journal: hash-chained entries, whose words can be forgotten. Called by journal.py, and by every function that
-- records what it does.

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
create or replace trigger journal_no_change before update or delete on journal
  for each row execute function journal_is_append_only();
create or replace trigger journal_no_truncate before truncate on journal
  for each statement execute function journal_is_append_only();
alter table journal enable always trigger journal_no_change;
alter table journal enable always trigger journal_no_truncate;

-- Wakes those who follow a run, if the entry is of a kind that concerns them.
create or replace function journal_announce() returns trigger language plpgsql as $$
begin
  perform pg_notify('journal', new.run || ':' || new.seq || ':' || new.kind);
  return null;
end $$;
create or replace trigger journal_announce after insert on journal
  for each row execute function journal_announce();

-- Where the chain of a run begins.
create or replace function journal_genesis(p_run text) returns bytea language sql immutable as $$
  select sha256(convert_to('countersign journal ' || p_run, 'UTF8'))
$$;

-- The words of a body: all but what is named here as fact. A field that nobody thought of counts as words.
create or replace function journal_words(p_body jsonb) returns jsonb language sql immutable parallel safe
return p_body - array['kind', 'key', 'at', 'user', 'by', 'to', 'role', 'step', 'tool', 'effect', 'plan', 'digest',
  'checkpoint', 'policy', 'rules', 'approval', 'permit', 'call', 'pins', 'state', 'attempt', 'cost', 'compensates',
  'code', 'need', 'groups', 'amount', 'exposure', 'currency', 'actions', 'expires', 'decision', 'channel',
  'nonce', 'status', 'id', 'version', 'scope', 'name', 'memory', 'on', 'gone', 'archived', 'reasons', 'counts', 'person', 'ok', 'effects', 'skipped',
  'approvals', 'entries', 'model_call', 'checked', 'check', 'supersedes', 'frees', 'credential', 'changed', 'authors',
  'verdict', 'cards', 'schema', 'spent', 'origin', 'round', 'requester', 'requester_excluded', 'limits', 'valid_until',
  'generation', 'event', 'flow'];
revoke execute on function journal_words(jsonb) from public;

-- An entry as a node or a tool wants it, without what only the journal itself may say of it.
create or replace function journal_told_by_app(p_body jsonb) returns jsonb language sql immutable parallel safe
return p_body - array['at', 'sealed', 'rows', 'spent', 'by', 'entries', 'person', 'credential'];
revoke execute on function journal_told_by_app(jsonb) from public;

-- What the chain holds of the words.
create or replace function journal_seal(p_words text, p_salt uuid) returns text language sql immutable parallel safe
return encode(sha256(uuid_send(p_salt) || convert_to(p_words, 'UTF8')), 'hex');
revoke execute on function journal_seal(text, uuid) from public;

-- An entry as it was told, or what is left of it.
create or replace function journal_told(p journal) returns jsonb language sql stable
return coalesce(p.words::jsonb, '{}') - 'rows' || (p.body::jsonb - 'sealed');
revoke execute on function journal_told(journal) from public;

-- Writes entries of a run whose row the caller holds, and moves to their end with its own update of that row.
-- Bodies are objects with at least `kind`, and `rows` as `governed_row` gives them if the entry comes with changes of rows.
create or replace function journal_write(p_run runs, p_spend jsonb, p_bodies jsonb[], out new_seq int, out new_head bytea)
language plpgsql set search_path = public, pg_temp as $$
declare
  v_seq int := p_run.seq; v_head bytea := p_run.head; v_hash bytea; v_text text; v_body jsonb; v_rest jsonb;
  v_words text; v_salt uuid; v_spent jsonb := '{}';
begin
  if p_spend is not null then
    v_spent := jsonb_build_object('spent', jsonb_build_array(
      p_run.spent_tokens + coalesce((p_spend ->> 'tokens')::bigint, 0),
      p_run.spent_micros + coalesce((p_spend ->> 'micros')::bigint, 0),
      p_run.spent_calls + coalesce((p_spend ->> 'calls')::bigint, 0),
      p_run.spent_millis + coalesce((p_spend ->> 'millis')::bigint, 0)));
  end if;
  foreach v_body in array p_bodies loop
    v_seq := v_seq + 1;
    v_body := v_body || v_spent;
    if v_body ? 'rows' then
      v_body := v_body - 'rows' || case v_body -> 'rows' when '[]' then '{}'
                                   else jsonb_build_object('rows', stamps(v_body -> 'rows')) end;
    end if;
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
  -- What the log of the tenant has to take in (memory/evidence/log.sql).
  insert into journal_news (tenant, run) values (p_run.tenant, p_run.id);
  new_seq := v_seq;
  new_head := v_head;
end $$;
revoke execute on function journal_write(runs, jsonb, jsonb[]) from public;

-- Extends the chain of a run and moves its budget with the same update; the caller holds the run row's lock. Costs are
-- objects {tokens, micros, calls, millis} or null for nothing.
create or replace function journal_record(p_run runs, p_reserve jsonb, p_spend jsonb, variadic p_bodies jsonb[])
returns int language plpgsql set search_path = public, pg_temp as $$
declare v record;
begin
  select w.new_seq, w.new_head into v from journal_write(p_run, p_spend, p_bodies) w;
  if p_reserve is null and p_spend is null then
    update runs set seq = v.new_seq, head = v.new_head where id = p_run.id;
    return v.new_seq;
  end if;
  update runs set seq = v.new_seq, head = v.new_head,
         reserved_tokens = reserved_tokens + coalesce((p_reserve ->> 'tokens')::bigint, 0),
         reserved_micros = reserved_micros + coalesce((p_reserve ->> 'micros')::bigint, 0),
         reserved_calls = reserved_calls + coalesce((p_reserve ->> 'calls')::bigint, 0),
         spent_tokens = spent_tokens + coalesce((p_spend ->> 'tokens')::bigint, 0),
         spent_micros = spent_micros + coalesce((p_spend ->> 'micros')::bigint, 0),
         spent_calls = spent_calls + coalesce((p_spend ->> 'calls')::bigint, 0),
         spent_millis = spent_millis + coalesce((p_spend ->> 'millis')::bigint, 0)
   where id = p_run.id;
  return v.new_seq;
end $$;
revoke execute on function journal_record(runs, jsonb, jsonb, variadic jsonb[]) from public;

-- Extends the chain of a run whose row the caller may not have read.
create or replace function journal_extend(p_run text, variadic p_bodies jsonb[]) returns int
language plpgsql set search_path = public, pg_temp as $$
declare v_run runs;
begin
  select * into strict v_run from runs where id = p_run for no key update;
  return journal_record(v_run, null, null, variadic p_bodies);
end $$;
revoke execute on function journal_extend(text, variadic jsonb[]) from public;

-- The chain of entries that belong to no run: stop switches, policies, knowledge, people, keys.
create or replace function authority_chain_of(p_tenant text) returns text
language plpgsql set search_path = public, pg_temp as $$
declare v_id text := 'authority-' || p_tenant;
begin
  insert into runs (tenant, id, kind, thread, status, input, correlation, head, limit_tokens, limit_micros, limit_calls)
  values (p_tenant, v_id, 'authority', v_id, 'done', '{}', v_id, journal_genesis(v_id), 0, 0, 0)
  on conflict do nothing;
  return v_id;
end $$;
revoke execute on function authority_chain_of(text) from public;

create or replace function authority_chain() returns text language sql set search_path = public, pg_temp as $$
  select authority_chain_of(current_tenant())
$$;
revoke execute on function authority_chain() from public;

-- Kinds that only the functions of authority, gateway and approvals write: nobody else can tell these stories.
create or replace function is_reserved_kind(p_kind text) returns boolean language sql immutable as $$
  select coalesce(p_kind in ('requested', 'planned', 'proposed', 'permitted', 'outcome', 'interrupted', 'resolved',
    'read', 'held', 'vote', 'vote_refused', 'question', 'approval', 'kill', 'unkill', 'policy', 'knowledge',
    'answered', 'cancel', 'resumed', 'ended', 'pruned', 'restored', 'legal_hold', 'forgotten', 'pinned',
    'knowledge_approved', 'taken_over', 'retaken', 'resent', 'forked', 'kept', 'adopted', 'signing_key', 'alert')
    or p_kind like any (array['key\_%', 'person\_%']), true)
$$;
revoke execute on function is_reserved_kind(text) from public;

-- Appends one entry; an entry with a key is written at most once per run, and the recorded one is returned. Refused are
-- keys under which the product's own entries stand, and what readers in other languages could not take in.
create or replace function append(p_run text, p_fence int, p_body jsonb)
returns table (code text, fresh boolean, body jsonb)
language plpgsql security definer set search_path = public, pg_temp as $$
declare v_run runs; v_old jsonb;
begin
  select * into v_run from runs where id = p_run for no key update;
  if not found then return query select 'not_found', false, null::jsonb; return; end if;
  if is_reserved_kind(p_body ->> 'kind') or jsonb_typeof(p_body -> 'kind') <> 'string'
     or p_body ->> 'kind' !~ '^[a-z][a-z_]{0,39}$' or p_body ->> 'key' ~ '^(requested$|(ended|resumed|permitted):)'
     or jsonb_path_exists(p_body, 'strict $.**{101}')
     or jsonb_path_exists(p_body, 'strict $.** ? (@.type() == "number" && (@ > 1e30 || @ < -1e30))') then
    return query select 'forbidden', false, null::jsonb; return;
  end if;
  if v_run.requester <> current_principal() or p_fence is not null and v_run.fence <> p_fence then
    return query select 'lease_lost', false, null::jsonb; return;
  end if;
  if p_body ? 'key' then
    select journal_told(j) into v_old from journal j where j.run = p_run and j.key = p_body ->> 'key';
    if found then return query select 'ok', false, v_old; return; end if;
  end if;
  p_body := journal_told_by_app(p_body);
  perform journal_record(v_run, null, null, p_body);
  return query select 'ok', true, p_body;
end $$;
revoke execute on function append(text, int, jsonb) from public;
grant execute on function append(text, int, jsonb) to cs_app;
