"""All that survives a restart, and for whom: the lowest of the four rooms, imported by every other one.

`errors`, `scope` and `clock` are the lowest words; above them the connection to Postgres (`postgres`) and text as
vectors (`embeddings`); then decisions and journal (`governance`), memories (`store`) and versioned items
(`knowledge`), which do not know each other; on top runs with their checkpoints (`runs`) and background work
(`maintenance`).
"""
