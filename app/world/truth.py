"""What the runaway retry job does after each refund while nobody pauses it; deterministic, and labelled."""

EMIT = """
  with job as (
    update {i}_billing.jobs set emitted = emitted + 40 where id = %(job)s and status = 'running' returning emitted),
  chosen as (
    select c.* from {i}_billing.charges c join {i}_billing.labels l on l.charge = c.id and l.label = 'normal'
     where exists (select 1 from job)
       and not exists (select 1 from {i}_billing.charges d where d.customer = c.customer and d.id <> c.id)
     order by c.id limit 40),
  made as (
    insert into {i}_billing.charges (id, customer, invoice, amount, at)
    select 'ch_' || substr(md5('again ' || id), 1, 12), customer, invoice, amount, clock_timestamp() from chosen
    returning id)
  insert into {i}_billing.labels select id, 'clean_duplicate' from made"""
