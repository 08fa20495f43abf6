-- The queue of waiting work: the tables that the installed procrastinate brings, in a schema of their own. Owned by
-- memory/runs/queue.py. A later version of it that changes them needs a numbered file of its own here.

create schema queue;
set local search_path = queue, pg_temp;
-- include: procrastinate
set local search_path = public, pg_temp;

-- Its functions name their tables without schema; tied to theirs, they work whoever calls them from wherever.
do $$
declare v_function regprocedure;
begin
  for v_function in select p.oid from pg_proc p where p.pronamespace = 'queue'::regnamespace loop
    execute format('alter function %s set search_path = queue, pg_temp', v_function);
  end loop;
end $$;

grant usage on schema queue to cs_app;
grant select, insert, update, delete on all tables in schema queue to cs_app;
grant usage on all sequences in schema queue to cs_app;
