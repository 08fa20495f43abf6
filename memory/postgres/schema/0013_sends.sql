-- What is known of the sends of an effect. Null in rows from before stands for their generation and their claim.
alter table effects
  -- Number of the business event under the key; only a governed reverse frees a key for another event.
  add column event int,
  -- When a request for it may last have been sent.
  add column sent timestamptz;
