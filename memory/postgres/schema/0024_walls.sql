-- Workers have a role of their own: the queue, and the functions that look across tenants, are theirs. Whoever only
-- serves requests wakes a run through one function (memory/runs/queue.sql), and sees no job.

revoke all on all tables in schema queue from cs_app;
revoke all on all sequences in schema queue from cs_app;
revoke usage on schema queue from cs_app;
grant usage on schema queue to cs_worker;
grant select, insert, update, delete on all tables in schema queue to cs_worker;
grant usage on all sequences in schema queue to cs_worker;

revoke all on sequence worker_numbers from cs_app;
grant usage on sequence worker_numbers to cs_worker;
