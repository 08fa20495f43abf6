"""Brings a database to the present shape: numbered SQL files, applied once; called by `migrate` and at start-up."""

import hashlib
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import psycopg
from psycopg import AsyncConnection, sql
from psycopg.rows import DictRow, dict_row

from memory.errors import Permanent, Temporary
from memory.postgres.roles import OWNER, ROLES, SYSTEM, WORLD, advice

MIGRATIONS = Path(__file__).parents[1] / "migrations"
_LOCK = 7400
_LEAST_SERVER, _LEAST_VECTOR = 160000, (0, 8)
_INCLUDE = "-- include: procrastinate\n"
_log = logging.getLogger(__name__)

Connection = AsyncConnection[DictRow]


@dataclass(frozen=True, slots=True)
class Migration:
    """One file; its hash is that of the text as written, before anything is included."""

    name: str
    text: str

    @property
    def hash(self) -> str:
        """Return the SHA-256 of the file's text."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def statements(self) -> str:
        """Return the SQL to run, with the queue's own schema put in where the file asks for it."""
        if _INCLUDE not in self.text:
            return self.text
        return self.text.replace(_INCLUDE, files("procrastinate").joinpath("sql/schema.sql").read_text())


async def migrate(owner_url: str, *, folder: Path = MIGRATIONS) -> tuple[str, ...]:
    """Apply what is missing, in order, and return the names applied now; several at once wait for each other.

    Raises Permanent("configuration") before anything is written if roles, extension or server are not fit, if a file
    changed after it was applied or is unknown here, and for a file that fails, which leaves no trace of itself.
    """
    async with _locked(owner_url) as connection:
        await _check_server(connection)
        pending = await _pending(connection, _read(folder))
        for migration in pending:
            await _apply(connection, migration)
        if not pending:
            _log.info("database is up to date")
        await _admit_world(connection)
        return tuple(migration.name for migration in pending)


@asynccontextmanager
async def _locked(owner_url: str) -> AsyncGenerator[Connection]:
    try:
        connection = await Connection.connect(
            owner_url, autocommit=True, connect_timeout=10, row_factory=dict_row, options="-c client_min_messages=error"
        )
    except psycopg.OperationalError as error:
        raise Temporary("unavailable", f"cannot reach the database as owner: {error}; check its URL") from error
    async with connection:
        await connection.execute("select pg_advisory_lock(%s)", [_LOCK])
        yield connection


async def _check_server(connection: Connection) -> None:
    row = await _row(
        connection,
        """
        select current_setting('server_version_num')::int as server, current_database() as database,
               current_user::text as me, r.rolsuper or r.rolbypassrls as above_policies,
               array(select n from unnest(%s::text[]) n where not exists (
                 select 1 from pg_roles where rolname = n)) as missing,
               (select extversion from pg_extension where extname = 'vector') as vector
          from pg_roles r where r.rolname = current_user
        """,
        [list(ROLES)],
    )
    database = str(row["database"])
    if row["server"] < _LEAST_SERVER:
        raise Permanent("configuration", f"Postgres {row['server'] // 10000} is too old; use version 16 or newer")
    if row["missing"]:
        missing = tuple(row["missing"])
        raise _unfit(f"database roles {', '.join(map(repr, missing))} are missing", database, missing)
    if row["me"] != OWNER or row["above_policies"]:
        raise Permanent(
            "configuration",
            f"migrations run as the plain role {OWNER!r}, not as {row['me']!r}: what they create obeys row security "
            "only then; set DATABASE_OWNER_URL accordingly",
        )
    await _check_owner(connection, database)
    _check_vector(row["vector"], database)


async def _check_owner(connection: Connection, database: str) -> None:
    row = await _row(
        connection,
        """
        select d.datdba = current_user::regrole as owns, pg_has_role(%(system)s, 'usage') as inherits,
               pg_has_role(%(system)s, 'set') as may_give
          from pg_database d where d.datname = current_database()
        """,
        {"system": SYSTEM},
    )
    if not row["owns"] or row["inherits"] or not row["may_give"]:
        problem = f"role {OWNER!r} must own the database and may set, but not inherit, {SYSTEM!r}"
        raise _unfit(problem, database, ())


def _check_vector(version: str | None, database: str) -> None:
    if version is None:
        raise _unfit("extension 'vector' (pgvector) is missing, which only an administrator may create", database, ())
    if tuple(int(part) for part in version.split(".")[:2]) < _LEAST_VECTOR:
        raise Permanent("configuration", f"pgvector {version} is too old; update the extension to 0.8 or newer")


def _unfit(problem: str, database: str, missing: tuple[str, ...]) -> Permanent:
    return Permanent("configuration", f"{problem}; ask a database administrator to run:\n{advice(database, missing)}")


def _read(folder: Path) -> list[Migration]:
    return [Migration(path.stem, path.read_text()) for path in sorted(folder.glob("[0-9][0-9][0-9][0-9]_*.sql"))]


async def _pending(connection: Connection, known: list[Migration]) -> list[Migration]:
    there = await _row(connection, "select to_regclass('public.schema_migrations') is not null as yes")
    if not there["yes"]:
        return known
    rows = await (await connection.execute("select name, hash from public.schema_migrations")).fetchall()
    applied = {str(row["name"]): str(row["hash"]) for row in rows}
    by_name = {migration.name: migration for migration in known}
    for name, hash_ in applied.items():
        if name not in by_name:
            raise Permanent("configuration", f"the database has migration {name!r}, unknown here; use a newer release")
        if by_name[name].hash != hash_:
            raise Permanent("configuration", f"migration {name!r} changed after it was applied; restore it, add a new")
    return [migration for migration in known if migration.name not in applied]


async def _apply(connection: Connection, migration: Migration) -> None:
    _log.info("applying %s", migration.name)
    try:
        async with connection.transaction():
            await connection.execute("set local search_path = public, pg_temp")
            # A function may name tables of a later file; a test checks all bodies when the last file is in.
            await connection.execute("set local check_function_bodies = off")
            await connection.execute(migration.statements.encode())
            await connection.execute(
                "insert into public.schema_migrations (name, hash) values (%s, %s)", [migration.name, migration.hash]
            )
    except psycopg.Error as error:
        raise Permanent("configuration", f"migration {migration.name!r} failed and left nothing: {error}") from error


async def _admit_world(connection: Connection) -> None:
    # Rights on a database are not copied with it, so they are given each time rather than in a file.
    row = await _row(connection, "select current_database() as name")
    name = sql.Identifier(row["name"])
    await connection.execute(sql.SQL("revoke temporary on database {} from public").format(name))
    await connection.execute(sql.SQL("grant create on database {} to {}").format(name, sql.Identifier(WORLD)))


async def _row(connection: Connection, query: str, values: list[object] | dict[str, object] | None = None) -> DictRow:
    row = await (await connection.execute(query.encode(), values)).fetchone()
    assert row is not None, "a query without a row source always has one"
    return row
