-- Results, checkpoints and transcripts are of the person whose run left them. What colleagues should see of them they see
-- through functions.

alter table results add column principal text not null default '';
alter table result_rows add column principal text not null default '';
alter table checkpoints add column principal text not null default '';
alter table checkpoint_blobs add column principal text not null default '';
alter table checkpoint_writes add column principal text not null default '';
alter table transcripts add column principal text not null default '';

-- Rows from before are those of everybody: the owner sees them all for these statements. Threads have one person each.
alter table runs no force row level security;
do $$
declare v_name text;
begin
  foreach v_name in array array['results', 'result_rows', 'checkpoints', 'checkpoint_blobs', 'checkpoint_writes',
                                'transcripts'] loop
    execute format('alter table %I no force row level security', v_name);
  end loop;
  update results h set principal = r.requester from runs r where r.tenant = h.tenant and r.id = h.run;
  update result_rows w set principal = h.principal from results h where h.tenant = w.tenant and h.handle = w.handle;
  foreach v_name in array array['checkpoints', 'checkpoint_blobs', 'checkpoint_writes', 'transcripts'] loop
    execute format($update$
      update %I c set principal = r.requester
        from (select distinct on (tenant, thread) tenant, thread, requester from runs where kind = 'run'
               order by tenant, thread, created, id) r
       where r.tenant = c.tenant and r.thread = c.%I
      $update$, v_name, case v_name when 'transcripts' then 'thread' else 'thread_id' end);
  end loop;
  foreach v_name in array array['results', 'result_rows', 'checkpoints', 'checkpoint_blobs', 'checkpoint_writes',
                                'transcripts'] loop
    execute format('alter table %I force row level security, alter column principal set statistics 0,
                      alter column principal set default current_principal()', v_name);
    execute format('drop policy tenant on %I', v_name);
    execute format('create policy own on %I for select using (tenant = (select current_tenant())
                      and principal = (select current_principal()))', v_name);
    -- The owner's functions judge, forget, restore and show what they must, for whoever entered.
    execute format('create policy owner on %I to cs_owner using (tenant = (select current_tenant()))
                      with check (tenant = (select current_tenant()))', v_name);
  end loop;
end $$;
alter table runs force row level security;

-- A result is added to one's own run, or to none, and its handle follows from what it is of: nobody can take that of
-- another's result, before or after.
create policy adds on results for insert with check (
  tenant = (select current_tenant()) and principal = (select current_principal())
  and handle = 'h_' || left(encode(sha256(convert_to(concat_ws(E'\n', tenant, run, name), 'UTF8')), 'hex'), 24)
  and not exists (select from runs r where r.id = run and r.requester <> current_principal()));

-- Rows of two people under one handle do not meet.
alter table result_rows drop constraint result_rows_pkey, add primary key (tenant, principal, handle, ord);
create policy adds on result_rows for insert with check (
  tenant = (select current_tenant()) and principal = (select current_principal()));

-- Threads are archived by a function of the owner.
drop policy archives on model_calls;

-- Administrators read and hold anybody's transcripts.
create policy administrators on transcripts for select using (
  tenant = (select current_tenant())
  and (select exists (select from principals p where p.tenant = current_tenant() and p.id = current_principal()
                         and 'admin' = any (p.groups))));

-- Words of memories and what texts are worded alike are read and written by functions alone: a plan that is run tells how
-- many rows it left out, of whomsoever.
revoke select on memory_postings from cs_app;
revoke select, insert on memory_marks from cs_app;
