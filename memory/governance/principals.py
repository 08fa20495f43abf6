"""People of a tenant, their limits and their keys; called by authentication, key administration and first start."""

import hashlib
import secrets
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, get_args

import psycopg
from psycopg.rows import dict_row

from memory.errors import Permanent
from memory.postgres.codes import member
from memory.postgres.database import Connection, Database
from memory.postgres.refusals import owner_unreachable
from memory.scope import Access, Principal

_FOUNDER = "founder"
"""The principal under which the owner enters a tenant that has no people yet."""
_KEY = "id, principal, label, created, expires, revoked, made_by, claim_until, claimed, refusals"
_STANDINGS: tuple[Literal["valid", "expired", "revoked"], ...] = ("valid", "expired", "revoked")


ClaimCode = Literal["ok", "not_found", "claimed", "revoked", "expired"]
_CLAIM_CODES: tuple[ClaimCode, ...] = get_args(ClaimCode)
_KEY_PREFIX = "cs_"
_CLAIM_PREFIX = "claim_"


@dataclass(frozen=True, slots=True)
class NewKey:
    """A new key; `secret` is shown once and kept nowhere."""

    id: str
    person: str
    secret: str
    """The key itself, or the code for which its person gets it."""
    claim_until: datetime | None = None
    """When a code lapses; None for a key."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key as administrators see it, without its secret."""

    id: str
    person: str
    label: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    maker: str | None
    """The person who made it; None for keys from before that was kept."""
    claim_until: datetime | None
    """When the code lapses for which its person gets it; None for a key that was made for oneself."""
    claimed_at: datetime | None
    refusals: int
    """How often somebody came with the code after it was used."""


def key_hash(secret: str) -> bytes:
    """Return the hash under which a key is stored; keys are 32 random bytes, so a plain hash is enough."""
    return hashlib.sha256(secret.encode()).digest()


async def authenticate(database: Database, secret: str) -> Principal:
    """Return the person whose key this is; raises Permanent("unauthenticated") unless it is known and valid."""
    async with database.system() as connection:
        cursor = await connection.execute("select * from principal_of_key(%s)", [key_hash(secret)])
        row = await cursor.fetchone()
    if row is None and secret.startswith(_CLAIM_PREFIX):
        message = "this is the code of a key that waits for its person; take it with `countersign keys claim CODE`"
        raise Permanent("unauthenticated", message)
    if row is None:
        raise Permanent("unauthenticated", "this key is unknown; ask an administrator for one")
    standing = member(_STANDINGS, row["standing"], "principal_of_key")
    if standing != "valid":
        raise Permanent("unauthenticated", f"this key is {standing}; ask an administrator for a new one")
    return Principal(row["tenant"], row["id"], frozenset(row["groups"]), row["limit_alone"], row["limit_joint"])


async def issue(database: Database, access: Access, person: str, *, label: str = "", days: int | None = None) -> NewKey:
    """Make a key for an existing person of the entered tenant, valid for `days` or for good.

    A key for oneself works at once; for anybody else this is a code that works once and for nothing but `claim`.
    Raises Permanent("not_found") for strangers; the database refuses whoever is no administrator.
    """
    async with database.transaction(access) as connection:
        await _require(connection, person)
        if person != access.principal.id:
            return await _invite(connection, person, label, days)
        secret = _KEY_PREFIX + secrets.token_urlsafe(32)
        cursor = await connection.execute(
            "select id from create_key(%s, %s, %s, clock_timestamp() + make_interval(days => %s))",
            [person, key_hash(secret), label, days],
        )
        row = await cursor.fetchone() or {}
        return NewKey(row["id"], person, secret)


async def claim(database: Database, code: str) -> NewKey:
    """Take the key that somebody made for the person of a code; its secret is in this answer alone.

    Raises Permanent: "unauthenticated" for a code that is unknown, lapsed or revoked, "key_claimed" for one that was
    used before, which stands in the journal then.
    """
    async with database.system() as connection:
        cursor = await connection.execute("select * from person_of_claim(%s)", [key_hash(code)])
        row = await cursor.fetchone()
    if row is None:
        raise _claim_refusal("not_found", {})
    async with database.transaction(Access.of(Principal(row["tenant"], row["id"]))) as connection:
        key = await _claim(connection, code)
    # Raised only now: that somebody came with a used code is recorded, and an error inside would undo that.
    if isinstance(key, Permanent):
        raise key
    return key


async def require(database: Database, access: Access, person: str) -> None:
    """Raise Permanent("not_found") unless the tenant has this person."""
    async with database.transaction(access) as connection:
        await _require(connection, person)


async def keys(database: Database, access: Access) -> list[Key]:
    """Return the tenant's keys without their secrets, newest first."""
    async with database.transaction(access) as connection:
        cursor = await connection.execute(f"select {_KEY} from keys order by created desc, id".encode())
        return [_key(row) for row in await cursor.fetchall()]


async def keys_of(database: Database, access: Access) -> list[Key]:
    """Return the keys of the entered person without their secrets, newest first."""
    query = f"select {_KEY} from keys where principal = %s order by created desc, id"
    return [_key(row) for row in await database.rows(access, query, access.principal.id)]


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
    """Make a key with the owner's authority and claim it in its person's name, for the first ones.

    The journal says both. Raises Permanent("not_found").
    """
    async with as_owner(owner_url, tenant) as connection:
        await _require(connection, person)
        key = await _claim(connection, (await _invite(connection, person, label, days)).secret)
        if isinstance(key, Permanent):
            raise key
        return key


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
        raise owner_unreachable(error) from error


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
        maker=row["made_by"],
        claim_until=row["claim_until"],
        claimed_at=row["claimed"],
        refusals=row["refusals"],
    )


async def _require(connection: Connection, person: str) -> None:
    cursor = await connection.execute("select 1 from principals where id = %s", [person])
    if await cursor.fetchone() is None:
        raise Permanent("not_found", f"there is no person {person!r} in this tenant; name one who exists")


async def _invite(connection: Connection, person: str, label: str, days: int | None) -> NewKey:
    code = _CLAIM_PREFIX + secrets.token_urlsafe(32)
    cursor = await connection.execute(
        "select id, claim_until from create_claim(%s, %s, %s, clock_timestamp() + make_interval(days => %s))",
        [person, key_hash(code), label, days],
    )
    row = await cursor.fetchone() or {}
    return NewKey(row["id"], person, code, row["claim_until"])


async def _claim(connection: Connection, code: str) -> NewKey | Permanent:
    """Return the claimed key, or why there is none."""
    secret = _KEY_PREFIX + secrets.token_urlsafe(32)
    cursor = await connection.execute("select * from claim_key(%s, %s)", [key_hash(code), key_hash(secret)])
    row = await cursor.fetchone() or {}
    code = member(_CLAIM_CODES, row["code"], "claim_key")
    return NewKey(row["id"], row["person"], secret) if code == "ok" else _claim_refusal(code, row)


def _claim_refusal(code: ClaimCode, row: Mapping[str, Any]) -> Permanent:
    if code == "claimed":
        moment = row["taken"].astimezone(UTC)
        message = (
            f"key {row['id']!r} of {row['person']!r} was taken with this code on {moment:%Y-%m-%d at %H:%M} UTC; "
            "if that was not you, somebody else acts in your name: have an administrator revoke it at once"
        )
        return Permanent("key_claimed", message)
    problem = "unknown" if code == "not_found" else code
    return Permanent("unauthenticated", f"this code is {problem}; ask an administrator for a new one")
