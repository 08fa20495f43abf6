-- A question at a gate can be answered there: the requester may remark on their own question to people, though not vote,
-- and whoever has voted may still ask.
create or replace function vote_refusal(v approvals, p jsonb, p_decision text) returns text
language plpgsql stable set search_path = public, pg_temp as $$
declare v_person principals;
begin
  select * into v_person from principals q where q.id = current_principal();
  return case
    when v.nonce <> coalesce(p ->> 'nonce', '') then 'wrong_nonce'
    when v_person.id is null then 'forbidden'
    when p_decision = 'ask' and v.requester = v_person.id then null
    when v.requester_excluded and v.requester = v_person.id then 'requester_excluded'
    when cardinality(v.groups) > 0 and not v.groups && v_person.groups then 'needs_another_group'
    when p_decision = 'ask' then null
    when exists (select 1 from votes w where w.approval = v.id and w.approver = v_person.id) then 'duplicate_vote'
    when p_decision = 'approve' and v.exposure > case when v.need = 1 then v_person.limit_alone
                                                      else v_person.limit_joint end then 'over_limit'
  end;
end $$;
