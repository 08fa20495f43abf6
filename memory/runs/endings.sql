-- The end of a run in one call. Called by endings.py.

-- Ends the run that the fence leads, erases its working memory, and leaves what is to be remembered of it: notes as
-- `write_memory` takes them, each with its vector. One that memory does not take in is left out. Whoever calls this has
-- entered the scopes of both; only a run that was led before can have left a summary, which the new one replaces.
create or replace function end_run(p_run text, p_fence int, p jsonb, p_notes jsonb, p_vectors vector[])
returns table (code text)
language plpgsql set search_path = public, pg_temp as $$
declare v_code text;
begin
  select f.code into v_code from finish_run(p_run, p_fence, p ->> 'status', p ->> 'reason', p ->> 'message', p -> 'body') f;
  if v_code <> 'ok' then return query select v_code; return; end if;
  perform erase_run(p_run);
  if p_fence > 1 then
    delete from memories m
     where m.scope = any (array(select n ->> 'scope' from jsonb_array_elements(p_notes -> 'notes') n
                                 where n ->> 'key' is null))
       and m.summary_of = p_run;
  end if;
  for v_number in 1 .. jsonb_array_length(p_notes -> 'notes') loop
    perform write_memory(p_notes -> 'notes' -> v_number - 1, p_vectors[v_number]);
  end loop;
  return query select 'ok';
end $$;
revoke execute on function end_run(text, int, jsonb, jsonb, vector[]) from public;
grant execute on function end_run(text, int, jsonb, jsonb, vector[]) to cs_app;
