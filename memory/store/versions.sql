-- Pins. Called by versions.py.

-- Keeps a live memory of the scope that is written from being pruned, or no longer. Pins are few, so that a scope of
-- nothing but pins cannot outgrow its room. A value that only waits for one that will end may be pinned too: it holds
-- again then.
create or replace function pin_memory(p_id text, p_on boolean, p_most int) returns table (code text)
language plpgsql security definer set search_path = public, pg_temp as $$
declare v memories;
begin
  select m.* into v from memories m
   where m.id::text = p_id and m.scope = any (current_writes())
     and (m.superseded_by is null or m.covered_until is not null)
     and (m.expires is null or m.expires > clock_timestamp());
  if not found then return query select 'not_found'; return; end if;
  -- The lock of pruning, which looks at pins and then takes away what has none.
  perform pg_advisory_xact_lock(hashtextextended(current_tenant() || '/' || v.scope, 7550));
  if p_on and (select count(*) from memories m where m.scope = v.scope and m.pinned and m.id <> v.id) >= p_most then
    return query select 'full'; return;
  end if;
  update memories m set pinned = p_on where m.tenant = v.tenant and m.id = v.id and m.pinned <> p_on;
  if not found then
    return query select case when exists (select 1 from memories m where m.id = v.id) then 'same' else 'not_found' end;
    return;
  end if;
  perform journal_extend(authority_chain(),
    jsonb_build_object('kind', 'pinned', 'memory', p_id, 'on', p_on, 'by', current_principal()));
  return query select 'done';
end $$;
revoke execute on function pin_memory(text, boolean, int) from public;
grant execute on function pin_memory(text, boolean, int) to cs_app;
