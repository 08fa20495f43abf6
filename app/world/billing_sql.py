"""SQL of the billing service; {i} is the instance's name, all else are parameters; used by billing alone."""

DUPLICATES = """
  select t.id as charge, f.id as first, t.customer, t.amount, t.currency, t.invoice = f.invoice as same_invoice,
         exists (select 1 from {i}_billing.refunds r where r.charge = t.id) as refunded, t.disputed, u.account
    from {i}_billing.charges t
    join {i}_billing.customers u on u.id = t.customer
   cross join lateral (
     select c.id, c.invoice from {i}_billing.charges c
      where c.customer = t.customer and c.amount = t.amount and (c.at, c.id) < (t.at, t.id)
      order by c.at, c.id limit 1) f
   where t.id > %(after)s
     and (%(night)s::date is null or (t.at at time zone 'UTC')::date = %(night)s::date)
   order by t.id limit %(limit)s"""

INVOICES = """
  select n.id as invoice, n.customer, n.amount, u.account
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
         case when (select count(*) from fit) = 1 then (select amount from fit) else 0 end as amount
    from asked"""

JOBS = """
  select id as job, name, kind, status, emitted from {i}_billing.jobs where %(kind)s in ('any', kind) order by id"""

TOTALS = """
  select count(*) as charges, count(*) filter (where times > 0) as refunded, coalesce(sum(paid), 0)::bigint as amount,
         count(*) filter (where times > 1) as refunded_twice, count(*) filter (where disputed) as disputed
    from (select c.disputed, count(r.id) as times, sum(r.amount) as paid
            from {i}_billing.charges c left join {i}_billing.refunds r on r.charge = c.id
           where c.id = any(%(charges)s) group by c.id, c.disputed) x"""

CHARGE_TOTALS = """
  select count(*) as invoices, count(*) filter (where times > 0) as charged, coalesce(sum(paid), 0)::bigint as amount,
         count(*) filter (where times > 1) as charged_twice
    from (select count(c.id) as times, sum(c.amount) as paid
            from {i}_billing.invoices n left join {i}_billing.charges c on c.invoice = n.id
           where n.id = any(%(invoices)s) group by n.id) x"""

CHARGE = """
  with items as (select * from jsonb_to_recordset(%(items)s) as x (invoice text, amount bigint)),
  looked as (
    select i.invoice, i.amount, n.customer, replace(%(keys)s, '{invoice}', i.invoice) as key,
           case when n.id is null then 'unknown invoice' when u.account = 'closed' then 'account closed'
                when i.amount <> n.amount then 'amount differs from the invoice' end as why
      from items i left join {i}_billing.invoices n on n.id = i.invoice
      left join {i}_billing.customers u on u.id = n.customer),
  made as (
    insert into {i}_billing.charges (id, customer, invoice, amount, at, key, run, subject, actor)
    select 'ch_' || substr(md5('charge ' || key), 1, 12), customer, invoice, amount, clock_timestamp(), key,
           %(run)s, %(subject)s, %(actor)s
      from looked where why is null
    on conflict (key) do nothing returning id, amount),
  labelled as (insert into {i}_billing.labels select id, 'normal' from made)
  select (select count(*) from made) as charged, (select coalesce(sum(amount), 0)::bigint from made) as amount,
         (select count(*) from looked where why is null) - (select count(*) from made) as replayed,
         (select coalesce(jsonb_agg(jsonb_build_object('invoice', invoice, 'reason', why) order by invoice), '[]')
            from looked where why is not null) as failed"""

REFUND = """
  with items as (select * from jsonb_to_recordset(%(items)s) as x (charge text, amount bigint)),
  looked as (
    select i.charge, i.amount, replace(%(keys)s, '{charge}', i.charge) as key,
           case when c.id is null then 'unknown charge' when u.account = 'closed' then 'account closed'
                when i.amount <> c.amount then 'amount differs from the charge'
                when c.disputed then 'disputed' end as why
      from items i left join {i}_billing.charges c on c.id = i.charge
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
    insert into {i}_billing.charges (id, customer, invoice, amount, at)
    select 'ch_' || substr(md5('again ' || id), 1, 12), customer, invoice, amount, clock_timestamp() from chosen
    returning id),
  labelled as (insert into {i}_billing.labels select id, 'clean_duplicate' from made)
  update {i}_billing.jobs set emitted = emitted + (select count(*) from made)
   where id = %(job)s and status = 'running' returning emitted"""

# Whom it will come to next, settled when the night is loaded: customers who were charged once.
RETRIES = """
  insert into {i}_billing.retries
  select row_number() over (order by c.id), c.id from {i}_billing.charges c
   where not exists (select 1 from {i}_billing.charges d where d.customer = c.customer and d.id <> c.id)"""
