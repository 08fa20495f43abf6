"""Open questions of all tenants with what they rest on, read before a release or its rules change; for operators.

It reads databases of the release before, too: what that did not record is None.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import dict_row

from memory.postgres.database import Connection
from memory.postgres.refusals import owner_unreachable

_ROUNDS = """
with entries as (
  select j.run, j.seq, coalesce(j.words::jsonb, '{}') || j.body::jsonb as told from journal j
   where j.run in (select a.run from approvals a where a.status = 'open'))
select a.tenant, a.run, a.id as approval, a.requester, a.expires, r.flow, r.plan, a.policy, a.pins, a.step,
       to_jsonb(a) ->> 'kind' as kind, a.exposure, to_jsonb(a) ->> 'currency' as currency,
       (select jsonb_object_agg(i.digest, i.tool) from approval_items i where i.approval = a.id) as items,
       (select e.told from entries e where e.run = a.run and e.told ->> 'kind' = 'held'
           and e.told ->> 'approval' = a.id order by e.seq limit 1) as held,
       (select e.told from entries e where e.run = a.run and e.told ->> 'kind' = 'proposed'
           and e.told ->> 'digest' in (select i.digest from approval_items i where i.approval = a.id)
         order by e.seq limit 1) as proposed
  from approvals a join runs r on r.id = a.run where a.status = 'open' order by a.opened, a.id
"""
_CHATS = """
select r.tenant, r.run, null as approval, r.requester, null::timestamptz as expires, r.flow, r.plan, null as policy,
       '[]'::jsonb as pins, '' as step, 'clarify' as kind, 0::bigint as exposure, null as currency, null as items,
       null as held, null as proposed
  from (select tenant, id as run, requester, flow, plan, created from runs
         where status = 'waiting' and waits_for = 'clarify') r order by r.created, r.run
"""
_VERSIONS = "select id, max(version) as version from knowledge group by id"


@dataclass(frozen=True, slots=True)
class OpenQuestion:
    """One question that waits for people."""

    tenant: str
    run: str
    approval: str | None
    """None where the requester is asked in the chat."""
    requester: str
    expires: datetime | None
    flow: str
    plan: Mapping[str, Any] | None
    policy: str | None
    pins: Sequence[Mapping[str, Any]]
    step: str
    kind: str | None
    exposure: int
    currency: str | None
    items: Mapping[str, str] | None
    """Tools by the digests of what is asked together."""
    held: Mapping[str, Any] | None
    """The entry of the verdict that asked."""
    proposed: Mapping[str, Any] | None
    """The entry of the action that asked."""
    versions: Mapping[str, int]
    """Current versions of knowledge in its tenant."""


async def ls(owner_url: str) -> list[OpenQuestion]:
    """Return the open questions of all tenants, oldest first; none of a database without tables."""
    try:
        connection = await Connection.connect(owner_url, autocommit=True, row_factory=dict_row, connect_timeout=10)
    except psycopg.OperationalError as error:
        raise owner_unreachable(error) from error
    async with connection:
        cursor = await connection.execute("select to_regclass('public.approvals') is not null as is_set_up")
        if not (await cursor.fetchone() or {})["is_set_up"]:
            return []
        tenants = await (await connection.execute("select id from tenants order by id")).fetchall()
        return [question for row in tenants for question in await _of_tenant(connection, str(row["id"]))]


async def _of_tenant(connection: Connection, tenant: str) -> list[OpenQuestion]:
    async with connection.transaction():
        await connection.execute("select enter(%s, 'operator', '{}', '{}')", [tenant])
        cursor = await connection.execute(_VERSIONS)
        versions = {str(row["id"]): int(row["version"]) for row in await cursor.fetchall()}
        rows = [row for query in (_ROUNDS, _CHATS) for row in await (await connection.execute(query)).fetchall()]
    return [OpenQuestion(**row, versions=versions) for row in rows]
