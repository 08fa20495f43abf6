"""The service's own check: whatever the tables' owner edits is named, in the journal and in every governed table."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from memory.evidence import log, verifier
from memory.evidence.check import Check, check
from memory.evidence.lines import lines
from memory.governance import principals
from memory.knowledge import versions
from memory.knowledge.models import KnowledgeItem
from memory.postgres.database import Connection, Database
from memory.runs.results import RunRows
from memory.runs.rows import ResultRow
from memory.scope import Principal
from tests.conftest import Connect, VirtualClock
from tests.memory.evidence.edits import JOURNAL, ROWS
from tests.tools.support import Desk, act, open_desk
from tools import kills

pytestmark = pytest.mark.anyio


LOG = ("log_leaves", "log_heads")
PEOPLE = ("principals", "keys", "kills", "authority", "knowledge", "knowledge_approvals")
TABLES = (*LOG, *PEOPLE, "journal", "runs", "effects", "approvals", "approval_items", "votes", "results", "result_rows")
ALWAYS = [f"{table} enable always trigger {table}_no" for table in ("journal", "log_leaves", "log_heads")]


@dataclass(frozen=True)
class Office:
    """Ids of a tenant in which something of every governed table happened."""

    tenant: str
    run: str
    other: str
    approval: str
    digest: str
    effect: str
    handle: str
    key: str


@pytest.fixture
async def desk(database: Database, people: Mapping[str, Principal], clock: VirtualClock) -> Desk:
    return await open_desk(database, people, clock)


@pytest.fixture
async def office(desk: Desk, owner: Connection, tenant: str) -> Office:
    """Let a run refund with bob's agreement, another keep rows, and people administer; the log knows all of it."""
    run, other = await desk.run(), await desk.run()
    action = act(run, "b", tool="shop.refund")
    approval = await desk.ask(run, action)
    await desk.decide(approval, "bob", reason="looks right")
    effect = str((await desk.gateway.perform(run, action)).effect)
    await desk.end(run)
    kept = await RunRows(desk.database, other.access, other.run, "s").keep("orders", _orders())
    await desk.end(other)
    await kills.kill(desk.database, desk.access("bob"), "tool", "shop.peek", "it lies")
    bob, carol = desk.access("bob"), desk.access("carol")
    item = KnowledgeItem(
        "fact.shop",
        kind="fact",
        title="Shops",
        body="Shops sell shoes, and take them back within a month if nobody wore them.",
        owner="ops",
        review_by=date(2030, 1, 1),
    )
    await versions.publish(desk.database, bob, item, attended=False)
    await versions.approve(desk.database, carol, "fact.shop", 1, "I read it")
    key = await principals.issue(desk.database, desk.access("root"), "root")
    await principals.revoke(desk.database, desk.access("root"), key.id)
    await log.extend(desk.database, tenant, None)
    digest = (await _value(owner, tenant, "select digest from approval_items")) or ""
    return Office(tenant, run.run, other.run, approval, digest, effect, kept["handle"], key.id)


async def _orders() -> AsyncIterator[ResultRow]:
    for number in range(3):
        yield {"order": number, "amount": 100, "currency": "EUR"}


async def _value(owner: Connection, tenant: str, query: str) -> str | None:
    async with owner.transaction():
        await owner.execute("select enter(%s, 'tests', '{}', '{}')", [tenant])
        row = await (await owner.execute(query.encode())).fetchone()
        return None if row is None else next(iter(row.values()))


async def verify(desk: Desk, run: str | None = None) -> Check:
    async with desk.database.snapshot(desk.access("bob")) as connection:
        return await check(connection, run)


async def tamper(above: Connection, office: Office, statements: str) -> None:
    """Execute statements as the tables' owner, for one tenant, with all triggers and foreign keys off."""
    async with above.transaction():
        for table in TABLES:
            await above.execute(f"alter table {table} disable trigger all".encode())
        await above.execute("set local role cs_owner")
        await above.execute("select enter(%s, 'tests', '{}', '{}')", [office.tenant])
        for statement in statements.split("; "):
            await above.execute(statement.format(**asdict(office)).encode())
        await above.execute("reset role")
        for table in TABLES:
            await above.execute(f"alter table {table} enable trigger all".encode())
        for trigger in ALWAYS:
            await above.execute(f"alter table {trigger}_change".encode())
            await above.execute(f"alter table {trigger}_truncate".encode())


async def test_an_untouched_office_holds(desk: Desk, office: Office) -> None:
    result = await verify(desk)
    assert (result.problems, result.counts["runs"], result.counts["rows"] > 15) == ((), 3, True)
    for run in (office.run, office.other):
        assert (await verify(desk, run)).problems == ()


@pytest.mark.parametrize("edit", JOURNAL)
async def test_an_edited_journal_is_named(desk: Desk, office: Office, superuser: Connect, edit: str) -> None:
    """R113: the first wrong entry of the chain."""
    statements, seq = JOURNAL[edit]
    async with superuser() as above:
        await tamper(above, office, statements)
    chain = f"authority-{office.tenant}" if "kind = 'kill'" in statements else office.run
    broken = [problem for problem in (await verify(desk)).problems if problem.get("run") == chain]
    assert len(broken) == 1
    assert seq in (0, broken[0]["seq"])


@pytest.mark.parametrize("edit", ROWS)
async def test_an_edited_row_is_named(desk: Desk, office: Office, superuser: Connect, edit: str) -> None:
    statements, place = ROWS[edit]
    async with superuser() as above:
        await tamper(above, office, statements)
    places = {f"{problem.get('table')} {problem.get('key')}" for problem in (await verify(desk)).problems}
    assert place.format(**asdict(office)) in places


async def test_a_stranger_with_the_export_finds_the_same_places(
    desk: Desk, office: Office, superuser: Connect, tmp_path: Path
) -> None:
    """R113 R114: the verifier's one file, alone in a fresh interpreter; what nobody touched holds there."""
    assert await _verify_alone(desk, tmp_path / "before.jsonl") == (0, [])
    async with superuser() as above:
        for edit in ("a need edited", "words edited", "the head turned back"):
            await tamper(above, office, JOURNAL[edit][0])
        for edit in ("effects: another amount", "votes: one added", "kills: released", "principals: a limit"):
            await tamper(above, office, ROWS[edit][0])
    code, places = await _verify_alone(desk, tmp_path / "after.jsonl")
    assert (code, len(places) >= 5, places) == (6, True, list((await verify(desk)).problems))


async def _verify_alone(desk: Desk, file: Path) -> tuple[int | None, list[dict[str, Any]]]:
    """Export the tenant to a file; returns the verifier's exit code and the problems that it names."""
    async with desk.database.snapshot(desk.access("bob")) as connection:
        text = "".join([f"{line}\n" async for line in lines(connection)])
    await asyncio.to_thread(file.write_text, text)
    command = [sys.executable, "-I", "-S", verifier.__file__, str(file), "--json"]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    report = json.loads((await process.communicate())[0])
    return process.returncode, [{**problem["place"], "what": problem["sentence"]} for problem in report["problems"]]
