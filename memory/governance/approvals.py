"""What people were asked and what they answered; the gateway opens rounds, people decide them over HTTP."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from psycopg.types.json import Jsonb

from memory.errors import Permanent
from memory.postgres.database import Connection, Database
from memory.scope import Access

ApprovalStatus = Literal["open", "approved", "rejected", "edited", "expired", "void"]
VoteKind = Literal["approve", "reject", "edit", "ask"]

# An open question past its time reads as expired even before the sweep has closed it.
_STATUS = "case when status = 'open' and expires <= clock_timestamp() then 'expired' else status end as status"
_COLUMNS = f"""id, run, round, requester, {_STATUS}, reason, need, groups, requester_excluded, nonce, exposure, step,
  plan_hash, policy, rules, pins, shown, edited, decided_by, opened, expires, decided, valid_until"""


@dataclass(frozen=True, slots=True)
class ApprovalView:
    """Where a round stands, as the gate node reads it."""

    status: ApprovalStatus
    reason: str | None
    edited: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class VoteResult:
    """What became of one person's answer; `code` is `ok` or the reason why it does not count."""

    code: str
    run: str | None
    status: str | None
    votes: int
    need: int
    decided_by: str | None
    wakes_run: bool
    """True if the run must be woken, in the same transaction."""


async def decide(
    connection: Connection,
    *,
    approval: str,
    nonce: str,
    decision: VoteKind,
    reason: str,
    channel: str,
    edited: Mapping[str, Any] | None = None,
) -> VoteResult:
    """Count one answer of the entered person; refusals come back as codes because each is journaled and commits."""
    body = {"approval": approval, "nonce": nonce, "decision": decision, "reason": reason, "channel": channel}
    cursor = await connection.execute("select * from decide(%s)", [Jsonb({**body, "edited": edited})])
    row = await cursor.fetchone() or {}
    return VoteResult(
        code=row["code"],
        run=row["run"],
        status=row["status"],
        votes=row["votes"],
        need=row["need"],
        decided_by=row["decided_by"],
        wakes_run=row["woken"],
    )


async def view(database: Database, access: Access, approval: str) -> ApprovalView:
    """Return where a round stands; raises Permanent("not_found")."""
    found = await database.rows(access, f"select {_STATUS}, reason, edited from approvals where id = %s", approval)
    if not found:
        raise _unknown(approval)
    return ApprovalView(found[0]["status"], found[0]["reason"], found[0]["edited"])


async def show(database: Database, access: Access, approval: str) -> dict[str, Any]:
    """Return one round with its votes, its actions and the round that it replaces, if any."""
    async with database.transaction(access) as connection:
        cursor = await connection.execute(f"select {_COLUMNS} from approvals where id = %s".encode(), [approval])
        row = await cursor.fetchone()
        if row is None:
            raise _unknown(approval)
        cursor = await connection.execute(
            "select approver, decision, reason, channel, at from votes where approval = %s order by at", [approval]
        )
        row["votes"] = await cursor.fetchall()
        cursor = await connection.execute(
            "select step, tool, amount, digest, consumed, effect from approval_items where approval = %s "
            "order by step, digest",
            [approval],
        )
        row["items"] = await cursor.fetchall()
        cursor = await connection.execute(
            f"select {_COLUMNS} from approvals where run = %s and round = %s - 1".encode(), [row["run"], row["round"]]
        )
        row["predecessor"] = await cursor.fetchone()
    return row


async def ls(
    database: Database,
    access: Access,
    *,
    status: ApprovalStatus | None = None,
    run: str | None = None,
    limit: int = 50,
    before: tuple[datetime, str] | None = None,
) -> list[dict[str, Any]]:
    """Return rounds, newest first; `status` and `run` narrow the list, `before` the (opened, id) to go on from."""
    async with database.transaction(access) as connection:
        cursor = await connection.execute(
            f"select * from (select {_COLUMNS}, (select count(*) from votes v where v.approval = approvals.id "
            "and v.decision = 'approve') as approvals from approvals) a "
            "where (%(status)s::text is null or status = %(status)s) and (%(run)s::text is null or run = %(run)s) "
            "and (%(at)s::timestamptz is null or (opened, id) < (%(at)s, %(id)s)) "
            "order by opened desc, id desc limit %(limit)s".encode(),
            {"status": status, "run": run, "limit": limit, "at": before and before[0], "id": before and before[1]},
        )
        return await cursor.fetchall()


def _unknown(approval: str) -> Permanent:
    return Permanent("not_found", f"there is no approval {approval!r}; `countersign approvals ls` lists the open ones")
