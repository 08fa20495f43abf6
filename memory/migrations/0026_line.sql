-- A search reads the memories of a scope in the order in which they were said; sorting whole rows would take longer.
create index memories_line on memories (tenant, scope, session, place, created, id);
