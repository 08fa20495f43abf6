"""Limits of people per currency, and the currency that a tenant accounts in; for start-up, administrators and `me`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from memory.errors import Permanent
from memory.governance import principals
from memory.postgres.database import Connection, Database
from memory.scope import Access

_LIMITS = """
select p.id as person, x.currency, x.alone, x.joint from principals p cross join lateral (
    select accounting_currency() as currency, p.limit_alone as alone, p.limit_joint as joint
     union all
    select l.key, (l.value ->> 'alone')::bigint, (l.value ->> 'joint')::bigint from jsonb_each(p.limits) l) x
 where p.id = coalesce(%s, p.id) order by p.id, x.currency <> accounting_currency(), x.currency"""


@dataclass(frozen=True, slots=True)
class Limit:
    """Up to what sums, in minor units of one currency, a person may approve alone and together with others."""

    person: str
    currency: str
    alone: int
    joint: int


async def ls(database: Database, access: Access, person: str | None = None) -> list[Limit]:
    """Return the limits of one person or of all; those in the currency of the accounts come first."""
    return [Limit(**row) for row in await database.rows(access, _LIMITS, person)]


async def put(owner_url: str, tenant: str, limit: Limit) -> None:
    """Set a person's limit in one currency, with the owner's authority; raises Permanent("not_found")."""
    async with principals.as_owner(owner_url, tenant) as connection:
        values = [limit.person, limit.currency, limit.alone, limit.joint]
        if await _first(connection, "select id from put_limit(%s, %s, %s, %s)", values) is None:
            raise Permanent("not_found", f"there is no person {limit.person!r} in this tenant; name one who exists")


async def account_in(owner_url: str, tenant: str, currency: str) -> None:
    """Let a tenant account in a currency; raises Permanent("configuration") if its records are in another."""
    async with principals.as_owner(owner_url, tenant) as connection:
        row = await _first(connection, "select account_in(%s) as currency", [currency]) or {}
    _demand(tenant, row.get("currency"), currency)


async def check(database: Database, access: Access, currency: str) -> None:
    """Raise Permanent("configuration") unless the tenant accounts in this currency."""
    (row,) = await database.rows(access, "select accounting_currency() as currency")
    _demand(access.principal.tenant, row["currency"], currency)


def _demand(tenant: str, actual: str | None, currency: str) -> None:
    if actual is not None and actual != currency:
        raise Permanent(
            "configuration",
            f"tenant {tenant!r} accounts in {actual}, not in {currency}: its limits and records are in {actual}; "
            f"set COUNTERSIGN_ACCOUNTING_CURRENCY={actual}, or found another tenant",
        )


async def _first(connection: Connection, statement: str, values: list[Any]) -> Mapping[str, Any] | None:
    return await (await connection.execute(statement.encode(), values)).fetchone()
