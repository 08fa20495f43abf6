-- Knowledge versions: published by those who may, never changed. Called by versions.py.

-- Versions do not change, so that a plan may pin one.
create or replace function knowledge_is_immutable() returns trigger language plpgsql as $$
begin
  raise exception 'knowledge versions do not change; publish a new one' using errcode = 'insufficient_privilege';
end $$;
create or replace trigger knowledge_no_change before update or delete on knowledge
  for each row execute function knowledge_is_immutable();

-- Keeps the sums that tell a search how much there is.
create or replace function spread_knowledge() returns trigger language plpgsql set search_path = public, pg_temp as $$
begin
  if tg_op = 'DELETE' then
    update knowledge_spread s set items = s.items - 1, phrases = s.phrases - old.phrases,
           counts = case when old.presence is null then s.counts else s.counts - old.presence end
     where s.tenant = old.tenant and s.kind = old.kind and s.embedder = old.embedder;
  else
    insert into knowledge_spread as s (tenant, kind, embedder, dims, items, phrases, counts)
    values (new.tenant, new.kind, new.embedder, new.dims, 1, new.phrases, new.presence)
    on conflict (tenant, kind, embedder) do update set items = s.items + 1, phrases = s.phrases + new.phrases,
      dims = new.dims, counts = case when new.presence is null then s.counts
                                     else coalesce(s.counts + new.presence, new.presence) end;
  end if;
  return null;
end $$;
revoke execute on function spread_knowledge() from public;
create or replace trigger knowledge_vectors_spread after insert or delete on knowledge_vectors
  for each row execute function spread_knowledge();

-- Gives the current version vectors of one embedder; `p_presence` marks the dimensions that its phrases use, if they
-- stand for words.
create or replace function place_phrases(p jsonb, p_version int, p_kind text, p_phrases vector[], p_presence vector)
returns void
language plpgsql set search_path = public, pg_temp as $$
begin
  if cardinality(p_phrases) = 0 then return; end if;
  insert into knowledge_vectors (id, version, kind, embedder, dims, phrases, presence)
  values (p ->> 'id', p_version, p_kind, p ->> 'embedder', vector_dims(p_phrases[1]),
          cardinality(p_phrases), p_presence);
  insert into knowledge_phrases (id, kind, embedder, ord, embedding)
  select p ->> 'id', p_kind, p ->> 'embedder', x.ord, x.phrase from unnest(p_phrases) with ordinality x (phrase, ord);
end $$;
revoke execute on function place_phrases(jsonb, int, text, vector[], vector) from public;

-- Who may publish, and approve what another published: those who answer for production.
create or replace function publisher_groups() returns text[] language sql immutable as $$
  select array['ops', 'finance', 'admin']
$$;
revoke execute on function publisher_groups() from public;
grant execute on function publisher_groups() to cs_app;

-- The people who published what a plan rests on and whom nobody has countersigned: authors of its questions. With
-- `p_for_good` only those whom nobody else could countersign.
create or replace function publishers_of(p_pins jsonb, p_for_good boolean) returns text[]
language sql stable set search_path = public, pg_temp as $$
  select coalesce(array_agg(distinct k.published_by), '{}')
    from jsonb_to_recordset(p_pins) as x (id text, version int)
    join knowledge k on k.id = x.id and k.version = x.version
    join principals q on q.id = k.published_by
   where not exists (select 1 from knowledge_approvals w
                      where w.id = k.id and w.version = k.version and w.approver <> k.published_by)
     and not (p_for_good and exists (select 1 from principals o
                                      where o.id <> k.published_by and o.groups && publisher_groups()))
$$;
revoke execute on function publishers_of(jsonb, boolean) from public;

-- Publishes one version: as one of those who answer for production, or as the installation, whose name no person bears
-- and which only our own processes can enter as. `version` null means the next one. People publish no other; a release
-- may ship any. An item stays what its first version was. A version that becomes current voids the open approvals that
-- pin an older one, in this transaction. What asks people (`attended`) and could be approved by nobody but its
-- publisher is refused: its questions would be decided by nobody.
create or replace function publish_knowledge(p jsonb, p_phrases vector[], p_presence vector)
returns table (code text, version int, woken text[])
language plpgsql security definer set search_path = public, pg_temp as $$
declare
  v_by text := current_principal();
  v_shipped boolean := is_installation();
  v_version int; v_current int; v_old text; v_woken text[] := '{}'; v_item knowledge;
begin
  if v_by is null or p ->> 'trust' is distinct from 'human'
     or exists (select 1 from unnest(current_writes() || current_reads()) s where s like 'run:%') then
    return query select 'forbidden', null::int, v_woken; return;
  end if;
  if not v_shipped and not is_of(publisher_groups()) then
    return query select 'group', null::int, v_woken; return;
  end if;
  perform authority_lock_exclusive();
  select max(k.version) into v_current from knowledge k where k.id = p ->> 'id';
  v_version := coalesce((p ->> 'version')::int, v_current + 1, 1);
  select k.kind into v_old from knowledge k where k.id = p ->> 'id' order by k.version limit 1;
  if v_old <> p ->> 'kind' then return query select 'kind', v_current, v_woken; return; end if;
  select k.digest into v_old from knowledge k where k.id = p ->> 'id' and k.version = v_version;
  if found then
    return query select case when v_old = p ->> 'digest' then 'known' else 'conflict' end, v_version, v_woken; return;
  end if;
  if not v_shipped and v_version <> coalesce(v_current + 1, 1) then
    return query select 'next', coalesce(v_current + 1, 1), v_woken; return;
  end if;
  if p ->> 'version' is null and exists (
    select 1 from knowledge k
     where k.id = p ->> 'id' and k.version = v_current and k.digest = p ->> 'digest' and k.kind = p ->> 'kind'
       and k.title = p ->> 'title' and k.owner = p ->> 'owner' and k.review_by = (p ->> 'review_by')::date) then
    return query select 'known', v_current, v_woken; return;
  end if;
  if not v_shipped and (p ->> 'attended')::boolean
     and not exists (select 1 from principals q where q.id <> v_by and q.groups && publisher_groups()) then
    return query select 'no_approver_left', v_version, v_woken; return;
  end if;
  insert into knowledge (id, version, kind, title, body, digest, owner, review_by, note, published_by)
  values (p ->> 'id', v_version, p ->> 'kind', p ->> 'title', p ->> 'body', p ->> 'digest', p ->> 'owner',
          (p ->> 'review_by')::date, coalesce(p ->> 'note', ''), v_by)
  returning * into v_item;
  perform journal_extend(authority_chain(), jsonb_build_object('kind', 'knowledge', 'id', p ->> 'id',
    'version', v_version, 'digest', p ->> 'digest', 'by', v_by,
    'rows', jsonb_build_array(governed_row(v_item))));
  if v_current is null or v_version > v_current then
    delete from knowledge_vectors v where v.id = p ->> 'id';
    insert into knowledge_vectors (id, version, kind, embedder) values (p ->> 'id', v_version, p ->> 'kind', '');
    perform place_phrases(p, v_version, p ->> 'kind', p_phrases, p_presence);
    select coalesce(array_agg(x), '{}') into v_woken from void_approvals_pinning(p ->> 'id') x;
  end if;
  return query select 'ok', v_version, v_woken;
end $$;
revoke execute on function publish_knowledge(jsonb, vector[], vector) from public;
grant execute on function publish_knowledge(jsonb, vector[], vector) to cs_app;

-- Another person than its publisher agrees that plans rest on a version; from then on its publisher is no author of
-- what such plans ask, in questions that are open as well. Again by the same person it changes nothing.
create or replace function approve_knowledge(p_id text, p_version int, p_reason text)
returns table (code text, publisher text)
language plpgsql security definer set search_path = public, pg_temp as $$
declare v knowledge; v_by text := current_principal(); v_approval knowledge_approvals; v_rounds jsonb;
begin
  if exists (select 1 from unnest(current_writes() || current_reads()) s where s like 'run:%') then
    return query select 'forbidden', null::text; return;
  end if;
  if not is_of(publisher_groups()) then return query select 'group', null::text; return; end if;
  perform authority_lock_exclusive();
  select * into v from knowledge k where k.id = p_id and k.version = p_version;
  if not found then return query select 'not_found', null::text; return; end if;
  if v.published_by = v_by then return query select 'author_excluded', v_by; return; end if;
  insert into knowledge_approvals (id, version, approver, reason) values (p_id, p_version, v_by, p_reason)
  on conflict do nothing returning * into v_approval;
  if not found then return query select 'known', v.published_by; return; end if;
  with freed as (
    update approvals a set authors = authors_of(a.run, steps_of(a), a.pins)
     where a.status = 'open' and a.pins @> jsonb_build_array(jsonb_build_object('id', p_id, 'version', p_version))
    returning governed_row(a) as row)
  select coalesce(jsonb_agg(f.row), '[]') into v_rounds from freed f;
  perform journal_extend(authority_chain(), jsonb_build_object('kind', 'knowledge_approved', 'id', p_id,
    'version', p_version, 'digest', v.digest, 'by', v_by, 'person', v.published_by, 'reason', p_reason,
    'rows', v_rounds || jsonb_build_array(governed_row(v_approval))));
  return query select 'ok', v.published_by;
end $$;
revoke execute on function approve_knowledge(text, int, text) from public;
grant execute on function approve_knowledge(text, int, text) to cs_app;
