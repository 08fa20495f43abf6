-- Texts by their hash: kept once, never changed, never taken away. Called by texts.py.

create or replace function texts_are_for_good() returns trigger language plpgsql as $$
begin
  raise exception 'texts that entries name are kept for good: % refused', tg_op using errcode = 'insufficient_privilege';
end $$;
create or replace trigger texts_no_change before update or delete on texts
  for each row execute function texts_are_for_good();
create or replace trigger texts_no_truncate before truncate on texts
  for each statement execute function texts_are_for_good();
alter table texts enable always trigger texts_no_change;
alter table texts enable always trigger texts_no_truncate;

-- Keeps a text, unless it is there; answers with its hash.
create or replace function keep_text(p_kind text, p_text text) returns table (hash text)
language plpgsql security definer set search_path = public, pg_temp as $$
declare v_hash text := encode(sha256(convert_to(p_text, 'UTF8')), 'hex');
begin
  insert into texts (kind, hash, text) values (p_kind, v_hash, p_text) on conflict do nothing;
  return query select v_hash;
end $$;
revoke execute on function keep_text(text, text) from public;
grant execute on function keep_text(text, text) to cs_app;
