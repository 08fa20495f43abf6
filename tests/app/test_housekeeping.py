"""Housekeeping of a worker: no row ends it, and it goes on until there is nothing to do."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from app import housekeeping
from app.worker import work
from memory.clock import SystemClock
from memory.embeddings.embedder import Embedding
from memory.maintenance import duties
from memory.postgres.database import Database
from memory.runs.queue import Queue
from memory.scope import Access, Principal
from memory.store import write
from memory.store.models import Provenance
from tests.app.test_worker import stages, start_and_queue, wait_for_status, waiting
from tests.conftest import Connect
from tests.graphs.stage import Stages, pay, plan

__all__ = ["stages", "waiting"]

pytestmark = pytest.mark.anyio


class FailingEmbedder:
    """A model that fails in a way that nobody foresaw."""

    id, lexical = "broken-1", False

    def __init__(self) -> None:
        self.call = asyncio.Event()

    async def embed(self, texts: Sequence[str]) -> list[Embedding]:
        """Fail."""
        self.call.set()
        raise ValueError("math domain error")


async def fails(database: Database) -> None:
    raise ValueError("math domain error")


async def test_a_worker_outlives_what_nobody_foresaw(
    stages: Stages, waiting: Queue, alice: Principal, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """R91: a person's rows or a model that break a duty stop neither runs nor other duties."""
    await write.remember(database, Access.of(alice), "the gate is green", trust="human", provenance=Provenance())
    stage, embedder = stages(), FailingEmbedder()
    deps = replace(stage.deps(), embedder=embedder)
    task = asyncio.create_task(work(stage.database, waiting, deps, SystemClock(), lanes=2))
    async with asyncio.timeout(30):
        await embedder.call.wait()
        await wait_for_status(stage, await start_and_queue(stage, waiting, plan=plan(pay("a"))))
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert "vectors failed and will be tried again" in caplog.text


async def test_a_duty_that_fails_is_logged_and_noted_and_the_next_is_done(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    calls = list[str]()

    async def works(database: Database) -> None:
        calls.append("works")

    with caplog.at_level(logging.WARNING):
        await housekeeping.tidy(database, {"t-fails": fails, "t-works": works})
    notes = {duty.name: duty for duty in await duties.ls(database)}
    assert calls == ["works"]
    assert "ValueError: math domain error" in caplog.text
    assert (notes["t-fails"].trouble, notes["t-fails"].seconds_since_success, notes["t-works"].trouble) == (
        "ValueError",
        None,
        "",
    )
    await housekeeping.tidy(database, {"t-fails": works})
    (duty_row,) = [duty for duty in await duties.ls(database) if duty.name == "t-fails"]
    assert duty_row.trouble == ""
    assert duty_row.seconds_since_success is not None
    assert duty_row.seconds_since_failure is not None


async def test_one_round_deletes_all_that_expired(database: Database, alice: Principal, superuser: Connect) -> None:
    """R91: gone within one round, however much it is."""
    access = Access.of(alice)
    await write.remember(database, access, "a text", trust="human", provenance=Provenance(), ttl=timedelta(hours=1))
    count = "select count(*) as n from memories where tenant = %s"
    async with superuser() as above:
        columns = await above.execute(
            "select string_agg(quote_ident(attname), ', ') as names from pg_attribute where attnum > 0 "
            "and not attisdropped and attrelid = 'memories'::regclass and attgenerated = '' "
            "and attname not in ('id', 'body', 'digest')"
        )
        names: Any = (await columns.fetchone() or {})["names"]
        await above.execute("update memories set expires = now() where tenant = %s", [alice.tenant])
        # No postings: only the number of rows counts here.
        await above.execute("set session_replication_role = replica")
        await above.execute(
            f"insert into memories (id, body, digest, {names}) select gen_random_uuid(), 'text ' || n, "
            f"encode(sha256(convert_to('text ' || n, 'UTF8')), 'hex'), {names} "
            "from memories, generate_series(1, 2400) n where tenant = %s".encode(),
            [alice.tenant],
        )
        before = await (await above.execute(count, [alice.tenant])).fetchone()
        await housekeeping.tidy(database)
        after = await (await above.execute(count, [alice.tenant])).fetchone()
    assert ((before or {})["n"], (after or {})["n"]) == (2401, 0)
