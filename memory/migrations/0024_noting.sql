-- The look before a note is written: texts are compared only with the few that resemble them or were shown.
create or replace function look_at_note(p jsonb)
returns table (code text, id uuid, trust text)
language plpgsql set search_path = public, pg_temp
-- A plan made while the table was small must not be the one that reads all of it later.
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
declare
  v_tenant text := current_tenant();
  v_scope text := p ->> 'scope';
  v_key text := p ->> 'key';
  v_near text := p ->> 'near';
  v_rank int := trust_rank(p ->> 'trust');
  v_terms text[] := array(select jsonb_array_elements_text(p -> 'terms'));
  v_marks text[] := array(select jsonb_array_elements_text(p -> 'marks'));
  v_seers text[] := array(select jsonb_array_elements_text(p -> 'seers'));
  v_seen uuid[] := array(select d::uuid from jsonb_array_elements_text(p -> 'derived') d
                          where d ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$');
  v_alike uuid[];
begin
  perform pg_advisory_xact_lock(hashtextextended(v_tenant || '/' || v_scope || '/' || coalesce(v_key, v_near), 7600));
  if (p ->> 'guarded')::boolean
     and is_forgotten(array[v_scope, 'by:' || coalesce(p ->> 'principal', '')], v_near) then
    return query select 'forgotten', null::uuid, null::text; return;
  end if;
  if v_key is not null then
    return query select case when m.digest = p ->> 'digest' then 'twin'
                             when trust_rank(m.trust) > v_rank then 'outranked' else 'new' end, m.id, m.trust
      from memories m
     where m.tenant = v_tenant and m.scope = v_scope and m.key = v_key and m.superseded_by is null
       and (m.expires is null or m.expires > clock_timestamp());
    if found then return; end if;
  else
    v_alike := array(
      select m.id from memories m
       where m.tenant = v_tenant and m.scope = v_scope and m.near = v_near and m.superseded_by is null
      union
      select k.memory from memory_marks k
       where k.tenant = v_tenant and k.scope = v_scope and k.mark = any (v_marks));
    return query
      select 'twin', m.id, m.trust from memories m
       where m.tenant = v_tenant and m.id = any (v_alike) and m.key is null
         and m.superseded_by is null and (m.expires is null or m.expires > clock_timestamp())
         and trust_rank(m.trust) >= v_rank
         and (m.near = v_near
              or (says_no_more(v_terms, m.terms, 3) and says_no_more(m.terms, v_terms, 0))
              or (says_no_more(m.terms, v_terms, 3) and says_no_more(v_terms, m.terms, 0)))
       order by m.near = v_near desc, m.created, m.id limit 1;
    if found then return; end if;
  end if;
  if v_rank < trust_rank('human') then
    v_seen := v_seen || array(select s.memory from memory_seen s where s.tenant = v_tenant and s.seer = any (v_seers));
    return query
      select 'restated', m.id, m.trust from memories m
       where m.tenant = v_tenant and m.id = any (v_seen) and says_no_more(v_terms, m.terms, cardinality(v_terms) / 10)
       order by m.created, m.id limit 1;
  end if;
end $$;
alter function says_no_more(text[], text[], int) cost 10000;
