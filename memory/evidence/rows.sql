-- Governed rows as texts, and their stamps in the journal. Called by rows.py, and by all functions that change
-- such a row: they put it into the entry that says so.

-- A row as [table, key, text]; null columns are left out, so that a column that comes later changes no text.
create or replace function governed_text(p_table text, p_key text, p_row jsonb) returns jsonb
language sql immutable parallel safe
return jsonb_build_array(p_table, p_key,
  (select jsonb_object_agg(c.key, c.value) from jsonb_each(p_row) c where c.value <> 'null'::jsonb)::text);
revoke execute on function governed_text(text, text, jsonb) from public;

-- A row that is gone.
create or replace function deleted_row(p_table text, p_key text) returns jsonb language sql immutable parallel safe
return jsonb_build_array(p_table, p_key, null);
revoke execute on function deleted_row(text, text) from public;

-- What stands in no text below only says how far a machine has got. Times are written in UTC, whatever the session's zone.

-- Of an open run neither how its work goes nor its budget, which entries say themselves (`spent`).
create or replace function governed_row(v runs) returns jsonb language sql stable set timezone = 'UTC'
return governed_text('runs', v.id, (to_jsonb(v) - array['seq', 'head', 'worker', 'beat', 'fence', 'waits_for',
    'checkpoints_deleted', 'shelved', 'spent_tokens', 'spent_micros', 'spent_calls', 'spent_millis', 'reserved_tokens',
    'reserved_micros', 'reserved_calls'])
  || case when v.status in ('queued', 'running', 'waiting') then '{"status": "open", "reason": null}' else '{}' end::jsonb);
revoke execute on function governed_row(runs) from public;

-- Of an effect in doubt not how often it was looked at.
create or replace function governed_row(v effects) returns jsonb language sql stable set timezone = 'UTC'
return governed_text('effects', v.id, to_jsonb(v) - array['looks', 'look_at']);
revoke execute on function governed_row(effects) from public;

create or replace function governed_row(v approvals) returns jsonb language sql stable set timezone = 'UTC'
return governed_text('approvals', v.id, to_jsonb(v));
revoke execute on function governed_row(approvals) from public;

create or replace function governed_row(v approval_items) returns jsonb language sql stable set timezone = 'UTC'
return governed_text('approval_items', v.approval || '/' || v.digest, to_jsonb(v));
revoke execute on function governed_row(approval_items) from public;

create or replace function governed_row(v votes) returns jsonb language sql stable set timezone = 'UTC'
return governed_text('votes', v.approval || '/' || v.approver, to_jsonb(v));
revoke execute on function governed_row(votes) from public;

-- Whose a result is follows from its run.
create or replace function governed_row(v results) returns jsonb language sql stable set timezone = 'UTC'
return governed_text('results', v.handle, to_jsonb(v) - 'principal');
revoke execute on function governed_row(results) from public;

create or replace function governed_row(v principals) returns jsonb language sql stable set timezone = 'UTC'
return governed_text('principals', v.id, to_jsonb(v));
revoke execute on function governed_row(principals) from public;

-- Of a key the hashes of its secrets, hashed once more; not how often somebody came too late with its code.
create or replace function governed_row(v keys) returns jsonb language sql stable set timezone = 'UTC'
return governed_text('keys', v.id, (to_jsonb(v) - array['hash', 'claim', 'refusals'])
  || jsonb_build_object('hash', encode(sha256(v.hash), 'hex'), 'claim', encode(sha256(v.claim), 'hex')));
revoke execute on function governed_row(keys) from public;

create or replace function governed_row(v kills) returns jsonb language sql stable set timezone = 'UTC'
return governed_text('kills', v.kind || '/' || v.name, to_jsonb(v));
revoke execute on function governed_row(kills) from public;

create or replace function governed_row(v authority) returns jsonb language sql stable set timezone = 'UTC'
return governed_text('authority', 'policy', to_jsonb(v));
revoke execute on function governed_row(authority) from public;

create or replace function governed_row(v knowledge) returns jsonb language sql stable set timezone = 'UTC'
return governed_text('knowledge', v.id || '/' || v.version, to_jsonb(v));
revoke execute on function governed_row(knowledge) from public;

create or replace function governed_row(v knowledge_approvals) returns jsonb language sql stable set timezone = 'UTC'
return governed_text('knowledge_approvals', v.id || '/' || v.version || '/' || v.approver, to_jsonb(v));
revoke execute on function governed_row(knowledge_approvals) from public;

-- One governed row by its table and key, also if it is gone.
create or replace function governed_row_at(p_table text, p_key text) returns jsonb
language sql stable set search_path = public, pg_temp as $$
  select coalesce(case p_table
    when 'runs' then (select governed_row(r) from runs r where r.id = p_key)
    when 'effects' then (select governed_row(e) from effects e where e.id = p_key)
    when 'approvals' then (select governed_row(a) from approvals a where a.id = p_key)
    when 'approval_items' then (select governed_row(i) from approval_items i
      where i.approval = split_part(p_key, '/', 1) and i.digest = split_part(p_key, '/', 2))
    when 'votes' then (select governed_row(v) from votes v
      where v.approval = split_part(p_key, '/', 1) and v.approver = split_part(p_key, '/', 2))
    when 'results' then (select governed_row(h) from results h where h.handle = p_key)
    when 'principals' then (select governed_row(q) from principals q where q.id = p_key)
    when 'keys' then (select governed_row(k) from keys k where k.id = p_key)
    when 'kills' then (select governed_row(k) from kills k where k.kind || '/' || k.name = p_key)
    when 'authority' then (select governed_row(a) from authority a)
    when 'knowledge' then (select governed_row(k) from knowledge k where k.id || '/' || k.version = p_key)
    when 'knowledge_approvals' then (select governed_row(w) from knowledge_approvals w
      where w.id || '/' || w.version || '/' || w.approver = p_key)
    end, deleted_row(p_table, p_key))
$$;
revoke execute on function governed_row_at(text, text) from public;

-- The rows that [table, key] pairs name, once each.
create or replace function governed_rows_at(p_places jsonb) returns jsonb
language sql stable set search_path = public, pg_temp as $$
  select coalesce(jsonb_agg(governed_row_at(p.place ->> 0, p.place ->> 1)), '[]')
    from (select distinct x.place from jsonb_array_elements(p_places) as x (place)) p
$$;
revoke execute on function governed_rows_at(jsonb) from public;

-- Stamps of rows as an entry keeps them: [table, key, number, hash]; no hash for a row that is gone.
create or replace function stamps(p_rows jsonb) returns jsonb language sql volatile as $$
  select coalesce(jsonb_agg(jsonb_build_array(r -> 0, r -> 1, nextval('row_stamps'),
                                     encode(sha256(convert_to(r ->> 2, 'UTF8')), 'hex')) order by o), '[]')
    from jsonb_array_elements(p_rows) with ordinality as x (r, o)
$$;
revoke execute on function stamps(jsonb) from public;

-- Stamps the rows of every tenant that were written before there were stamps, one entry for each run and one for what
-- belongs to none: what is true of them from now on is what stands there today.
create or replace function adopt_rows() returns int
language plpgsql security definer set search_path = public, pg_temp as $$
declare v_tenant text; v_run runs; v_all int := 0;
begin
  for v_tenant in select t.id from tenants t where not t.adopted for update loop
    perform enter(v_tenant, null, '{}', null);
    for v_run in select r.* from runs r where r.kind = 'run' order by r.created, r.id for no key update loop
      perform journal_record(v_run, null, '{}', adopted_entry(v_run.id));
      v_all := v_all + 1;
    end loop;
    perform journal_extend(authority_chain(), adopted_entry(null));
    update tenants t set adopted = true where t.id = v_tenant;
  end loop;
  perform enter(null, null, '{}', '{}');
  return v_all;
end $$;
revoke execute on function adopt_rows() from public;

-- The entry that adopts the rows of a run, or those that belong to none.
create or replace function adopted_entry(p_run text) returns jsonb
language sql stable set search_path = public, pg_temp as $$
  select jsonb_build_object('kind', 'adopted', 'counts', jsonb_build_object('rows', count(*)),
                            'rows', coalesce(jsonb_agg(g), '[]'))
    from governed_rows(p_run) g
   where p_run is not null
      or g ->> 0 in ('principals', 'keys', 'kills', 'authority', 'knowledge', 'knowledge_approvals')
$$;
revoke execute on function adopted_entry(text) from public;
