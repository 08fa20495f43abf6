"""SQL of the billing service; {i} is the instance's name, all else are parameters; used by billing alone."""

DUPLICATES = """
  select t.id as charge, f.id as first, t.customer, t.amount, t.currency, t.invoice = f.invoice as same_invoice,
         exists (select 1 from {i}_billing.refunds r where r.charge = t.id) as refunded, t.disputed, u.account
    from {i}_billing.charges t
    join {i}_billing.customers u on u.id = t.customer
   cross join lateral (
     select c.id, c.invoice from {i}_billing.charges c
      where c.customer = t.customer and c.amount = t.amount and c.currency = t.currency and (c.at, c.id) < (t.at, t.id)
      order by c.at, c.id limit 1) f
   where t.id > %(after)s
     and (%(night)s::date is null or (t.at at time zone 'UTC')::date = %(night)s::date)
   order by t.id limit %(limit)s"""

INVOICES = """
  select n.id as invoice, n.customer, n.amount, n.currency, u.account
    from {i}_billing.invoices n join {i}_billing.customers u on u.id = n.customer
   where n.id > %(after)s and not exists (select 1 from {i}_billing.charges c where c.invoice = n.id)
   order by n.id limit %(limit)s"""

# One can be refunded: the only charge that was asked for, or the only one that doubles another.
CHARGES = """
  with asked as (
    select c.*, u.account, exists (select 1 from {i}_billing.refunds r where r.charge = c.id) as refunded,
           exists (select 1 from {i}_billing.charges d
                    where d.invoice = c.invoice and (d.at, d.id) < (c.at, c.id)) as doubles
      from {i}_billing.charges c join {i}_billing.customers u on u.id = c.customer
     where c.id = %(of)s or c.customer in (
       select id from {i}_billing.customers where %(of)s in (id, email, name))),
  fit as (
    select a.* from asked a
     where not refunded and not disputed and account = 'open' and (select count(distinct customer) from asked) = 1
       and (doubles or (select count(*) from asked) = 1))
  select count(distinct customer) as customers, count(*) as count, count(*) filter (where refunded) as refunded,
         case when (select count(*) from fit) = 1 then (select id from fit) else '' end as charge,
         case when (select count(*) from fit) = 1 then (select amount from fit) else 0 end as amount,
         case when (select count(*) from fit) = 1 then (select currency from fit) else '' end as currency
    from asked"""

JOBS = """
  select id as job, name, kind, status, emitted from {i}_billing.jobs where %(kind)s in ('any', kind) order by id"""

TOTALS = """
  select count(*) as charges, count(*) filter (where times > 0) as refunded, coalesce(sum(paid), 0)::bigint as amount,
         coalesce(min(currency), '') as currency, count(distinct currency) > 1 as is_mixed,
         count(*) filter (where times > 1 and paid > whole) as refunded_twice,
         count(*) filter (where times > 1 and paid <= whole) as in_parts, count(*) filter (where disputed) as disputed
    from (select c.disputed, c.currency, c.amount as whole, count(r.id) as times, sum(r.amount) as paid
            from {i}_billing.charges c left join {i}_billing.refunds r on r.charge = c.id
           where c.id = any(%(charges)s) group by c.id, c.disputed, c.currency, c.amount) x"""

CHARGE_TOTALS = """
  select count(*) as invoices, count(*) filter (where times > 0) as charged, coalesce(sum(paid), 0)::bigint as amount,
         count(*) filter (where times > 1) as charged_twice
    from (select count(c.id) as times, sum(c.amount) as paid
            from {i}_billing.invoices n left join {i}_billing.charges c on c.invoice = n.id
           where n.id = any(%(invoices)s) group by n.id) x"""

CHARGE = """
  with items as (select * from jsonb_to_recordset(%(items)s) as x (invoice text, amount bigint, currency text)),
  looked as (
    select i.invoice, i.amount, i.currency, n.customer, replace(%(keys)s, '{invoice}', i.invoice) as key,
           case when n.id is null then 'unknown invoice' when u.account = 'closed' then 'account closed'
                when i.currency <> n.currency then 'currency differs from the invoice'
                when i.amount <> n.amount then 'amount differs from the invoice' end as why
      from items i left join {i}_billing.invoices n on n.id = i.invoice
      left join {i}_billing.customers u on u.id = n.customer),
  made as (
    insert into {i}_billing.charges (id, customer, invoice, amount, currency, at, key, run, subject, actor)
    select 'ch_' || substr(md5('charge ' || key), 1, 12), customer, invoice, amount, currency, clock_timestamp(), key,
           %(run)s, %(subject)s, %(actor)s
      from looked where why is null
    on conflict (key) do nothing returning id, amount),
  labelled as (insert into {i}_billing.labels select id, 'normal' from made)
  select (select count(*) from made) as charged, (select coalesce(sum(amount), 0)::bigint from made) as amount,
         (select count(*) from looked where why is null) - (select count(*) from made) as replayed,
         (select coalesce(jsonb_agg(jsonb_build_object('invoice', invoice, 'reason', why) order by invoice), '[]')
            from looked where why is not null) as failed"""

# Refunds of one charge wait for each other, so that each sees what the others gave back.
LOCK = """
  select id from {i}_billing.charges where id = any(%(charges)s) order by id for update"""

# Parts of a charge add up to it and not to more. Only whole refunds are repeated for whoever brings another key: that
# is the harm that this business does not prevent.
REFUND = """
  with items as (
    select x.*, replace(%(keys)s, '{charge}', x.charge) as key from rows from (
      jsonb_to_recordset(%(items)s) as (charge text, amount bigint, currency text, part int))
      with ordinality as x (charge, amount, currency, part, n)),
  given as (
    select charge, sum(amount) as amount, min(amount) as least from {i}_billing.refunds
     where charge in (select charge from items) group by charge),
  sums as (
    select i.*, g.least, coalesce(g.amount, 0) + sum(i.amount) over (partition by i.charge order by i.n) as given,
           exists (select 1 from {i}_billing.refunds r where r.key = i.key) as is_done
      from items i left join given g on g.charge = i.charge),
  looked as (
    select i.charge, i.amount, i.key,
           case when c.id is null then 'unknown charge' when i.is_done then null
                when u.account = 'closed' then 'account closed'
                when i.currency <> c.currency then 'currency differs from the charge'
                when i.amount < 1 or i.amount > c.amount then 'amount differs from the charge'
                when (i.part > 0 or least(i.amount, i.least) < c.amount) and i.given > c.amount
                  then 'more than is left of the charge'
                when c.disputed then 'disputed' end as why
      from sums i left join {i}_billing.charges c on c.id = i.charge
      left join {i}_billing.customers u on u.id = c.customer),
  made as (
    insert into {i}_billing.refunds (charge, amount, key, run, subject, actor)
    select charge, amount, key, %(run)s, %(subject)s, %(actor)s from looked where why is null
    on conflict (key) do nothing returning charge, amount)
  select (select count(*) from made) as refunded, (select coalesce(sum(amount), 0)::bigint from made) as amount,
         (select count(*) from looked where why is null) - (select count(*) from made) as replayed,
         (select coalesce(jsonb_agg(jsonb_build_object('charge', charge, 'reason', why) order by charge), '[]')
            from looked where why is not null) as failed"""

# What the runaway retry job does after each refund while nobody pauses it: deterministic, and labelled for the truth.
EMIT = """
  with job as materialized (
    select emitted from {i}_billing.jobs where id = %(job)s and status = 'running' for update),
  chosen as (
    select c.* from job j
      join {i}_billing.retries r on r.n > j.emitted and r.n <= j.emitted + 40
      join {i}_billing.charges c on c.id = r.charge),
  made as (
    insert into {i}_billing.charges (id, customer, invoice, amount, currency, at)
    select 'ch_' || substr(md5('again ' || id), 1, 12), customer, invoice, amount, currency, clock_timestamp()
      from chosen
    returning id),
  labelled as (insert into {i}_billing.labels select id, 'clean_duplicate' from made)
  update {i}_billing.jobs set emitted = emitted + (select count(*) from made)
   where id = %(job)s and status = 'running' returning emitted"""

# Whom it will come to next, settled when the night is loaded: customers who were charged once.
RETRIES = """
  insert into {i}_billing.retries
  select row_number() over (order by c.id), c.id from {i}_billing.charges c
   where not exists (select 1 from {i}_billing.charges d where d.customer = c.customer and d.id <> c.id)"""
