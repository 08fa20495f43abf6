-- Authors of what a round asks, who do not decide it, and the people who are left to. Called by authors.py, and by the
-- functions that open rounds and count votes.

-- The people who edited what these steps of a run ask for, unless its requester took that over.
create or replace function editors_of(p_run text, p_steps text[]) returns text[]
language sql stable set search_path = public, pg_temp as $$
  select coalesce(array_agg(distinct a.decided_by), '{}') from approvals a
   where a.run = p_run and a.step = any (p_steps) and a.status = 'edited' and a.taken_over_by is null
$$;
revoke execute on function editors_of(text, text[]) from public;

-- All authors of what these steps ask, besides the requester: who edited it, and who published what it rests on and is
-- not countersigned.
create or replace function authors_of(p_run text, p_steps text[], p_pins jsonb) returns text[]
language sql stable set search_path = public, pg_temp as $$
  select array(select x from unnest(editors_of(p_run, p_steps) || publishers_of(p_pins, false)) x group by x order by x)
$$;
revoke execute on function authors_of(text, text[], jsonb) from public;

-- The steps that a round asks about.
create or replace function steps_of(v approvals) returns text[]
language sql stable set search_path = public, pg_temp as $$
  select array(select i.step from approval_items i where i.approval = v.id) || v.step
$$;
revoke execute on function steps_of(approvals) from public;

-- Those of a round that is to be opened.
create or replace function steps_to_ask(p jsonb) returns text[] language sql immutable as $$
  select array(select i ->> 'step' from jsonb_array_elements(p -> 'items') i) || (p ->> 'step')
$$;
revoke execute on function steps_to_ask(jsonb) from public;

-- How each person of the groups that a round asks stands to it: `ok`, or why their approval would not count.
create or replace function standings(v approvals) returns table (person text, standing text)
language sql stable set search_path = public, pg_temp as $$
  select q.id, case
      when v.requester_excluded and q.id = v.requester then 'requester_excluded'
      when q.id = any (v.authors) then 'author_excluded'
      when not coalesce(v.exposure <= limit_of(q, v), false) then 'over_limit'
      else 'ok' end
    from principals q where cardinality(v.groups) = 0 or v.groups && q.groups
$$;
revoke execute on function standings(approvals) from public;

-- How many people could still approve a round if this person were one of its authors.
create or replace function voters_left(v approvals, p_author text) returns bigint
language sql stable set search_path = public, pg_temp as $$
  select count(*) from standings(v) s where s.standing = 'ok' and s.person <> p_author
$$;
revoke execute on function voters_left(approvals, text) from public;

-- A round as it would be opened, to be judged before it is. A publisher counts as its author only if nobody could
-- countersign the version: else the round can be decided once somebody does.
create or replace function draft_round(p jsonb) returns approvals
language sql stable set search_path = public, pg_temp as $$
  select jsonb_populate_record(null::approvals, p - 'shown' || jsonb_build_object(
    'requester', p ->> 'user',
    'currency', p -> 'exposure_currency',
    'authors', to_jsonb(editors_of(p ->> 'run', steps_to_ask(p)) || publishers_of(p -> 'pins', true))))
$$;
revoke execute on function draft_round(jsonb) from public;

-- A round as an edit would have it asked again: by its demand, where the caller says what policy makes of it.
create or replace function edited_round(v approvals, p jsonb) returns approvals
language sql stable set search_path = public, pg_temp as $$
  select jsonb_populate_record(v, coalesce(nullif(p -> 'demand', 'null'), '{}'))
$$;
revoke execute on function edited_round(approvals, jsonb) from public;

-- Keeps an edit that was refused because it would leave nobody to approve it, and returns the round: the requester may
-- take it over.
create or replace function propose_edit(v approvals, p jsonb) returns approvals
language sql set search_path = public, pg_temp as $$
  update approvals a set proposal = jsonb_build_object('by', current_principal(), 'edited', p -> 'edited',
         'demand', p -> 'demand', 'reason', p ->> 'reason', 'nonce', gen_random_uuid()::text, 'at', clock_timestamp())
   where a.id = v.id returning a.*
$$;
revoke execute on function propose_edit(approvals, jsonb) from public;

-- Whether too few people could approve the edit that a round keeps even if its writer were none of its authors.
create or replace function is_short_of_voters(v approvals) returns boolean
language plpgsql stable set search_path = public, pg_temp as $$
begin
  v := edited_round(v, v.proposal);
  v.authors := publishers_of(v.pins, true);
  return voters_left(v, '') < v.need;
end $$;
revoke execute on function is_short_of_voters(approvals) from public;

-- The requester makes an edit a request of their own, so that who wrote it may decide again: one that was refused, told
-- by the nonce of the proposal, ends the round as edited; of one that was taken, the round after it goes on.
create or replace function take_over(p jsonb)
returns table (code text, run text, status text, editors text[], woken boolean)
language plpgsql security definer set search_path = public, pg_temp as $$
declare v approvals; v_editors text[]; v_woken boolean := false;
begin
  select a.run into v.run from approvals a where a.id = p ->> 'approval';
  perform 1 from runs r where r.id = v.run for no key update;
  select * into v from approvals a where a.id = p ->> 'approval' for update;
  v_editors := editors_of(v.run, steps_of(v));
  code := case
    when v.id is null then 'not_found'
    when v.requester <> current_principal() then 'forbidden'
    when v.status = 'void' then 'approval_void'
    when v.status <> 'open' then 'approval_decided'
    when v.expires <= clock_timestamp() then 'approval_expired'
    when p ->> 'nonce' = v.proposal ->> 'nonce' then
      case when is_short_of_voters(v) then 'no_approver_left' else 'proposal' end
    when p ->> 'nonce' is distinct from v.nonce then 'wrong_nonce'
    when v_editors = '{}' then 'conflict'
    else 'round' end;
  if code not in ('proposal', 'round') then
    return query select code, v.run, v.status, v_editors, false; return;
  end if;
  update approvals a set taken_over_by = current_principal()
   where a.id = v.id and code = 'proposal'
      or a.run = v.run and a.step = any (steps_of(v)) and a.status = 'edited' and a.taken_over_by is null;
  if code = 'proposal' then
    v_editors := array[v.proposal ->> 'by'];
    v_woken := close_approval(v.id, 'edited', v.proposal ->> 'reason', current_principal(), v.proposal -> 'edited');
  else
    update approvals a set authors = authors_of(a.run, steps_of(a), a.pins) where a.id = v.id;
  end if;
  perform journal_extend(v.run, jsonb_build_object('kind', 'taken_over', 'approval', v.id, 'by', current_principal(),
    'authors', to_jsonb(v_editors), 'channel', p ->> 'channel', 'credential', vote_key(p), 'checkpoint', v.checkpoint,
    'rows', (select jsonb_agg(governed_row(a)) from approvals a where a.run = v.run)));
  return query select 'ok', v.run, (select a.status from approvals a where a.id = v.id), v_editors, v_woken;
end $$;
revoke execute on function take_over(jsonb) from public;
grant execute on function take_over(jsonb) to cs_app;

-- How people stand to a round: one that is there, also with another demand and one more author, or one that would be
-- opened by the same body as for `hold`.
create or replace function deciders(p jsonb) returns table (person text, standing text)
language plpgsql stable security definer set search_path = public, pg_temp as $$
declare v approvals;
begin
  if p ? 'approval' then
    select * into v from approvals a where a.id = p ->> 'approval';
    v := edited_round(v, jsonb_build_object('demand', p - array['approval', 'author']));
    v.authors := array_append(v.authors, p ->> 'author');
  else
    v := draft_round(p);
  end if;
  return query select * from standings(v);
end $$;
revoke execute on function deciders(jsonb) from public;
grant execute on function deciders(jsonb) to cs_app;
