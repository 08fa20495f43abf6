-- What is known: small, versioned, owned items that plans pin; written by one function, never changed afterwards.

create table knowledge (
  tenant text not null default current_tenant(),
  id text not null check (id ~ '^[a-z0-9][a-z0-9._-]{0,99}$'),
  version int not null check (version >= 1),
  kind text not null check (kind in ('runbook', 'fact', 'config')),
  title text not null check (length(title) between 1 and 200),
  body text not null check (octet_length(body) between 1 and 20480),
  digest text not null check (digest = encode(sha256(convert_to(body, 'UTF8')), 'hex')),
  owner text not null check (length(owner) between 1 and 100),
  review_by date not null,
  note text not null default '' check (length(note) <= 500),
  embedder text not null,
  presence vector,
  published_by text not null,
  published timestamptz not null default clock_timestamp(),
  primary key (tenant, id, version)
);
comment on column knowledge.presence is '1 for each dimension that the title or an utterance uses; null if dense';

create table knowledge_phrases (
  tenant text not null default current_tenant(),
  id text not null,
  version int not null,
  ord int not null,
  embedding vector not null,
  primary key (tenant, id, version, ord),
  foreign key (tenant, id, version) references knowledge
);

alter table knowledge enable row level security;
alter table knowledge force row level security;
alter table knowledge_phrases enable row level security;
alter table knowledge_phrases force row level security;
create policy tenant on knowledge using (tenant = current_tenant()) with check (tenant = current_tenant());
create policy tenant on knowledge_phrases using (tenant = current_tenant()) with check (tenant = current_tenant());
grant select on knowledge, knowledge_phrases to cs_app;

create function knowledge_is_immutable() returns trigger language plpgsql as $$
begin
  raise exception 'knowledge versions do not change; publish a new one' using errcode = 'insufficient_privilege';
end $$;
create trigger knowledge_no_change before update or delete on knowledge
  for each row execute function knowledge_is_immutable();
create trigger knowledge_phrases_no_change before update or delete on knowledge_phrases
  for each row execute function knowledge_is_immutable();

-- Publishes one version as the entered person: `version` null means the next one. A version that becomes current voids
-- the open approvals that pin an older one, in this transaction.
create function publish_knowledge(p jsonb)
returns table (code text, version int, woken text[])
language plpgsql security definer set search_path = public, pg_temp as $$
declare v_version int; v_current int; v_old text; v_woken text[] := '{}';
begin
  if current_principal() is null or p ->> 'trust' is distinct from 'human'
     or exists (select 1 from unnest(current_writes()) w where w like 'run:%') then
    return query select 'forbidden', null::int, v_woken; return;
  end if;
  perform authority_lock_exclusive();
  select max(k.version) into v_current from knowledge k where k.id = p ->> 'id';
  v_version := coalesce((p ->> 'version')::int, v_current + 1, 1);
  select k.digest into v_old from knowledge k where k.id = p ->> 'id' and k.version = v_version;
  if found then
    return query select case when v_old = p ->> 'digest' then 'known' else 'conflict' end, v_version, v_woken; return;
  end if;
  if p ->> 'version' is null and exists (
    select 1 from knowledge k
     where k.id = p ->> 'id' and k.version = v_current and k.digest = p ->> 'digest' and k.kind = p ->> 'kind'
       and k.title = p ->> 'title' and k.owner = p ->> 'owner' and k.review_by = (p ->> 'review_by')::date) then
    return query select 'known', v_current, v_woken; return;
  end if;
  insert into knowledge (id, version, kind, title, body, digest, owner, review_by, note, embedder, presence, published_by)
  values (p ->> 'id', v_version, p ->> 'kind', p ->> 'title', p ->> 'body', p ->> 'digest', p ->> 'owner',
          (p ->> 'review_by')::date, coalesce(p ->> 'note', ''), p ->> 'embedder', (p ->> 'presence')::vector,
          current_principal());
  insert into knowledge_phrases (id, version, ord, embedding)
  select p ->> 'id', v_version, x.ord, x.phrase::vector
    from jsonb_array_elements_text(p -> 'phrases') with ordinality x (phrase, ord);
  perform journal_extend(authority_chain(), jsonb_build_object('kind', 'knowledge', 'id', p ->> 'id',
    'version', v_version, 'digest', p ->> 'digest', 'by', current_principal()));
  if v_current is null or v_version > v_current then
    select coalesce(array_agg(x), '{}') into v_woken from void_approvals_pinning(p ->> 'id') x;
  end if;
  return query select 'ok', v_version, v_woken;
end $$;
revoke execute on function publish_knowledge(jsonb) from public;
grant execute on function publish_knowledge(jsonb) to cs_app;
