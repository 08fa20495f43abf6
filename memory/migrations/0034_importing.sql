-- What was archived goes along when a scope moves: put into the archive as it was, in the scope that the importer writes
-- to, as long as its retention lasts. A hold does not travel; whoever set it holds the original.

create function shelve_memory(p jsonb) returns boolean
language plpgsql security definer set search_path = public, pg_temp as $$
declare v_scope text := (current_writes())[1]; v memories;
begin
  if v_scope is null then
    raise exception 'there is no scope to write to; enter with one' using errcode = 'insufficient_privilege';
  end if;
  v := jsonb_populate_record(null::memories, (p -> 'content') - 'tenant');
  if v.id is null or octet_length(v.body) not between 1 and 8192 or v.provenance is null
     or coalesce(v.trust, '') <> all (array['human', 'tool', 'model', 'untrusted']) then
    raise exception 'its content is no memory' using errcode = 'check_violation';
  end if;
  insert into memory_archive (id, scope, writer, content, reason, policy, pruned_by, pruned, retained_until)
  values (v.id, v_scope, v.provenance ->> 'principal', p -> 'content', p ->> 'reason', p ->> 'policy',
          p ->> 'pruned_by', (p ->> 'pruned')::timestamptz,
          least((p ->> 'retained_until')::timestamptz, clock_timestamp() + interval '10 years'))
  on conflict (tenant, id) do nothing;
  return found;
end $$;

-- The same for who else told a text.
create function link_memory(p jsonb) returns boolean
language plpgsql set search_path = public, pg_temp as $$
declare v memory_links := jsonb_populate_record(null::memory_links, p);
begin
  if not exists (select 1 from memories m where m.id = v.memory and m.scope = any (current_writes())) then
    raise exception 'it belongs to no memory here' using errcode = 'check_violation';
  end if;
  if exists (select 1 from memory_links l where l.memory = v.memory and l.digest = v.digest and l.told = v.told) then
    return false;
  end if;
  insert into memory_links (scope, memory, digest, trust, provenance, told)
  values ((current_writes())[1], v.memory, v.digest, v.trust, v.provenance, v.told);
  return true;
end $$;

revoke execute on function shelve_memory(jsonb), link_memory(jsonb) from public;
grant execute on function shelve_memory(jsonb), link_memory(jsonb) to cs_app;
