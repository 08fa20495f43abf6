-- Answers to questions: votes, decisions and what ends a question. Called by approvals.py.

-- Ends an open question and wakes its run; the caller holds the run row's lock.
create or replace function close_approval(p_approval text, p_status text, p_reason text, p_by text, p_edited jsonb)
returns boolean language plpgsql set search_path = public, pg_temp as $$
declare v approvals; v_woken boolean;
begin
  update approvals a set status = p_status, reason = p_reason, decided_by = p_by, edited = p_edited,
         decided = clock_timestamp(),
         valid_until = case p_status when 'approved' then clock_timestamp() + interval '1 hour' end
   where a.id = p_approval and a.status = 'open' returning a.* into v;
  if not found then return false; end if;
  perform journal_extend(v.run, jsonb_build_object('kind', 'approval', 'approval', p_approval, 'status', p_status,
    'reason', p_reason, 'by', p_by, 'edited', p_edited, 'valid_until', v.valid_until,
    'rows', jsonb_build_array(governed_row(v))));
  update runs set status = 'queued', waits_for = null, reason = null, beat = clock_timestamp()
   where id = v.run and status = 'waiting' and waits_for = p_approval returning true into v_woken;
  return coalesce(v_woken, false);
end $$;
revoke execute on function close_approval(text, text, text, text, jsonb) from public;

-- What the entry of a round that was opened says of it: who is asked, about how much, and what they are shown.
create or replace function held_entry(v approvals) returns jsonb language sql stable
return jsonb_build_object('kind', 'held', 'approval', v.id, 'step', v.step, 'round', v.round, 'requester', v.requester,
  'requester_excluded', v.requester_excluded, 'need', v.need, 'groups', v.groups, 'exposure', v.exposure,
  'currency', v.currency, 'rules', v.rules, 'policy', v.policy, 'pins', v.pins, 'plan', v.plan_hash,
  'actions', (select count(*) from approval_items i where i.approval = v.id), 'expires', v.expires,
  'authors', v.authors, 'checkpoint', v.checkpoint, 'shown', v.shown);
revoke execute on function held_entry(approvals) from public;

-- Voids what a run asks.
create or replace function void_run_approvals(p_run text, p_reason text) returns void
language plpgsql set search_path = public, pg_temp as $$
declare v_id text;
begin
  for v_id in select a.id from approvals a where a.run = p_run and a.status = 'open' loop
    perform close_approval(v_id, 'void', p_reason, current_principal(), null);
  end loop;
end $$;
revoke execute on function void_run_approvals(text, text) from public;

-- Voids every open approval that rests on a knowledge item; the caller holds the exclusive authority lock.
create or replace function void_approvals_pinning(p_knowledge text) returns setof text
language plpgsql set search_path = public, pg_temp as $$
declare v record;
begin
  for v in select a.id, a.run from approvals a
            where a.status = 'open' and a.pins @> jsonb_build_array(jsonb_build_object('id', p_knowledge))
            order by a.run loop
    perform 1 from runs r where r.id = v.run for no key update;
    if close_approval(v.id, 'void', 'stale_knowledge', current_principal(), null) then return next v.run; end if;
  end loop;
end $$;
revoke execute on function void_approvals_pinning(text) from public;

-- Whether this person may cast this vote; null means yes. Order matters: the first reason is the one told. A question
-- at a gate can be answered there: the requester may remark on their own question to people, though not vote, and
-- whoever has voted may still ask.
create or replace function vote_refusal(v approvals, p jsonb, p_decision text) returns text
language plpgsql stable set search_path = public, pg_temp as $$
declare v_person principals;
begin
  select * into v_person from principals q where q.id = current_principal();
  return case
    when v.nonce <> coalesce(p ->> 'nonce', '') then 'wrong_nonce'
    when p_decision = case v.kind when 'audit' then 'edit' else 'take_back' end then 'wrong_decision'
    when v_person.id is null then 'forbidden'
    when p_decision = 'ask' and (v.requester = v_person.id or v_person.id = any (v.authors)) then null
    when v.requester_excluded and v.requester = v_person.id then 'requester_excluded'
    when v_person.id = any (v.authors) then 'author_excluded'
    when cardinality(v.groups) > 0 and not v.groups && v_person.groups then 'needs_another_group'
    when p_decision = 'ask' then null
    when exists (select 1 from votes w where w.approval = v.id and w.approver = v_person.id) then 'duplicate_vote'
    when p_decision = 'approve' and not coalesce(v.exposure <= limit_of(v_person, v), false) then 'over_limit'
    when p_decision = 'edit' and voters_left(edited_round(v, p), v_person.id) < (edited_round(v, p)).need
      then 'no_approver_left'
  end;
end $$;
revoke execute on function vote_refusal(approvals, jsonb, text) from public;

-- Takes people's word for the effects of an audit question that they accepted; the caller holds the run row's lock.
create or replace function accept_audited(p_approval text) returns void
language plpgsql set search_path = public, pg_temp as $$
declare v effects; v_freed jsonb;
begin
  for v in update effects e set state = 'done', outcome = e.outcome || jsonb_build_object('resolved_by',
             current_principal()) from approval_items i
            where i.approval = p_approval and e.id = i.effect and e.state = 'unverified' returning e.* loop
    v_freed := free_reversed(v);
    perform journal_extend(v.run, v_freed || jsonb_build_object('kind', 'resolved', 'effect', v.id, 'state', 'done',
      'by', current_principal(), 'approval', p_approval, 'step', v.step, 'tool', v.tool,
      'rows', (v_freed -> 'rows') || jsonb_build_array(governed_row(v))));
  end loop;
end $$;
revoke execute on function accept_audited(text) from public;

-- The key by which an answer came: told by the hash of its secret, so that nobody names another's. Null if none is
-- told, or if it is none of this person's that is valid now.
create or replace function vote_key(p jsonb) returns text language sql stable set search_path = public, pg_temp as $$
  select k.id from keys k
   where k.hash = decode(p ->> 'credential', 'hex') and k.principal = current_principal() and k.revoked is null
     and (k.expires is null or k.expires > clock_timestamp())
$$;
revoke execute on function vote_key(jsonb) from public;

-- What the journal says of an edit beside who made it: the new arguments, also of one that was refused.
create or replace function edit_words(p jsonb) returns jsonb language sql immutable as $$
  select case p ->> 'decision' when 'edit' then jsonb_build_object('edited', p -> 'edited', 'reason', p ->> 'reason')
                               else '{}' end
$$;
revoke execute on function edit_words(jsonb) from public;

-- How many people agreed to a round so far. Who became an author after their vote, as by an upgrade, is none of them.
create or replace function agreement(v approvals) returns int language sql stable set search_path = public, pg_temp as $$
  select count(*)::int from votes w
   where w.approval = v.id and w.decision = 'approve' and w.approver <> all (v.authors)
$$;
revoke execute on function agreement(approvals) from public;

-- One answer of one person. The run row is locked first, so that parking and deciding cannot miss each other.
create or replace function decide(p jsonb)
returns table (code text, run text, status text, votes int, need int, decided_by text, woken boolean)
language plpgsql security definer set search_path = public, pg_temp as $$
declare v approvals; v_vote votes; v_code text; v_votes int; v_kind text := p ->> 'decision'; v_key text; v_woken boolean := false;
begin
  select a.run into v.run from approvals a where a.id = p ->> 'approval';
  perform 1 from runs r where r.id = v.run for no key update;
  select * into v from approvals a where a.id = p ->> 'approval' for update;
  if not found then
    return query select 'not_found', null::text, null::text, 0, 0, null::text, false; return;
  end if;
  if v.status = 'open' and v.expires <= clock_timestamp() then
    v_woken := close_approval(v.id, 'expired', 'approval_timeout', null, null);
    v.status := 'expired';
  end if;
  v_code := case v.status when 'open' then vote_refusal(v, p, v_kind) when 'expired' then 'approval_expired'
                 when 'void' then 'approval_void' else 'approval_decided' end;
  v_key := vote_key(p);
  if v_code is null and v_key is null and p ->> 'credential' is not null then v_code := 'forbidden'; end if;
  if v_code is not null then
    if v_code = 'no_approver_left' then v := propose_edit(v, p); end if;
    perform journal_extend(v.run, jsonb_build_object('kind', 'vote_refused', 'approval', v.id,
      'by', current_principal(), 'decision', v_kind, 'code', v_code, 'credential', v_key, 'checkpoint', v.checkpoint)
      || case v_code when 'no_approver_left' then jsonb_build_object('rows', jsonb_build_array(governed_row(v)))
                     else '{}' end || edit_words(p));
    v_votes := agreement(v);
    return query select v_code, v.run, v.status, v_votes, v.need, v.decided_by, v_woken; return;
  end if;
  if v_kind = 'ask' then
    perform journal_extend(v.run, jsonb_build_object('kind', 'question', 'approval', v.id, 'by', current_principal(),
      'to', v.requester, 'question', p ->> 'reason', 'credential', v_key, 'checkpoint', v.checkpoint));
    v_votes := agreement(v);
    return query select 'ok', v.run, 'open', v_votes, v.need, null::text, false; return;
  end if;
  insert into votes (tenant, approval, approver, decision, reason, channel, nonce, key)
  values (v.tenant, v.id, current_principal(), v_kind, coalesce(p ->> 'reason', ''), p ->> 'channel', p ->> 'nonce',
          v_key) returning * into v_vote;
  perform journal_extend(v.run, jsonb_build_object('kind', 'vote', 'approval', v.id, 'by', current_principal(),
    'decision', v_kind, 'reason', p ->> 'reason', 'channel', p ->> 'channel', 'nonce', p ->> 'nonce',
    'credential', v_key, 'checkpoint', v.checkpoint, 'rows', jsonb_build_array(governed_row(v_vote)))
    || edit_words(p));
  v_votes := agreement(v);
  if v_kind = 'reject' then
    v_woken := close_approval(v.id, 'rejected', p ->> 'reason', current_principal(), null);
  elsif v_kind = 'edit' then
    v_woken := close_approval(v.id, 'edited', p ->> 'reason', current_principal(), p -> 'edited');
  elsif v_kind = 'take_back' then
    v_woken := close_approval(v.id, 'taken_back', p ->> 'reason', current_principal(), null);
  elsif v_votes >= v.need then
    if v.kind = 'audit' then perform accept_audited(v.id); end if;
    v_woken := close_approval(v.id, 'approved', null, current_principal(), null);
  end if;
  return query select 'ok', v.run, (select a.status from approvals a where a.id = v.id), v_votes, v.need,
                      current_principal(), v_woken;
end $$;
revoke execute on function decide(jsonb) from public;
grant execute on function decide(jsonb) to cs_app;
