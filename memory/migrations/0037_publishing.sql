-- Publishing checks for itself who publishes and what an item is; housekeeping leaves word of what it did.

-- Publishes one version: as one of those who answer for production, or as the installation, whose name no person bears
-- and which only our own processes can enter as. `version` null means the next one. People publish no other; a release
-- may ship any. An item stays what its first version was. A version that becomes current voids the open approvals that
-- pin an older one, in this transaction.
create or replace function publish_knowledge(p jsonb)
returns table (code text, version int, woken text[])
language plpgsql security definer set search_path = public, pg_temp as $$
declare
  v_by text := current_principal();
  v_shipped boolean := is_installation();
  v_version int; v_current int; v_old text; v_woken text[] := '{}';
begin
  if v_by is null or p ->> 'trust' is distinct from 'human'
     or exists (select 1 from unnest(current_writes() || current_reads()) s where s like 'run:%') then
    return query select 'forbidden', null::int, v_woken; return;
  end if;
  if not v_shipped and not is_of(array['ops', 'finance', 'admin']) then
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
  insert into knowledge (id, version, kind, title, body, digest, owner, review_by, note, published_by)
  values (p ->> 'id', v_version, p ->> 'kind', p ->> 'title', p ->> 'body', p ->> 'digest', p ->> 'owner',
          (p ->> 'review_by')::date, coalesce(p ->> 'note', ''), v_by);
  perform journal_extend(authority_chain(), jsonb_build_object('kind', 'knowledge', 'id', p ->> 'id',
    'version', v_version, 'digest', p ->> 'digest', 'by', v_by));
  if v_current is null or v_version > v_current then
    delete from knowledge_vectors v where v.id = p ->> 'id';
    insert into knowledge_vectors (id, version, kind, embedder) values (p ->> 'id', v_version, p ->> 'kind', '');
    perform place_phrases(p, v_version, p ->> 'kind');
    select coalesce(array_agg(x), '{}') into v_woken from void_approvals_pinning(p ->> 'id') x;
  end if;
  return query select 'ok', v_version, v_woken;
end $$;

create table housekeeping (
  duty text primary key check (length(duty) between 1 and 60),
  done timestamptz,
  failed timestamptz,
  trouble text not null default '' check (length(trouble) <= 100)
);
comment on table housekeeping is 'when each duty of the workers was last done, and when it last failed at what; of no tenant';
alter table housekeeping enable row level security;
alter table housekeeping force row level security;
create policy system on housekeeping to cs_system using (true) with check (true);
grant select, insert, update on housekeeping to cs_system;

-- Notes that a duty was done, or, with a trouble, that it failed.
create function note_duty(p_duty text, p_trouble text) returns void
language sql security definer set search_path = public, pg_temp as $$
  insert into housekeeping as h (duty, done, failed, trouble)
  values (p_duty, case when p_trouble = '' then clock_timestamp() end,
          case when p_trouble <> '' then clock_timestamp() end, left(p_trouble, 100))
  on conflict (duty) do update set done = coalesce(excluded.done, h.done), failed = coalesce(excluded.failed, h.failed),
    trouble = excluded.trouble
$$;

-- Every duty with the seconds since it was done and since it failed; no trouble means that it was done last.
create function noted_duties() returns table (duty text, done float8, failed float8, trouble text)
language sql security definer set search_path = public, pg_temp as $$
  select h.duty, extract(epoch from clock_timestamp() - h.done)::float8,
         extract(epoch from clock_timestamp() - h.failed)::float8, h.trouble
    from housekeeping h order by h.duty
$$;

revoke execute on function note_duty(text, text), noted_duties() from public;
grant execute on function note_duty(text, text), noted_duties() to cs_app;
grant create on schema public to cs_system;
alter function note_duty(text, text) owner to cs_system;
alter function noted_duties() owner to cs_system;
revoke create on schema public from cs_system;
