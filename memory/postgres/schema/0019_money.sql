-- Money has a currency. Null in rows from before, and of what is not about money, stands for that of the accounts.

-- What a tenant accounts in: the limits of its people, and the amounts of policies that name no currency.
alter table tenants add column currency text not null default 'EUR' check (currency ~ '^[A-Z]{3}$');

-- What a person may approve in further currencies: {"JPY": {"alone": 1000, "joint": 100000}}; nothing in any other.
alter table principals add column limits jsonb not null default '{}' check (jsonb_typeof(limits) = 'object');

alter table approvals add column currency text;
alter table approval_items add column currency text;
alter table effects add column currency text;

-- Of rows: null without an amount, `*` if the row names none. Of results: empty without amounts, `*` if in several.
alter table result_rows add column currency text;
alter table results add column currency text not null default '';

-- Rows of runs that wait are those of everybody: the owner sees them all for these two statements.
alter table result_rows no force row level security;
alter table results no force row level security;
update result_rows set currency = case when row::jsonb ->> 'currency' ~ '^[A-Z]{3}$'
                                       then row::jsonb ->> 'currency' else '*' end
 where jsonb_typeof(row::jsonb -> 'amount') = 'number';
update results r set currency = x.currency
  from (select tenant, handle, case when min(currency) = max(currency) then min(currency) else '*' end as currency
          from result_rows where currency is not null group by tenant, handle) x
 where x.tenant = r.tenant and x.handle = r.handle;
alter table result_rows force row level security;
alter table results force row level security;
