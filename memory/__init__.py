"""What is remembered, and for whom: Postgres and everything that survives a restart."""
