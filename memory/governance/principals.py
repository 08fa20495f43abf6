"""People of a tenant, their limits and their keys; called by authentication, key administration and first start."""

import hashlib
import secrets
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import psycopg
from psycopg.rows import dict_row

from memory.errors import Permanent, Temporary
from memory.postgres.codes import member
from memory.postgres.database import Connection, Database
from memory.scope import Access, Principal

_FOUNDER = "founder"
"""The principal under which the owner enters a tenant that has no people yet."""
_STANDINGS: tuple[Literal["valid", "expired", "revoked"], ...] = ("valid", "expired", "revoked")


@dataclass(frozen=True, slots=True)
class NewKey:
    """A new key; `secret` is shown once and kept nowhere."""

    id: str
    person: str
    secret: str


@dataclass(frozen=True, slots=True)
class Key:
    """A key as administrators see it, without its secret."""

    id: str
    person: str
    label: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


def key_hash(secret: str) -> bytes:
    """Return the hash under which a key is stored; keys are 32 random bytes, so a plain hash is enough."""
    return hashlib.sha256(secret.encode()).digest()


async def authenticate(database: Database, secret: str) -> Principal:
    """Return the person whose key this is; raises Permanent("unauthenticated") unless it is known and valid."""
    async with database.system() as connection:
        cursor = await connection.execute("select * from principal_of_key(%s)", [key_hash(secret)])
        row = await cursor.fetchone()
    if row is None:
        raise Permanent("unauthenticated", "this key is unknown; ask an administrator for one")
    standing = member(_STANDINGS, row["standing"], "principal_of_key")
    if standing != "valid":
        raise Permanent("unauthenticated", f"this key is {standing}; ask an administrator for a new one")
    return Principal(row["tenant"], row["id"], frozenset(row["groups"]), row["limit_alone"], row["limit_joint"])


async def issue(database: Database, access: Access, person: str, *, label: str = "", days: int | None = None) -> NewKey:
    """Make a key for an existing person of the entered tenant, valid for `days` or for good.

    Raises Permanent("not_found") for others; the database refuses whoever is no administrator.
    """
    async with database.transaction(access) as connection:
        await _require(connection, person)
        return await _issue(connection, person, label, days)


async def require(database: Database, access: Access, person: str) -> None:
    """Raise Permanent("not_found") unless the tenant has this person."""
    async with database.transaction(access) as connection:
        await _require(connection, person)


async def keys(database: Database, access: Access) -> list[Key]:
    """Return the tenant's keys without their secrets, newest first."""
    async with database.transaction(access) as connection:
        cursor = await connection.execute(
            "select id, principal, label, created, expires, revoked from keys order by created desc, id"
        )
        return [_key(row) for row in await cursor.fetchall()]


async def revoke(database: Database, access: Access, key: str) -> None:
    """End a key at once, as an administrator; raises Permanent("not_found")."""
    row = await database.call(access, "revoke_key", key)
    if not row:
        raise Permanent("not_found", f"there is no key {key!r}; `countersign keys ls` lists them")


async def create_tenant(owner_url: str, tenant: str, people: Sequence[Principal]) -> bool:
    """Create a tenant with its first people, as the database's owner; leaves an existing tenant alone.

    Returns whether the tenant is new.
    """
    async with await _as_owner(owner_url) as connection, connection.transaction():
        cursor = await connection.execute(
            "insert into tenants (id) values (%s) on conflict do nothing returning id", [tenant]
        )
        if await cursor.fetchone() is None:
            return False
        await _enter(connection, tenant)
        for person in people:
            await connection.execute(
                "select * from put_principal(%s, %s, %s, %s)",
                [person.id, sorted(person.groups), person.limit_alone, person.limit_joint],
            )
    return True


async def bootstrap(owner_url: str, tenant: str, person: str, label: str, days: int | None = None) -> NewKey:
    """Make a key with the owner's authority, for the first ones; raises Permanent("not_found")."""
    async with as_owner(owner_url, tenant) as connection:
        await _require(connection, person)
        return await _issue(connection, person, label, days)


@asynccontextmanager
async def as_owner(url: str, tenant: str) -> AsyncGenerator[Connection]:
    """Lend a connection of the database's owner that has entered a tenant, for one transaction."""
    async with await _as_owner(url) as connection, connection.transaction():
        await _enter(connection, tenant)
        yield connection


async def _as_owner(url: str) -> Connection:
    try:
        return await Connection.connect(url, autocommit=True, row_factory=dict_row, connect_timeout=10)
    except psycopg.OperationalError as error:
        raise Temporary("unavailable", f"cannot reach the database as owner: {error}; check its URL") from error


async def _enter(connection: Connection, tenant: str) -> None:
    await connection.execute("select enter(%s, %s, '{}', '{}')", [tenant, _FOUNDER])


def _key(row: Mapping[str, Any]) -> Key:
    return Key(
        row["id"],
        row["principal"],
        row["label"],
        created_at=row["created"],
        expires_at=row["expires"],
        revoked_at=row["revoked"],
    )


async def _require(connection: Connection, person: str) -> None:
    cursor = await connection.execute("select 1 from principals where id = %s", [person])
    if await cursor.fetchone() is None:
        raise Permanent("not_found", f"there is no person {person!r} in this tenant; name one who exists")


async def _issue(connection: Connection, person: str, label: str, days: int | None) -> NewKey:
    secret = "cs_" + secrets.token_urlsafe(32)
    cursor = await connection.execute(
        "select id from create_key(%s, %s, %s, clock_timestamp() + make_interval(days => %s))",
        [person, key_hash(secret), label, days],
    )
    row = await cursor.fetchone() or {}
    return NewKey(row["id"], person, secret)
