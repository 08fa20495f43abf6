"""Which database roles there are, their secrets and addresses; used by the launcher, and by migrate for its advice."""

import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql

from memory.postgres import limits

OWNER, APP, WORKER, WORLD, SYSTEM = "cs_owner", "cs_app", "cs_worker", "cs_world", "cs_system"
ROLES = (OWNER, APP, WORKER, WORLD, SYSTEM)
SUPERUSER = "postgres"
DATABASE = "countersign"

_PLAIN = "nosuperuser nobypassrls nocreatedb nocreaterole noreplication"
# Without `inherit false` the owner would fall under every policy written `to cs_system` and see all tenants.
_MEMBER = f"grant {SYSTEM} to {OWNER} with inherit false, set true"
_WORKS = f"grant {APP} to {WORKER} with inherit true, set false"


def password() -> str:
    """Return a new password."""
    return secrets.token_urlsafe(24)


@dataclass(frozen=True, slots=True)
class Urls:
    """One address per database role; only the app's belongs into a process that serves requests and leads no runs."""

    owner: str
    app: str
    worker: str
    world: str
    superuser: str


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens: a host name, or the folder of its Unix socket."""

    host: str
    port: int

    def url(self, role: str, password: str, database: str) -> str:
        """Return the connection URL of a role."""
        login, name = f"{role}:{quote(password, safe='')}", quote(database, safe="")
        if self.host.startswith("/"):
            return f"postgresql://{login}@/{name}?host={quote(self.host, safe='')}&port={self.port}"
        return f"postgresql://{login}@{self.host}:{self.port}/{name}"


@dataclass(frozen=True, slots=True)
class Secrets:
    """The passwords of an embedded server, one file each, readable by their owner only."""

    folder: Path

    def of(self, role: str, draw: Callable[[], str] = password) -> str:
        """Return the password of a role, or another secret by name; drawn the first time."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        path = self.folder / role
        if not path.exists():
            # Written aside and linked, so that a crash never leaves an empty secret behind, and of two processes that
            # draw at once both go on with the first one's.
            draft = self.folder / f".{role}.{os.getpid()}"
            handle = os.open(draft, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
            try:
                os.write(handle, draw().encode())
            finally:
                os.close(handle)
            with suppress(FileExistsError):
                path.hardlink_to(draft)
            draft.unlink()
        return path.read_text()

    def urls(self, address: Address, database: str = DATABASE) -> Urls:
        """Return the addresses of all roles that log in, for one database of the server."""
        roles = (OWNER, APP, WORKER, WORLD, SUPERUSER)
        return Urls(*(address.url(role, self.of(role), database) for role in roles))


def provision(address: Address, secrets: Secrets) -> None:
    """Make roles, database and extension of an embedded server; repeats harmlessly."""
    with psycopg.connect(address.url(SUPERUSER, secrets.of(SUPERUSER), SUPERUSER), autocommit=True) as server:
        for role in ROLES:
            _make_role(server, role, secrets)
        server.execute(_MEMBER.encode())
        server.execute(_WORKS.encode())
        if not server.execute("select 1 from pg_database where datname = %s", [DATABASE]).fetchone():
            server.execute(sql.SQL("create database {} owner {}").format(_name(DATABASE), _name(OWNER)))
    with psycopg.connect(secrets.urls(address).superuser, autocommit=True) as database:
        database.execute("set client_min_messages = warning")
        database.execute("create extension if not exists vector")


def lacks_roles(address: Address, secrets: Secrets) -> bool:
    """Return whether a running embedded server was prepared by a release that knew fewer roles."""
    with psycopg.connect(address.url(SUPERUSER, secrets.of(SUPERUSER), SUPERUSER), autocommit=True) as server:
        rows = server.execute("select 1 from pg_roles where rolname = any(%s)", [list(ROLES)]).fetchall()
    return len(rows) < len(ROLES)


def _make_role(server: psycopg.Connection, role: str, secrets: Secrets) -> None:
    if not server.execute("select 1 from pg_roles where rolname = %s", [role]).fetchone():
        server.execute(sql.SQL("create role {}").format(_name(role)))
    change = sql.SQL("alter role {} with " + _PLAIN).format(_name(role))
    if role != SYSTEM:
        # Hashed here, so that the password itself never stands in a statement that the server may log.
        verifier = server.pgconn.encrypt_password(secrets.of(role).encode(), role.encode(), b"scram-sha-256")
        change += sql.SQL(" login password {}").format(verifier.decode())
    server.execute(change)
    if role in (APP, WORKER):
        for name, value in limits.SETTINGS.items():
            server.execute(sql.SQL("alter role {} set {} = {}").format(_name(role), _name(name), value))


def _name(text: str) -> sql.Identifier:
    return sql.Identifier(text)


def advice(database: str, missing: tuple[str, ...] = ROLES) -> str:
    """Return the SQL with which a database administrator prepares an outside server."""
    lines = [f"create role {role} {'nologin' if role == SYSTEM else 'login'} {_PLAIN};" for role in missing]
    lines += [f"\\password {role}" for role in missing if role != SYSTEM]
    for role in (APP, WORKER):
        lines += [f"alter role {role} set {name} = '{value}';" for name, value in limits.SETTINGS.items()]
    lines += [f"{_MEMBER};", f"{_WORKS};", f'alter database "{database}" owner to {OWNER};', f'\\connect "{database}"']
    return "\n".join([*lines, "create extension if not exists vector;"])
