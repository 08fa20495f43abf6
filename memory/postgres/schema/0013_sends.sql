-- What is known of the sends of an effect. Null in rows from before stands for their generation and their claim.
alter table effects
  -- Number of the business event under the key; only a governed reverse frees a key for another event.
  add column event int,
  -- When a request for it may last have been sent.
  add column sent timestamptz,
  -- How often it was looked at while in doubt, and when it is due again.
  add column looks int not null default 0,
  add column look_at timestamptz;

create index effects_in_doubt on effects (look_at) where state = 'in_doubt';
create policy system on effects to cs_system using (true);
grant select, update (looks, look_at) on effects to cs_system;

-- Its successor takes the number of the event, no longer that of the generation.
drop function if exists send_key_of(text, int);
