-- Limits of people per currency, and the currency that a tenant accounts in. Called by limits.py, and by the questions
-- of approvals.sql and tools/effects.sql.

-- What the tenant accounts in: the currency of `limit_alone` and `limit_joint`, and of records that name none.
create or replace function accounting_currency() returns text
language sql stable security definer set search_path = public, pg_temp as $$
  select t.currency from tenants t where t.id = current_tenant()
$$;
revoke execute on function accounting_currency() from public;
grant execute on function accounting_currency() to cs_app;

-- Lets a tenant account in a currency, as long as nothing in it was recorded in one: what stands there would mean
-- something else. Returns the currency that it accounts in now. Only the owner does.
create or replace function account_in(p_currency text) returns text
language plpgsql security definer set search_path = public, pg_temp as $$
begin
  update tenants t set currency = p_currency
   where t.id = current_tenant() and t.currency <> p_currency
     and not exists (select 1 from effects e where e.currency is not null)
     and not exists (select 1 from approvals a where a.currency is not null)
     and not exists (select 1 from principals p where p.limits <> '{}');
  return accounting_currency();
end $$;
revoke execute on function account_in(text) from public;

-- Up to what sum of the question's currency a person may approve it; null if they have no limit in that currency, who
-- then may not.
create or replace function limit_of(q principals, v approvals) returns bigint
language sql stable set search_path = public, pg_temp as $$
  select case
    when v.currency is null or v.currency = accounting_currency() then
      case when v.need = 1 then q.limit_alone else q.limit_joint end
    else (q.limits -> v.currency ->> case when v.need = 1 then 'alone' else 'joint' end)::bigint end
$$;
revoke execute on function limit_of(principals, approvals) from public;

-- Sets up to what sums a person may approve in one currency. As with groups, only the owner does.
create or replace function put_limit(p_id text, p_currency text, p_alone bigint, p_joint bigint)
returns table (id text) language sql security definer set search_path = public, pg_temp as $$
  update principals p
     set limit_alone = case p_currency when accounting_currency() then p_alone else p.limit_alone end,
         limit_joint = case p_currency when accounting_currency() then p_joint else p.limit_joint end,
         limits = case p_currency when accounting_currency() then p.limits else p.limits
           || jsonb_build_object(p_currency, jsonb_build_object('alone', p_alone, 'joint', p_joint)) end
   where p.id = p_id and least(p_alone, p_joint) >= 0
  returning p.id
$$;
revoke execute on function put_limit(text, text, bigint, bigint) from public;
