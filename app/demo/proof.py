"""What really happened, found out afresh: by the world's own role, by re-hashing, by weighing what was stored."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.demo.figures import Check, Counts, Prevented, Repaired, Times, checks, times
from app.demo.naive import Naive
from app.demo.people import Person
from app.demo.stage import NAIVE, WORLD, Stage
from app.world.store import expected, observed
from memory.postgres import inventory

_CHARGE = "ch_[a-z0-9]{12}"


@dataclass(frozen=True, slots=True)
class Proof:
    """Both acts, counted."""

    expected: Counts
    observed: Counts
    naive: Counts
    journal: Mapping[str, Any]
    checkpoint_bytes: int
    explained: Mapping[str, Any]
    times: Times
    checks: list[Check]

    @property
    def held(self) -> bool:
        """Return whether every check held."""
        return all(check.held for check in self.checks)


async def proven(stage: Stage, prevented: Prevented, repaired: Repaired) -> Proof:
    """Let the naive client have its turn, then count everything over fresh connections."""
    naive = await _naive(stage)
    wanted, seen = (
        await expected(stage.urls.business_url, WORLD.name),
        await observed(stage.urls.business_url, WORLD.name),
    )
    place = (stage.urls.owner_url, stage.settings.tenant, repaired.run)
    ids = await inventory.most_matches(*place, _CHARGE)
    async with Person("alice", stage.keys["alice"], stage.api) as alice:
        journal = await alice.get("/api/journal/verify")
        explained = await _explained(alice, repaired.run)
    found = {"observed": seen, "naive": naive, "journal": journal, "ids": ids}
    return Proof(
        expected=wanted,
        observed=seen,
        naive=naive,
        journal=journal,
        checkpoint_bytes=await inventory.checkpoint_bytes(*place),
        explained=explained,
        times=times(repaired),
        checks=checks(prevented, repaired, wanted, found),
    )


async def _naive(stage: Stage) -> Counts:
    client = Naive(stage.world(NAIVE), stage.service_key)
    try:
        await client.refund_all()
    finally:
        await client.close()
    return await observed(stage.urls.business_url, NAIVE.name)


async def _explained(alice: Person, run: str) -> Mapping[str, Any]:
    effects = (await alice.get("/api/effects", run=run, limit=200))["items"]
    refund = next(effect for effect in effects if effect["tool"] == "billing.refund_batch")
    return await alice.get(f"/api/effects/{refund['id']}/explain")


def chain(explained: Mapping[str, Any]) -> list[str]:
    """Return the story of one effect, a line per link."""
    effect, request = explained["effect"], explained["request"]
    approval: Mapping[str, Any] = explained["approval"] or {}
    votes = ", ".join(vote["by"] for vote in approval.get("votes") or ())
    pins = ", ".join(f"{pin['id']} v{pin['version']}" for pin in explained["plan"]["pins"])
    result = effect["outcome"]["result"]
    return [
        f"effect    {effect['key'][:60]}",
        f"request   {request['requester']}: {request['input']['request']!r}",
        f"plan      {effect['plan_hash'][:12]} step {effect['step']}, resting on {pins}",
        f"verdict   policy {effect['policy'][:12]}, rules {', '.join(explained['verdict']['rules'])}",
        f"approval  {approval.get('id', 'none needed')} countersigned by {votes or 'nobody'}",
        f"permit    {explained['permit']} (fingerprint), used up",
        f"response  refunded {result.get('refunded')}, failed {result.get('failed')}",
    ]


def result(prevented: Prevented, repaired: Repaired, proof: Proof) -> dict[str, Any]:
    """Return the demo's result as programs read it."""
    seen, spent = proof.observed, proof.times
    return {
        "ok": proof.held,
        **seen,
        "naive_duplicate_effects": proof.naive["duplicate_effects"],
        "expected": dict(proof.expected),
        "prevent": {
            "asked": prevented.asked,
            "governed_double_charges": prevented.governed["double_charges"],
            "naive_double_charges": prevented.naive["double_charges"],
            "read_back": prevented.read_back,
        },
        "approvals": dict(repaired.approvals),
        "kills_survived": repaired.kills,
        "journal_verified": proof.journal["ok"],
        "checkpoint_bytes": proof.checkpoint_bytes,
        "seconds": round(spent.story, 2),
        "gate_seconds": round(spent.gates, 2),
        "recovery_seconds": round(spent.recovery, 2),
        "run": repaired.run,
        "checks": [{"claim": check.claim, "held": check.held, "found": check.found} for check in proof.checks],
    }
