"""A small tenant with everything that an export may hold, and ways to find its lines."""

import json
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.memory.evidence.exports import CARDS, KEY, POLICY, Line, Tenant, hexhash


def row(**columns: Any) -> str:
    return json.dumps(columns)


def sample(key: Ed25519PrivateKey | None = KEY, *, person: str = "bob") -> Tenant:
    """Return a tenant with two runs and its acts of administration, some of it forgotten, some not yet in the log."""
    tenant, verdict = Tenant(key), {"policy": hexhash(POLICY), "cards": hexhash(CARDS)}
    tenant.add("authority-main", "person_added", rows=[("principals", "carol", row(id="carol", groups=["ops"]))])
    tenant.add("run-a", "requested", {"goal": "refund é 漢 \U0001f600"}, rows=[("runs", "run-a", row(id="run-a"))])
    tenant.add("run-a", "planned", plan="p1")
    tenant.extend()
    rows = [("approvals", "q1", row(run="run-a", status="open", need=1))]
    tenant.add("run-a", "held", {"shown": "12.50 to Alice"}, rows, approval="q1", **verdict)
    rows = [("votes", f"q1/{person}", row(approver=person, decision="approve"))]
    tenant.add("run-a", "vote", {"reason": "looks right"}, rows=rows, by=person, decision="approve")
    tenant.add("run-a", "approval", rows=[("approvals", "q1", row(run="run-a", status="approved", need=1))])
    claim = [("effects", "e1", row(run="run-a", state="claimed"))]
    tenant.add("run-a", "permitted", None, claim, effect="e1", **verdict)
    tenant.digests["h1"] = hexhash("the stored rows")
    rows = [
        ("effects", "e1", row(run="run-a", state="done", amount=1250)),
        ("results", "h1", row(run="run-a", digest=tenant.digests["h1"])),
    ]
    tenant.add("run-a", "outcome", {"outcome": "paid, é"}, rows=rows, effect="e1", spent=[5, 10, 1, 90])
    tenant.extend()
    rows = [("runs", "run-b", row(id="run-b", requester="alice")), ("kills", "tool/refund", row(by="alice"))]
    tenant.add("run-b", "requested", {"goal": "Alice asks"}, rows=rows)
    tenant.add("run-b", "unkill", rows=[("kills", "tool/refund", None)])
    tenant.extend()
    tenant.forget("run-b", 1, rows=[("runs", "run-b", row(id="run-b", requester="forgotten"))])
    tenant.add("authority-main", "kill", {"reason": "not now"}, by="carol")
    tenant.extend()
    tenant.add("run-b", "note", {"text": "younger than the log"})
    return tenant


Pick = Callable[[list[Line]], Line]


def entry(run: str, seq: int) -> Pick:
    return lambda lines: next(v for v in lines if v["line"] == "entry" and (v["run"], v["seq"]) == (run, seq))


def stored(table: str, key: str) -> Pick:
    return lambda lines: next(v for v in lines if v["line"] == "row" and (v["table"], v["key"]) == (table, key))


def line(name: str, position: int = 0) -> Pick:
    return lambda lines: [v for v in lines if v["line"] == name][position]


def chain(run: str) -> Pick:
    return lambda lines: next(v for v in lines if v["line"] == "chain" and v["run"] == run)
