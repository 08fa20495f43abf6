"""Audit questions: what was done and is not as expected, put before people; the auditor asks, a person decides.

A question is answered like an approval: approve accepts it, `take_back` has it undone, reject leaves it to people.
"""

from collections.abc import Mapping
from typing import Literal

from memory.errors import Halt, LeaseLost
from memory.postgres.codes import member
from memory.postgres.database import Database
from memory.runs import leases
from memory.runs.leases import Lease
from tools.action import Json, digest

_CODES: tuple[Literal["ok", "lease_lost", "cancelled"], ...] = ("ok", "lease_lost", "cancelled")
_SECONDS = 86_400
"""How long a question stays open; then it counts as left to people."""


async def ask(database: Database, lease: Lease, question: Mapping[str, Json]) -> str:
    """Open the question, or find the one about the same problems; returns the approval's id.

    Raises LeaseLost, and Halt if the run was cancelled.
    """
    body = {
        "run": lease.run,
        "fence": lease.fence,
        "digest": digest({"run": lease.run, "step": question["step"], "problems": question["problems"]}),
        "ttl": _SECONDS,
        "checkpoint": lease.checkpoint,
        "shown": question,
    }
    row = await leases.call(database, lease, "open_audit", body)
    code = member(_CODES, row["code"], "open_audit")
    if code == "lease_lost":
        raise LeaseLost(lease.run)
    if code == "cancelled":
        raise Halt("cancelled", "cancelled while the audit was open")
    return str(row["approval"])
