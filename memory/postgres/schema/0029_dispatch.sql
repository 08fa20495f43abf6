-- A queued run waits in its own row, and workers take the oldest first (memory/runs/queue.sql); there are no jobs.

create index runs_due on runs (created, id) where status = 'queued';
drop function if exists forgotten_runs(interval, text[]);
drop function if exists wake_any_run(text);
delete from queue.procrastinate_jobs where queue_name = 'runs';
