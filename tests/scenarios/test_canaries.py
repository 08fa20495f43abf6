"""Erasure of a person (R102): their words remain in no table, dump or file."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from app.api.server import create_app
from memory.evidence.check import check
from memory.governance import principals
from memory.postgres.roles import Urls
from memory.runs import transcripts
from memory.runs.results import RunRows
from memory.scope import Access, Scope
from memory.store import search, write
from memory.store.langgraph_store import MemoryStore
from memory.store.models import Provenance, Utterance
from tests.fakes.openai_endpoint import endpoint
from tests.scenarios.canaries import Canaries, analyze, in_dump, in_files, in_tables
from tests.scenarios.test_models import draft
from tests.scenarios.town import Town, open_town

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
COMMENT: dict[str, Any] = {
    "id": "note", "tool": "tickets.comment", "effect": "write", "expect": "size(result) >= 0", "backout": "none",
}  # fmt: skip
TABLES = {
    *("memories", "memory_postings", "memory_archive", "journal", "runs", "requests", "model_calls"),
    *("approvals", "votes", "effects", "checkpoint_blobs", "transcripts", "keys", "result_rows"),
}
"""Tables with words of theirs before the erasure; an empty table proves nothing."""


@pytest.fixture(scope="module")
def own(clone: Callable[[str], Urls], worker_id: str) -> Urls:
    """Return a database of our own, whose files can be searched as a whole."""
    return clone(f"canaries_{worker_id}")


@asynccontextmanager
async def calling(town: Town, person: str, label: str = "") -> AsyncGenerator[httpx2.AsyncClient]:
    """Lend the API to one person."""
    key = await principals.bootstrap(town.addresses.owner_url, town.settings.tenant, person, label)
    transport = httpx2.ASGITransport(create_app(town.system.api_services))
    headers = {"Authorization": f"Bearer {key.secret}", "Accept": "application/json"}
    async with httpx2.AsyncClient(transport=transport, base_url="http://api", headers=headers, timeout=60) as client:
        yield client


async def post(api: httpx2.AsyncClient, address: str, *, once: str = "", **body: Any) -> Any:
    """Send something that must be taken."""
    answer = await api.post(address, json=body, headers={"Idempotency-Key": once} if once else {})
    assert answer.is_success, answer.text
    return answer.json()


async def say(api: httpx2.AsyncClient, canary: Canaries) -> None:
    """Use memory over HTTP: a subject that changes, copies, an import, and what is pruned."""
    for number in range(3):
        await post(api, "/api/memory", body=f"the {canary()} is at {number}", key="where")
    text_with_canary = f"{canary()} keeps a red bicycle in Porto"
    for text in (
        text_with_canary,
        f"again: {text_with_canary}",
        f"{canary()} closes at noon",
        f"{canary()} and the {canary()} are late",
    ):
        await post(api, "/api/memory", body=text)
    lines = (await api.get("/api/memory/export")).text.splitlines()
    await post(api, "/api/memory/import", lines=lines)
    preview = await post(api, "/api/memory/prune", episodes=2, facts=1)
    await post(api, "/api/memory/prune", episodes=2, facts=1, expect=preview["digest"])


async def keep(town: Town, canary: Canaries) -> None:
    """Remember in every other scope, as runs of theirs do, and through the store that graphs use."""
    alice, database = town.access.principal, town.system.database
    for scope in (Scope("session", f"alice/{canary()}"), Scope("agent", "shared"), Scope("run", str(uuid4()))):
        access = Access(alice, (scope,), scope)
        turn, provenance = (
            Utterance(canary(), session=canary(), place=0),
            Provenance(principal="alice", source=canary()),
        )
        await write.remember(database, access, canary(), trust="tool", provenance=provenance, turn=turn)
    items = MemoryStore(database, town.access)
    await items.aput(("user", "alice", canary()), canary(), {canary(): canary()})
    await search.recall(database, town.access, canary.words[0])


async def refund(town: Town, api: httpx2.AsyncClient, canary: Canaries, charge: str) -> str:
    """Let a model plan a refund that people ask about, answer and approve; returns the run."""
    message = f"please refund charge {charge} to the customer, {canary()}"
    run = (await post(api, "/api/runs", once=canary(), message=message, thread=canary()))["run"]
    await town.until_question(run, "refund")
    (open_question,) = await town.questions(run)
    address = f"/api/approvals/{open_question.id}/decisions"
    async with calling(town, "bob") as bob:
        nonce = (await bob.get(f"/api/approvals/{open_question.id}")).json()["nonce"]
        await post(bob, address, decision="ask", reason=f"who is {canary()}?", nonce=nonce)
        await post(api, address, decision="ask", reason=f"{canary()} is my aunt", nonce=nonce)
        await post(bob, address, decision="approve", reason=f"for {canary()}", nonce=nonce)
    await town.until_end(run, approving=False)
    return run


async def waver(town: Town, api: httpx2.AsyncClient, canary: Canaries) -> None:
    """Ask unclearly, answer what is asked, and cancel."""
    run = (await post(api, "/api/runs", message=f"something is odd with {canary()}"))["run"]
    await town.until_rest(run)
    thread = (await town.row(run)).thread
    await post(api, "/api/chat", message=f"I mean {canary()}", thread=thread)
    await town.until_rest(run)
    await post(api, f"/api/runs/{run}/cancel", reason=f"never mind {canary()}")


async def order(town: Town, api: httpx2.AsyncClient, canary: Canaries) -> None:
    """Give a plan whose words reach the business."""
    step = {**COMMENT, "args": {"ticket": "t_1002", "text": canary()}}
    plan = {"id": "mine", "goal": canary(), "steps": [step], "backout": canary()}
    run = (await post(api, "/api/runs", plan=plan))["run"]
    assert (await town.until_end(run)).status == "done"


async def approve(town: Town, api: httpx2.AsyncClient, canary: Canaries, charge: str) -> None:
    """Have an opinion on a colleague's run, and stop and release a tool."""
    run = await town.ask(f"please refund charge {charge} to the customer", person="dave")
    await town.until_question(run, "refund")
    (question,) = await town.questions(run)
    address = f"/api/approvals/{question.id}"
    nonce = (await api.get(address)).json()["nonce"]
    for decision in ("ask", "reject"):
        await post(api, f"{address}/decisions", once=canary(), decision=decision, reason=canary(), nonce=nonce)
    await town.until_end(run)
    await post(api, "/api/kills", kind="user", name="dave", reason=canary())


async def shelve(town: Town, canary: Canaries, run: str) -> None:
    """Archive the run's transcript after it kept a large result."""

    async def rows() -> AsyncGenerator[dict[str, str]]:
        yield {"text": canary()}

    await RunRows(town.system.database, town.access, run, "s1").keep(canary(), rows())
    assert await transcripts.transcribe(town.system.database, town.access, (await town.row(run)).thread)


async def live(town: Town, canary: Canaries) -> None:
    """Let two people use all of the product until nothing is left to say."""
    charges = await town.charges("clean_duplicate")
    async with calling(town, "alice", canary()) as alice, calling(town, "bob", canary()) as bob:
        await say(alice, canary)
        await keep(town, canary)
        runs = [await refund(town, alice, canary, charge) for charge in charges[1:3]]
        await shelve(town, canary, runs[0])
        await approve(town, bob, canary, charges[0])
        await waver(town, alice, canary)
        await order(town, alice, canary)
        while canary.remainder:
            await post(alice, "/api/memory", body=f"{canary()} is all I say")


async def forget(town: Town) -> None:
    """Forget both, one at their own wish."""
    async with calling(town, "admin") as admin, calling(town, "bob") as bob:
        for api, person in ((admin, "alice"), (bob, "bob")):
            assert (await api.delete("/api/memory", params={"person": person})).is_success


async def look(town: Town) -> int:
    """Read all that is left of runs, questions and effects, as a colleague does; returns in how many answers."""
    answers = 0
    async with calling(town, "dave") as dave:
        addresses = ["/api/journal/export", "/api/journal/verify", "/api/runs", "/api/approvals", "/api/effects"]
        for run in (await dave.get("/api/runs")).json()["items"]:
            addresses += [f"/api/runs/{run['run']}{part}" for part in ("", "/journal", "/events")]
        for kind in ("approvals", "effects"):
            addresses += [f"/api/{kind}/{row['id']}" for row in (await dave.get(f"/api/{kind}")).json()["items"]]
        addresses += [f"{address}/explain" for address in addresses if address.startswith("/api/effects/")]
        for address in addresses:
            assert (await dave.get(address)).is_success, address
            answers += 1
    return answers


async def test_no_canary_is_left_anywhere_after_two_people_are_forgotten(
    own: Urls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R102: rows, archives, catalogues, statistics, a dump and the files; everything still verifies."""
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    canary = Canaries()
    plan = draft("billing.single-refund")
    with endpoint([plan.replace("as asked", canary()), plan.replace("as asked", canary()), plan]) as playing:
        async with open_town(own, tmp_path, model="openai:scripted", model_base_url=playing.url) as town, town.worker():
            await live(town, canary)
            before = in_tables(own, canary)
            analyze(own)
            assert (set().union(*before.values()), set(before) & TABLES) == (set(canary.words), TABLES)
            await forget(town)
            assert in_tables(own, canary) == {}
            assert (in_dump(own, canary), in_files(own, canary)) == (set(), set())
            assert await look(town) > 20
            async with town.system.database.snapshot(town.access) as connection:
                verification = await check(connection)
    assert (verification.problems, verification.counts["runs"] > 3, verification.counts["forgotten"] > 3) == (
        (),
        True,
        True,
    )
