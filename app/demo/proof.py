"""Proof of both acts over fresh connections: counts of the world, evidence checked by a stranger, stored bytes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.demo.evidence import Verdicts, examine
from app.demo.figures import Counts, Prevention, ProofCheck, Repair, Times, checks, times
from app.demo.naive import Naive
from app.demo.people import Person
from app.demo.stage import NAIVE, WORLD, Stage
from app.world.store import actual_counts, true_counts
from memory.postgres import inventory

_CHARGE = "ch_[a-z0-9]{12}"


@dataclass(frozen=True, slots=True)
class Proof:
    """Both acts, counted."""

    truth: Counts
    counts: Counts
    naive: Counts
    journal: Mapping[str, Any]
    checkpoint_bytes: int
    explanation: Mapping[str, Any]
    verdicts: Verdicts
    times: Times
    checks: list[ProofCheck]

    @property
    def is_met(self) -> bool:
        """Return whether every check held."""
        return all(check.is_met for check in self.checks)


async def prove(stage: Stage, prevention: Prevention, repair: Repair) -> Proof:
    """Let the naive client refund on its own instance, then count everything over fresh connections."""
    naive = await _naive(stage)
    truth, counts = (
        await true_counts(stage.addresses.business_url, WORLD.name),
        await actual_counts(stage.addresses.business_url, WORLD.name),
    )
    location = (stage.addresses.owner_url, stage.settings.tenant, repair.run)
    ids = await inventory.most_matches(*location, _CHARGE)
    async with Person("alice", stage.keys["alice"], stage.api) as alice:
        journal = await alice.get("/api/journal/verify")
        explanation = await _explain(alice, repair.run)
    async with Person("bob", stage.keys["bob"], stage.api) as bob:
        verdicts = await examine(bob, explanation["effect"]["id"], stage.settings.data_dir)
    figures = {"observed": counts, "naive": naive, "journal": journal, "ids": ids, "verdicts": verdicts}
    return Proof(
        truth=truth,
        counts=counts,
        naive=naive,
        journal=journal,
        checkpoint_bytes=await inventory.checkpoint_bytes(*location),
        explanation=explanation,
        verdicts=verdicts,
        times=times(repair),
        checks=checks(prevention, repair, truth, figures),
    )


async def _naive(stage: Stage) -> Counts:
    client = Naive(stage.world(NAIVE), stage.service_key)
    try:
        await client.refund_all()
    finally:
        await client.close()
    return await actual_counts(stage.addresses.business_url, NAIVE.name)


async def _explain(alice: Person, run: str) -> Mapping[str, Any]:
    effects = (await alice.get("/api/effects", run=run, limit=200))["items"]
    refund = next(effect for effect in effects if effect["tool"] == "billing.refund_batch")
    return await alice.get(f"/api/effects/{refund['id']}/explain")


def chain(explanation: Mapping[str, Any]) -> list[str]:
    """Return the chain of one effect from request to response, a line per link."""
    effect, request = explanation["effect"], explanation["request"]
    approval: Mapping[str, Any] = explanation["approval"] or {}
    votes = ", ".join(f"{vote['by']} (key {str(vote['key'])[:8]})" for vote in approval.get("votes") or ())
    pins = ", ".join(f"{pin['id']} v{pin['version']}" for pin in explanation["plan"]["pins"])
    result = effect["outcome"]["result"]
    return [
        f"effect    {effect['key'][:60]}",
        f"request   {request['requester']}: {request['input']['request']!r}",
        f"plan      {effect['plan_hash'][:12]} step {effect['step']}, resting on {pins}",
        f"verdict   policy {effect['policy'][:12]}, rules {', '.join(explanation['verdict']['rules'])}",
        f"approval  {approval.get('id', 'none needed')} countersigned by {votes or 'nobody'}",
        f"permit    {explanation['permit']} (fingerprint), used up",
        f"response  refunded {result.get('refunded')}, failed {result.get('failed')}",
        *([f"WARNING   {explanation['warning']}"] if explanation["warning"] else []),
    ]


def result(prevention: Prevention, repair: Repair, proof: Proof) -> dict[str, Any]:
    """Return the demo's result as programs read it."""
    counts, durations = proof.counts, proof.times
    return {
        "ok": proof.is_met,
        **counts,
        "naive_duplicate_effects": proof.naive["duplicate_effects"],
        "expected": dict(proof.truth),
        "prevent": {
            "asked": prevention.invoices,
            "governed_double_charges": prevention.countersign["double_charges"],
            "naive_double_charges": prevention.naive["double_charges"],
            "read_back": prevention.read_back,
        },
        "approvals": dict(repair.approvals),
        "kills_survived": repair.kills,
        "journal_verified": proof.journal["ok"] and proof.verdicts.hold,
        "receipt_bytes": proof.verdicts.receipt_bytes,
        "checkpoint_bytes": proof.checkpoint_bytes,
        "seconds": round(durations.story, 2),
        "gate_seconds": round(durations.gates, 2),
        "recovery_seconds": round(durations.recovery, 2),
        "run": repair.run,
        "checks": [{"claim": check.claim, "held": check.is_met, "found": check.evidence} for check in proof.checks],
    }
