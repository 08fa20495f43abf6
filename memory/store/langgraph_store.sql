-- Items of LangGraph's store among memories. Called by langgraph_store.py.

-- A key that is a list of texts, as the store writes it, and a text that is a JSON object. What a person keeps under a
-- key that only looks similar is no item, whatever stands in it.
create or replace function is_item(p_key text, p_body text) returns boolean language sql immutable parallel safe as $$
  select p_key ~ '^\[(?:"(?:[^"\\\u0001-\u001f]|\\["\\bfnrt]|\\u00[01][0-9a-f])*"(?:,(?=")|(?=\]))){2,}\]$'
     and p_body is json object
$$;
revoke execute on function is_item(text, text) from public;
grant execute on function is_item(text, text) to cs_app;
