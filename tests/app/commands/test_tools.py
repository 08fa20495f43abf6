"""Results of a tool call on the command line, as its caller sees them and as others do."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from app.api.dependencies import Services
from app.commands import terminal
from memory.runs import records
from memory.runs.results import ResultSlice, RunRows
from memory.scope import Access, Principal
from memory.store import write
from memory.store.models import Provenance
from tests.app.conftest import RecordingQueue, Run, lead

TEXT = "the deploy window is [bold]Tuesday[/bold] night\x1b[2J"


@pytest.fixture(autouse=True)
async def memories(services: Services, people: dict[str, Principal]) -> None:
    access = Access.of(people["alice"])
    await write.remember(services.database, access, TEXT, trust="human", provenance=Provenance())


async def answer(services: Services, queue: RecordingQueue) -> str:
    """Lead the run that was called to its end, as a worker would, with what is remembered."""
    await queue.wait_for(1)
    lease = await lead(services.database, queue[-1])
    part, _ = await RunRows(services.database, lease.access, lease.run, "call").recall("found", "deploy window", 5)
    body = {"results": {"call": {"found": part, "hidden": {"below": 0}}}}
    async with services.database.transaction(lease.access) as connection:
        await records.finish(connection, lease, status="done", reason=None, message="done", body=body)
    return lease.run


async def call(run: Run, services: Services, queue: RecordingQueue, *options: str) -> tuple[Any, str]:
    argv = ("tools", "call", "jobs.look", "--args", '{"job": "x"}', *options)
    return await asyncio.gather(run("alice", *argv), answer(services, queue))


async def test_who_calls_recall_reads_what_was_found(run: Run, services: Services, queue: RecordingQueue) -> None:
    """R93: its text as plain data, and no sum of money."""
    ran, _ = await call(run, services, queue)
    assert (ran.code, "found: 1 row (h_" in ran.out, "in all" in ran.out) == (0, True, False)
    assert "- the deploy window is [bold]Tuesday[/bold] night\\x1b[2J (id " in ran.out
    assert "trust human" in ran.out


async def test_as_json_the_rows_stand_beside_the_results(run: Run, services: Services, queue: RecordingQueue) -> None:
    ran, _ = await call(run, services, queue, "--json")
    (row,) = ran.json["rows"]["call.found"]
    assert (row["text"], row["trust"], row["scope"]) == (TEXT, "human", "user:alice")


async def test_others_see_the_run_and_not_its_rows(run: Run, services: Services, queue: RecordingQueue) -> None:
    """R92"""
    _, id = await call(run, services, queue)
    view = (await run("bob", "runs", "show", id, "--json")).json
    assert (view["status"], view["rows"]) == ("done", {})


async def test_arguments_that_do_not_fit_are_a_usage_error(run: Run) -> None:
    ran = await run("alice", "tools", "call", "jobs.look", "--args", '{"jab": 1}')
    assert (ran.code, "does not take this" in ran.err) == (2, True)


def slice_of(count: int, total: int) -> ResultSlice:
    return ResultSlice(handle="h_1", start=0, count=count, total=total, digest="", currency="EUR" if count else "")


async def rows(count: int) -> AsyncIterator[Mapping[str, Any]]:
    for n in range(count):
        yield {"charge": f"ch_{n}", "amount": 0, "currency": "EUR"}


async def test_what_has_amounts_is_summed_and_cut(capsys: pytest.CaptureFixture[str]) -> None:
    first = [row async for row in rows(20)]
    terminal.outline({"found": slice_of(1234, 0)}, "", rows={"call.found": first}, path="call.")
    lines = capsys.readouterr().out.splitlines()
    assert (lines[0], lines[1]) == ("found: 1,234 rows, 0.00 EUR in all (h_1)", "  - charge ch_0, amount 0.00 EUR")
    assert (len(lines), lines[-1]) == (12, "  and 1,224 more")


def test_without_rows_a_sum_still_says_what_is_at_stake(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.outline({"found": slice_of(2, 250), "none": slice_of(0, 0)}, "")
    assert capsys.readouterr().out == "found: 2 rows, 2.50 EUR in all (h_1)\nnone: 0 rows (h_1)\n"


def test_long_texts_are_cut(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.outline({"found": slice_of(1, 0)}, "", rows={"found": [{"text": "word\n" * 900, "id": "x"}]})
    line = capsys.readouterr().out.splitlines()[1]
    assert line.endswith("… (id x)")
    assert len(line) < 540


@pytest.mark.parametrize(
    ("prompt_ids", "citations", "line"),
    [([], [], ""), (["a", "b"], [], "shown a, b"), (["a", "b"], ["b"], "shown a, b; plans rest on b")],
)
def test_memories_before_a_planner_are_named_by_id(prompt_ids: list[str], citations: list[str], line: str) -> None:
    """R97"""
    assert terminal.memory_line({"shown": prompt_ids, "cited": citations}) == line
