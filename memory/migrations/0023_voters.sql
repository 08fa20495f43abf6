-- A vote counts at the claim only while its voter could still cast it: whoever left the group or lost the limit since
-- has not agreed any more, and the action is asked about anew.

create or replace function covering_approval(p jsonb) returns text
language sql volatile set search_path = public, pg_temp as $$
  select a.id from approvals a join approval_items i on i.approval = a.id
   where a.run = p ->> 'run' and i.digest = p ->> 'digest' and a.status = 'approved' and i.consumed is null
     and a.valid_until > clock_timestamp() and a.policy = p ->> 'policy'
     and (select count(*) from votes v join principals q on q.id = v.approver
           where v.approval = a.id and v.decision = 'approve'
             and (cardinality(a.groups) = 0 or a.groups && q.groups)
             and a.exposure <= case a.need when 1 then q.limit_alone else q.limit_joint end)
         >= greatest((p ->> 'need')::int, a.need)
   order by a.opened desc limit 1 for update of i
$$;
