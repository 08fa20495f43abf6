"""Connections to Postgres, entered with a signed session, and the database's own shape: roles, migrations, locks.

Owns `schema_migrations` and `entry_key`, and the embedded server. Called by every other room of memory, by `tools`,
and by the start-up in `app`.
"""
