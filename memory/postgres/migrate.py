"""Database schema of a release: numbered SQL files, applied once, and function files, applied when their text changes.

Called by `countersign migrate` and at start-up, with the folders in which function files stand.
"""

import logging
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
from psycopg import AsyncConnection, sql
from psycopg.rows import DictRow, dict_row

from memory.errors import ControlError, Permanent, Temporary
from memory.postgres import locks
from memory.postgres.refusals import one_line, outage_of, owner_unreachable
from memory.postgres.roles import APP, OWNER, ROLES, SYSTEM, WORKER, WORLD, advice
from memory.postgres.sql_files import SCHEMA, SqlFile, functions, migrations

_LEAST_SERVER, _LEAST_VECTOR = 160000, (0, 8)
_BEFORE_RELEASE = "0001_scope"
"""The first file of databases from before the first release, to which no file here leads on."""
_log = logging.getLogger(__name__)

Connection = AsyncConnection[DictRow]


async def migrate(owner_url: str, folders: Iterable[Path], *, schema: Path = SCHEMA) -> tuple[str, ...]:
    """Apply the numbered files that are missing, in order, then the function files below `folders` that changed.

    Returns the names applied now; several at once wait for each other. Raises Permanent("configuration") before
    anything is written if roles, extension or server are not fit, if a numbered file changed after it was applied or is
    unknown here, and for a file that fails, which leaves no trace of itself.
    """
    async with _migration_lock(owner_url) as connection:
        await _check_server(connection)
        pending = await _pending(connection, migrations(schema))
        for file in pending:
            await _apply(connection, file)
        replacements = await _replacements(connection, functions(folders))
        await _replace(connection, replacements)
        if not pending and not replacements:
            _log.info("database is up to date")
        await _admit_world(connection)
        return tuple(file.name for file in (*pending, *replacements))


@asynccontextmanager
async def _migration_lock(owner_url: str) -> AsyncGenerator[Connection]:
    try:
        connection = await Connection.connect(
            owner_url, autocommit=True, connect_timeout=10, row_factory=dict_row, options="-c client_min_messages=error"
        )
    except psycopg.OperationalError as error:
        raise owner_unreachable(error) from error
    async with connection:
        await connection.execute("select pg_advisory_lock(%s)", [locks.MIGRATION])
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
               pg_has_role(%(system)s, 'set') as may_give,
               pg_has_role(%(worker)s, %(app)s, 'usage') as works
          from pg_database d where d.datname = current_database()
        """,
        {"system": SYSTEM, "worker": WORKER, "app": APP},
    )
    if not row["owns"] or row["inherits"] or not row["may_give"]:
        problem = f"role {OWNER!r} must own the database and may set, but not inherit, {SYSTEM!r}"
        raise _unfit(problem, database, ())
    if not row["works"]:
        raise _unfit(f"role {WORKER!r} must have what {APP!r} may do", database, ())


def _check_vector(version: str | None, database: str) -> None:
    if version is None:
        raise _unfit("extension 'vector' (pgvector) is missing, which only an administrator may create", database, ())
    if tuple(int(part) for part in version.split(".")[:2]) < _LEAST_VECTOR:
        raise Permanent("configuration", f"pgvector {version} is too old; update the extension to 0.8 or newer")


def _unfit(problem: str, database: str, missing: tuple[str, ...]) -> Permanent:
    message = f"{problem}; ask a database administrator to run what follows"
    return Permanent("configuration", message, script=advice(database, missing))


async def _pending(connection: Connection, files: list[SqlFile]) -> list[SqlFile]:
    present = await _row(connection, "select to_regclass('public.schema_migrations') is not null as yes")
    if not present["yes"]:
        return files
    rows = await (await connection.execute("select name, hash from public.schema_migrations")).fetchall()
    hashes = {str(row["name"]): str(row["hash"]) for row in rows}
    if _BEFORE_RELEASE in hashes:
        raise Permanent(
            "configuration",
            "this database was made before the first release and cannot be carried over; move the data folder away, or "
            "give the address of an empty database, and start again",
        )
    by_name = {file.name: file for file in files}
    for name, hash_ in hashes.items():
        if name not in by_name:
            raise Permanent("configuration", f"the database has migration {name!r}, unknown here; use a newer release")
        if by_name[name].hash != hash_:
            raise Permanent("configuration", f"migration {name!r} changed after it was applied; restore it, add a new")
    return [file for file in files if file.name not in hashes]


async def _apply(connection: Connection, file: SqlFile) -> None:
    _log.info("applying %s", file.name)
    try:
        async with connection.transaction():
            await _run(connection, file)
            await connection.execute(
                "insert into public.schema_migrations (name, hash) values (%s, %s)", [file.name, file.hash]
            )
    except psycopg.Error as error:
        raise _failure(error, f"migration {file.name!r} failed and left nothing") from error


async def _replacements(connection: Connection, files: list[SqlFile]) -> list[SqlFile]:
    query = "select distinct on (name) name, hash from public.schema_functions order by name, applied desc"
    rows = await (await connection.execute(query)).fetchall()
    in_force = {str(row["name"]): str(row["hash"]) for row in rows}
    return [file for file in files if in_force.get(file.name) != file.hash]


async def _replace(connection: Connection, files: list[SqlFile]) -> None:
    if not files:
        return
    role, file = sql.Identifier(SYSTEM), files[0]
    try:
        # All of them at once: a function of one file may need the new text of another.
        async with connection.transaction():
            # Only while its functions are written may the system role make any.
            await connection.execute(sql.SQL("grant create on schema public to {}").format(role))
            for file in files:
                _log.info("applying %s", file.name)
                await _run(connection, file)
                await connection.execute(
                    "insert into public.schema_functions (name, hash) values (%s, %s)"
                    " on conflict (name, hash) do update set applied = clock_timestamp()",
                    [file.name, file.hash],
                )
            await connection.execute(sql.SQL("revoke create on schema public from {}").format(role))
    except psycopg.errors.InvalidFunctionDefinition as error:
        problem = f"{file.name!r} gives a function another answer, which needs another name; no function changed"
        problem = f"{problem}: {one_line(error)}"
        raise Permanent("configuration", problem) from error
    except psycopg.Error as error:
        raise _failure(error, f"{file.name!r} failed and no function changed") from error


def _failure(error: psycopg.Error, problem: str) -> ControlError:
    """Return an error that says whether the file is to blame, or the database that went away in the middle of it."""
    if outage := outage_of(error, "the database"):
        return Temporary(outage.code, f"{problem}: {outage}", delay=outage.delay)
    return Permanent("configuration", f"{problem}: {one_line(error)}")


async def _run(connection: Connection, file: SqlFile) -> None:
    await connection.execute("set local search_path = public, pg_temp")
    # A function may name what a later file brings; a test checks all bodies when the last file is in.
    await connection.execute("set local check_function_bodies = off")
    await connection.execute(file.statements.encode())


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
