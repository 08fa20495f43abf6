"""Order of the demo's acts and its exit code; called by `countersign demo`."""

import asyncio
import json
import shlex
import sys
import time

from app.addresses import Addresses
from app.demo.figures import Repair
from app.demo.prevent import INVOICES, prevent
from app.demo.proof import Proof, chain, prove, result
from app.demo.repair import repair
from app.demo.stage import NAIVE, NIGHT, NIGHT_NAIVE, WORLD, Stage, empty_database, prepare, wait_for
from app.demo.telling import Teller
from app.settings import Settings
from memory.errors import Permanent

_COUNT_TITLES = {
    "refunds": "refunds made",
    "duplicate_effects": "refunded more than once",
    "escalated": "escalated (bank dispute)",
    "manual": "manual (account closed)",
    "lookalikes_touched": "look-alikes touched",
    "harm": "refunded without reason",
}


def play(
    settings: Settings, *, seed: int = 1, customers: int = 60_000, as_json: bool = False, keep: bool = False
) -> int:
    """Play both acts on fresh data, prove what happened, and return 0 only if every check held.

    `keep` leaves everything running until it is interrupted. Raises Permanent for a database that is not empty or
    is in use, Temporary for one that is away.
    """
    with empty_database(settings) as (own, addresses):
        return asyncio.run(_play_acts(own, addresses, seed=seed, customers=customers, as_json=as_json, keep=keep))


async def _play_acts(
    settings: Settings, addresses: Addresses, *, seed: int, customers: int, as_json: bool, keep: bool
) -> int:
    began, tell = time.monotonic(), Teller(aside=as_json)
    tell.note("starting Postgres and four copies of the business")
    stage = await prepare(settings, addresses)
    async with stage.business(seed=seed, customers=customers, invoices=INVOICES):
        await wait_for(stage, NIGHT, NIGHT_NAIVE)
        tell.act("Prevent", f"{INVOICES} customers are charged by a service that commits and then drops the reply.")
        prevention = await prevent(stage, tell)
        await wait_for(stage, WORLD, NAIVE)
        tell.act("Repair", f"Friday night, {customers:,} customers: a naive retry job has charged most of them again.")
        async with stage.control_plane(WORLD) as supervisor:
            repair_result = await repair(stage, tell, lambda: supervisor.kill("worker"))
            if repair_result.status != "done":
                message = f"run {repair_result.run} ended {repair_result.status}: {repair_result.message}"
                raise Permanent("step_failed", message)
            proof = await prove(stage, prevention, repair_result)
            _tell_proof(tell, repair_result, proof)
            _tell_end(tell, stage, proof, time.monotonic() - began)
            if as_json:
                sys.stdout.write(json.dumps(result(prevention, repair_result, proof)) + "\n")
                sys.stdout.flush()
            if keep:
                await asyncio.Event().wait()
    return 0 if proof.is_met else 1


def _tell_proof(tell: Teller, repair: Repair, proof: Proof) -> None:
    tell.line(f"The run says: {repair.message.splitlines()[0]}")
    tell.times(proof.times)
    tell.act("Proof", "Counted over fresh connections as the business's own database role, not from any report.")
    tell.counts(
        {"labels say": proof.truth, "Countersign": proof.counts, "naive, permits off": proof.naive}, _COUNT_TITLES
    )
    tell.line(f"Checkpoints of the run take {proof.checkpoint_bytes / 1000:,.0f} KB; {proof.journal['entries']:,} "
              f"journal entries in {proof.journal['runs']} chains re-hashed.")  # fmt: skip
    tell.line(f"The verifier's one file, alone: {proof.verdicts.export['notes'][0]}; "
              f"receipt of one refund batch: {proof.verdicts.receipt_bytes:,} bytes.")  # fmt: skip
    tell.line("One refund batch, explained:")
    for link in chain(proof.explanation):
        tell.line(f"  {link}")
    tell.checks(proof.checks)


def _tell_end(tell: Teller, stage: Stage, proof: Proof, seconds: float) -> None:
    failures = sum(not check.is_met for check in proof.checks)
    tell.line(f"{'Everything held' if not failures else f'{failures} checks BROKE'}; {seconds:.0f} s in all.")
    folder, effect = stage.settings.data_dir, proof.explanation["effect"]["id"]
    command, key = shlex.quote(sys.argv[0]), stage.keys["alice"]
    tell.act("Explore", "The data stay until the next demo. In one terminal the first, in another the others:")
    tell.line(f"COUNTERSIGN_DATA_DIR={folder} {command} up")
    tell.line(f"COUNTERSIGN_KEY={key} {command} explain {effect}")
    tell.line(f"COUNTERSIGN_KEY={key} {command} journal verify")
