-- The log of a tenant: leaves for what is new in its chains, and a head over all of them. Called by log.py.

-- Nothing of it ever changes, but that a head gets its signature, once.
create or replace function log_is_append_only() returns trigger language plpgsql as $$
begin
  if tg_op = 'UPDATE' and tg_level = 'ROW' and tg_table_name = 'log_heads' then
    if to_jsonb(old) ->> 'signature' is null and to_jsonb(new) - 'signature' = to_jsonb(old) - 'signature' then
      return new;
    end if;
  end if;
  raise exception 'the log is append-only: % of % refused', tg_op, tg_table_name
    using errcode = 'insufficient_privilege';
end $$;
create or replace trigger log_leaves_no_change before update or delete on log_leaves
  for each row execute function log_is_append_only();
create or replace trigger log_leaves_no_truncate before truncate on log_leaves
  for each statement execute function log_is_append_only();
create or replace trigger log_heads_no_change before update or delete on log_heads
  for each row execute function log_is_append_only();
create or replace trigger log_heads_no_truncate before truncate on log_heads
  for each statement execute function log_is_append_only();
create or replace trigger signing_keys_no_change before update or delete on signing_keys
  for each row execute function log_is_append_only();
create or replace trigger signing_keys_no_truncate before truncate on signing_keys
  for each statement execute function log_is_append_only();
alter table log_leaves enable always trigger log_leaves_no_change;
alter table log_leaves enable always trigger log_leaves_no_truncate;
alter table log_heads enable always trigger log_heads_no_change;
alter table log_heads enable always trigger log_heads_no_truncate;
alter table signing_keys enable always trigger signing_keys_no_change;
alter table signing_keys enable always trigger signing_keys_no_truncate;

-- Wakes those who follow a tenant: some log has grown, and whose is told to nobody who only listens.
create or replace function log_announce() returns trigger language plpgsql as $$
begin
  perform pg_notify('journal', '');
  return null;
end $$;
create or replace trigger log_announce after insert on log_heads
  for each statement execute function log_announce();

-- A tree that grows is kept as its frontier: the roots of its complete parts, largest first, one for each bit of its
-- size. Returns the roots of the parts that one leaf completes, from the leaf upwards; the last joins the frontier in
-- place of those that it is made of.
create or replace function tree_parts(p_frontier bytea, p_size bigint, p_leaf bytea) returns bytea
language plpgsql immutable parallel safe as $$
declare
  v_size bigint := p_size; v_end int := length(p_frontier); v_hash bytea := sha256('\x00' || p_leaf);
  v_parts bytea := v_hash;
begin
  while v_size & 1 = 1 loop
    v_hash := sha256('\x01' || substr(p_frontier, v_end - 31, 32) || v_hash);
    v_parts := v_parts || v_hash;
    v_end := v_end - 32;
    v_size := v_size >> 1;
  end loop;
  return v_parts;
end $$;
revoke execute on function tree_parts(bytea, bigint, bytea) from public;

-- The frontier after one leaf, from the parts that it completes.
create or replace function tree_joined(p_frontier bytea, p_parts bytea) returns bytea
language sql immutable parallel safe
return substr(p_frontier, 1, length(p_frontier) - length(p_parts) + 32) || substr(p_parts, length(p_parts) - 31);
revoke execute on function tree_joined(bytea, bytea) from public;

-- The frontier after any number of leaves.
create or replace function tree_grown(p_frontier bytea, p_size bigint, p_leaves bytea[]) returns bytea
language plpgsql immutable parallel safe as $$
declare
  v_frontier bytea := p_frontier; v_end int := length(p_frontier); v_size bigint := p_size; v_rest bigint;
  v_leaf bytea; v_hash bytea;
begin
  foreach v_leaf in array p_leaves loop
    v_hash := sha256('\x00' || v_leaf);
    v_rest := v_size;
    while v_rest & 1 = 1 loop
      v_hash := sha256('\x01' || substr(v_frontier, v_end - 31, 32) || v_hash);
      v_end := v_end - 32;
      v_rest := v_rest >> 1;
    end loop;
    v_frontier := substr(v_frontier, 1, v_end) || v_hash;
    v_end := v_end + 32;
    v_size := v_size + 1;
  end loop;
  return v_frontier;
end $$;
revoke execute on function tree_grown(bytea, bigint, bytea[]) from public;

-- The root of the tree that has this frontier.
create or replace function tree_root(p_frontier bytea) returns bytea language plpgsql immutable parallel safe as $$
declare v_at int := length(p_frontier) - 31; v_hash bytea := substr(p_frontier, v_at, 32);
begin
  if p_frontier = '' then return sha256(''); end if;
  while v_at > 1 loop
    v_at := v_at - 32;
    v_hash := sha256('\x01' || substr(p_frontier, v_at, 32) || v_hash);
  end loop;
  return v_hash;
end $$;
revoke execute on function tree_root(bytea) from public;

-- Appends a leaf for what is new in one chain, at most so many entries of it; a chain with a gap is taken in up to the
-- gap. Returns the entries taken, and what became of the log's frontier.
create or replace function log_chain(p_run text, p_most int, p_position bigint, p_frontier bytea)
returns table (entries int, frontier bytea)
language plpgsql set search_path = public, pg_temp as $$
declare v_seq int; v_last int; v_tree bytea; v_hashes bytea[]; v_parts bytea; v_text text;
begin
  select l.seq, l.frontier into v_seq, v_tree from log_leaves l where l.run = p_run order by l.seq desc limit 1;
  v_seq := coalesce(v_seq, 0);
  select array_agg(x.hash order by x.seq) into v_hashes
    from (select j.seq, j.hash, row_number() over (order by j.seq) as n from journal j
           where j.run = p_run and j.seq > v_seq order by j.seq limit p_most) x
   where x.seq = v_seq + x.n;
  if v_hashes is null then return query select 0, p_frontier; return; end if;
  v_last := v_seq + cardinality(v_hashes);
  v_tree := tree_grown(coalesce(v_tree, ''), v_seq, v_hashes);
  v_text := jsonb_build_object('run', p_run, 'seq', v_last, 'root', encode(tree_root(v_tree), 'hex'),
                               'head', encode(v_hashes[cardinality(v_hashes)], 'hex'))::text;
  v_parts := tree_parts(p_frontier, p_position, convert_to(v_text, 'UTF8'));
  insert into log_leaves (tenant, position, run, seq, text, frontier, parts)
  values (current_tenant(), p_position, p_run, v_last, v_text, v_tree, v_parts);
  return query select cardinality(v_hashes), tree_joined(p_frontier, v_parts);
end $$;
revoke execute on function log_chain(text, int, bigint, bytea) from public;

-- Refuses whoever is not the installation: no request of a person makes heads.
create or replace function demand_installation(p_to text) returns void
language plpgsql stable set search_path = public, pg_temp as $$
begin
  if not is_installation() then
    raise exception 'only the installation may %', p_to using errcode = 'insufficient_privilege';
  end if;
end $$;
revoke execute on function demand_installation(text) from public;

-- Keeps the public key that signs from now on and returns its id, empty for none; a change is on record.
create or replace function use_signing_key(p_public bytea) returns text
language plpgsql set search_path = public, pg_temp as $$
declare v_id text := coalesce(left(encode(sha256(p_public), 'hex'), 16), '');
begin
  if v_id is not distinct from coalesce(
       (select h.text::jsonb ->> 'key' from log_heads h order by h.number desc limit 1), '') then
    return v_id;
  end if;
  if p_public is not null then
    insert into signing_keys (tenant, id, public) values (current_tenant(), v_id, p_public) on conflict do nothing;
  end if;
  perform journal_extend(authority_chain(), jsonb_build_object('kind', 'signing_key', 'id', v_id,
    'by', current_principal(), 'public', encode(p_public, 'hex')));
  return v_id;
end $$;
revoke execute on function use_signing_key(bytea) from public;

-- Takes in news of the entered tenant, of so many runs and entries at most, and makes a head over all leaves. Returns
-- the head that is to be signed in this transaction, or no number if nothing was new, and whether there may be more.
create or replace function extend_log(p_public bytea, p_runs int, p_entries int)
returns table (number bigint, text text, more boolean)
language plpgsql security definer set search_path = public, pg_temp as $$
declare
  v_head log_heads; v_last log_heads; v_runs text[]; v_run text; v_left int := p_entries; v_entries int; v_key text;
begin
  perform demand_installation('extend the log');
  perform pg_advisory_xact_lock(7900, hashtext(current_tenant()));
  if not exists (select 1 from journal_news) then return query select null::bigint, null, false; return; end if;
  v_key := use_signing_key(p_public);
  with taken as (
    delete from journal_news n where n.run = any (array(select distinct m.run from journal_news m limit p_runs))
    returning n.run
  ) select coalesce(array_agg(distinct t.run order by t.run), '{}') into v_runs from taken t;
  select * into v_last from log_heads h order by h.number desc limit 1;
  v_head.size := coalesce(v_last.size, 0);
  v_head.frontier := coalesce(v_last.frontier, '');
  foreach v_run in array v_runs loop
    if v_left > 0 then
      select c.entries, c.frontier into v_entries, v_head.frontier
        from log_chain(v_run, v_left, v_head.size, v_head.frontier) c;
      v_left := v_left - v_entries;
      v_head.size := v_head.size + sign(v_entries)::int;
    end if;
    -- It may have more, or was not looked at: the next round sees.
    if v_left = 0 then insert into journal_news (tenant, run) values (current_tenant(), v_run); end if;
  end loop;
  more := v_left = 0 or cardinality(v_runs) >= p_runs;
  if v_head.size > coalesce(v_last.size, 0) then
    number := coalesce(v_last.number, 0) + 1;
    text := jsonb_build_object('tenant', current_tenant(), 'size', v_head.size,
      'root', encode(tree_root(v_head.frontier), 'hex'), 'key', v_key,
      'previous', coalesce(encode(sha256(convert_to(v_last.text, 'UTF8')), 'hex'), ''),
      'at', to_char(clock_timestamp() at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))::text;
    insert into log_heads (tenant, number, size, text, frontier)
    values (current_tenant(), extend_log.number, v_head.size, extend_log.text, v_head.frontier);
  end if;
  return next;
end $$;
revoke execute on function extend_log(bytea, int, int) from public;
grant execute on function extend_log(bytea, int, int) to cs_app;

-- Signs a head in the transaction that makes it; one that was committed without a signature never gets one.
create or replace function sign_head(p_number bigint, p_signature bytea) returns boolean
language plpgsql security definer set search_path = public, pg_temp as $$
begin
  perform demand_installation('sign heads');
  update log_heads h set signature = p_signature
   where h.number = p_number and h.signature is null and h.xmin = pg_current_xact_id()::xid;
  return found;
end $$;
revoke execute on function sign_head(bigint, bytea) from public;
grant execute on function sign_head(bigint, bytea) to cs_app;

-- Owned by the system role, which works for no tenant and sees what its policies name.
set local role cs_system;

-- The tenants whose log has something to take in.
create or replace function tenants_with_news() returns table (tenant text)
language sql stable security definer set search_path = public, pg_temp as $$
  select distinct n.tenant from journal_news n order by 1
$$;
revoke execute on function tenants_with_news() from public, cs_app;
grant execute on function tenants_with_news() to cs_worker;

-- Notes the chains that grew without news, written by a process of the release before while this one was installed, or
-- of which somebody deleted the news; returns how many.
create or replace function note_missed_news() returns int
language sql security definer set search_path = public, pg_temp as $$
  with missed as (
    insert into journal_news (tenant, run)
    select r.tenant, r.id from runs r
     where r.seq > coalesce((select l.seq from log_leaves l where l.run = r.id order by l.seq desc limit 1), 0)
       and not exists (select 1 from journal_news n where n.run = r.id)
    returning 1
  ) select count(*)::int from missed
$$;
revoke execute on function note_missed_news() from public, cs_app;
grant execute on function note_missed_news() to cs_worker;

reset role;
