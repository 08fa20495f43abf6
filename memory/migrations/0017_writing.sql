-- What a memory says besides its text: how often it was told, what resembles it, since when it was known to be so.

alter table memories
  add column near text,
  add column terms text[] not null default '{}',
  add column told int not null default 1,
  add column pinned boolean not null default false,
  add column known_to timestamptz;
comment on column memories.near is 'digest of the terms, whatever their order; null for rows from before';
comment on column memories.known_to is 'valid_from and valid_to say when it was so; created and known_to say when it was believed';
create index memories_near on memories (tenant, scope, near) where superseded_by is null;

-- Bands of a MinHash over the terms: two texts that share one are worth a comparison.
create table memory_marks (
  tenant text not null default current_tenant(),
  scope text not null,
  mark text not null,
  memory uuid not null,
  primary key (tenant, scope, mark, memory),
  foreign key (tenant, memory) references memories on delete cascade
);
create index memory_marks_of on memory_marks (tenant, memory);

-- The same told again: not a copy, but who told it and where it came from.
create table memory_links (
  tenant text not null default current_tenant(),
  id bigint generated always as identity primary key,
  scope text not null,
  memory uuid not null,
  digest text not null,
  trust text not null check (trust in ('human', 'tool', 'model', 'untrusted')),
  provenance jsonb not null,
  told timestamptz not null default clock_timestamp(),
  foreign key (tenant, memory) references memories on delete cascade
);
create index memory_links_of on memory_links (tenant, memory);

-- What a run or session was shown, so that it cannot tell it again as something new.
create table memory_seen (
  tenant text not null default current_tenant(),
  seer text not null,
  memory uuid not null,
  seen timestamptz not null default clock_timestamp(),
  primary key (tenant, seer, memory),
  foreign key (tenant, memory) references memories on delete cascade
);
create index memory_seen_of on memory_seen (tenant, memory);
create index memory_seen_age on memory_seen (seen);

-- Texts that were forgotten: keyed hashes alone. The key of a tenant is read by the owner's functions only.
create table memory_secrets (tenant text primary key default current_tenant(), inner_pad bytea not null,
                             outer_pad bytea not null);
create table memory_tombstones (tenant text not null default current_tenant(), mark bytea not null,
                                made timestamptz not null default clock_timestamp(), primary key (tenant, mark));

do $$ declare v_table text; begin
  foreach v_table in array array['memory_marks', 'memory_links', 'memory_seen', 'memory_secrets', 'memory_tombstones']
  loop
    execute format('alter table %I enable row level security; alter table %I force row level security',
                   v_table, v_table);
  end loop;
end $$;
create policy scope on memory_marks using (tenant = current_tenant()
    and (scope = any (current_reads()) or scope = any (current_writes())))
  with check (tenant = current_tenant() and scope = any (current_writes()));
create policy scope on memory_links using (tenant = current_tenant()
    and (scope = any (current_reads()) or scope = any (current_writes())))
  with check (tenant = current_tenant() and scope = any (current_writes()));
create policy seer on memory_seen using (tenant = current_tenant()
    and (seer = any (current_reads()) or seer = any (current_writes())));
create policy tenant on memory_secrets using (tenant = current_tenant()) with check (tenant = current_tenant());
create policy tenant on memory_tombstones using (tenant = current_tenant()) with check (tenant = current_tenant());
create policy system on memory_seen to cs_system using (seen < clock_timestamp() - interval '1 day');
grant select, insert on memory_marks, memory_links, memory_seen to cs_app;
grant select, delete on memory_seen to cs_system;

-- HMAC-SHA256 with the key of the tenant, which is made when it is first needed.
create function memory_hmac(p_text text) returns bytea
language plpgsql set search_path = public, pg_temp as $$
declare v memory_secrets; v_key bytea; v_in bytea := ''; v_out bytea := '';
begin
  select * into v from memory_secrets where tenant = current_tenant();
  if not found then
    v_key := sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))
             || decode(repeat('00', 32), 'hex');
    for i in 0..63 loop
      v_in := v_in || decode(lpad(to_hex(get_byte(v_key, i) # 54), 2, '0'), 'hex');
      v_out := v_out || decode(lpad(to_hex(get_byte(v_key, i) # 92), 2, '0'), 'hex');
    end loop;
    insert into memory_secrets (inner_pad, outer_pad) values (v_in, v_out) on conflict do nothing;
    select * into strict v from memory_secrets where tenant = current_tenant();
  end if;
  return sha256(v.outer_pad || sha256(v.inner_pad || convert_to(p_text, 'UTF8')));
end $$;

-- Whether a text was forgotten in one of these places; answers about the entered tenant only.
create function is_forgotten(p_places text[], p_near text) returns boolean
language sql security definer set search_path = public, pg_temp as $$
  select exists (select 1 from memory_tombstones limit 1)
     and exists (select 1 from unnest(p_places) as place
                   join memory_tombstones t on t.mark = memory_hmac(place || chr(10) || p_near))
$$;

create function trust_rank(p_trust text) returns int language sql immutable as $$
  select array_position(array['untrusted', 'model', 'tool', 'human'], p_trust)
$$;

-- Whether nothing in the first is missing from the second but a few words, none of which is a number or a denial.
create function says_no_more(p_terms text[], p_than text[], p_spare int) returns boolean language sql immutable as $$
  select cardinality(p_terms) > 0 and (
    select count(*) <= p_spare and coalesce(bool_and(t !~ '[0-9]' and t <> all (array['no', 'not', 'never'])), true)
      from (select unnest(p_terms) except select unnest(p_than)) as news (t))
$$;

-- Looks at a note before it is written: what it repeats, restates or may not replace. Sees what the caller sees.
create function look_at_note(p jsonb)
returns table (code text, id uuid, trust text)
language plpgsql set search_path = public, pg_temp as $$
declare
  v_terms text[] := array(select jsonb_array_elements_text(p -> 'terms'));
  v_seers text[] := array(select jsonb_array_elements_text(p -> 'seers'));
begin
  perform pg_advisory_xact_lock(hashtextextended(
    current_tenant() || '/' || (p ->> 'scope') || '/' || coalesce(p ->> 'key', p ->> 'near'), 7600));
  if (p ->> 'guarded')::boolean and is_forgotten(
       array[p ->> 'scope', 'by:' || coalesce(p ->> 'principal', '')], p ->> 'near') then
    return query select 'forgotten', null::uuid, null::text; return;
  end if;
  if p ->> 'key' is not null then
    return query select case when m.digest = p ->> 'digest' then 'twin'
                             when trust_rank(m.trust) > trust_rank(p ->> 'trust') then 'outranked' else 'new' end,
                        m.id, m.trust
      from memories m
     where m.scope = p ->> 'scope' and m.key = p ->> 'key' and m.superseded_by is null
       and (m.expires is null or m.expires > clock_timestamp());
    if found then return; end if;
  else
    return query select 'twin', m.id, m.trust from memories m
     where m.scope = p ->> 'scope' and m.key is null and m.superseded_by is null
       and (m.expires is null or m.expires > clock_timestamp())
       and trust_rank(m.trust) >= trust_rank(p ->> 'trust')
       and (m.near = p ->> 'near' or m.id in (
         select k.memory from memory_marks k
          where k.scope = p ->> 'scope' and k.mark in (select jsonb_array_elements_text(p -> 'marks'))))
       and (m.near = p ->> 'near'
            or (says_no_more(v_terms, m.terms, 3) and says_no_more(m.terms, v_terms, 0))
            or (says_no_more(m.terms, v_terms, 3) and says_no_more(v_terms, m.terms, 0)))
     order by m.near = p ->> 'near' desc, m.created, m.id limit 1;
    if found then return; end if;
  end if;
  if p ->> 'trust' <> 'human' then
    return query select 'restated', m.id, m.trust from memories m
     where (m.id::text in (select jsonb_array_elements_text(p -> 'derived'))
            or m.id in (select s.memory from memory_seen s where s.seer = any (v_seers)))
       and says_no_more(v_terms, m.terms, cardinality(v_terms) / 10)
     order by m.created, m.id limit 1;
  end if;
end $$;

revoke execute on function memory_hmac(text), is_forgotten(text[], text), trust_rank(text),
  says_no_more(text[], text[], int), look_at_note(jsonb) from public;
grant execute on function is_forgotten(text[], text), trust_rank(text), says_no_more(text[], text[], int),
  look_at_note(jsonb) to cs_app;
