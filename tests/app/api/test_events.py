"""The stream of a tenant: every run's events once and in order, from wherever its reader goes on."""

import asyncio
import json
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

import httpx2
import pytest

from app.api import events, stream
from app.api.dependencies import Services
from memory.evidence import log, log_entries
from memory.evidence.log_entries import Position
from memory.governance import journal
from memory.governance.feed import Feed
from memory.runs.records import Lease
from memory.scope import Access, Principal
from tests.app.api.test_chat import end
from tests.app.conftest import Client, lead
from tests.bench.counting import count_statements
from tests.scenarios.waiting import until

pytestmark = pytest.mark.anyio


async def start(a: httpx2.AsyncClient, services: Services) -> Lease:
    run = (await a.post("/api/runs", json={"message": "x"})).json()["run"]
    return await lead(services.database, run)


async def finish(services: Services, *leases: Lease) -> None:
    """Let each run look at something and end, all in turns, and take what they did into the log after each turn."""
    tenant = leases[0].access.principal.tenant
    for number in range(3):
        for lease in leases:
            body = {"kind": "audited", "step": f"s{number}", "role": "auditor"}
            await journal.append(services.database, lease.access, lease.run, body)
        await log.extend(services.database, tenant, None)
    for lease in leases:
        await end(services, lease)
    await log.extend(services.database, tenant, None)


async def follow(services: Services, access: Access, since: str, until: int) -> list[tuple[str, str]]:
    """Read the stream until so many runs have ended; returns the run or the place, and the name, of each event."""
    read: list[tuple[str, str]] = []
    async with asyncio.timeout(20), aclosing(events.follow(services, access, Position.of(since))) as chunks:
        async for chunk in chunks:
            fields: dict[str, str] = dict(line.split(": ", 1) for line in chunk.decode().strip().splitlines())
            data: dict[str, Any] = json.loads(fields["data"])
            read.append((str(data.get("run", fields.get("id"))), fields["event"]))
            if sum(name == "end" for _, name in read) == until:
                break
    return read


async def positions(services: Services, access: Access, page: int = 200) -> list[str]:
    """Return every id that the stream can have sent, page by page."""
    position, texts = Position(0), ["0"]
    while rows := await log_entries.read(services.database, access, position, page):
        position = rows[-1].position
        texts += [str(row.position) for row in rows]
    return texts


def of_run(read: Sequence[tuple[str, str]], run: str) -> list[str]:
    return [name for id, name in read if id == run]


async def test_it_tells_of_every_run_what_its_own_stream_tells(
    a: httpx2.AsyncClient, services: Services, alice: Principal
) -> None:
    leases = [await start(a, services) for _ in range(3)]
    following = asyncio.create_task(follow(services, Access.of(alice), "0", 3))
    await finish(services, *leases)
    read = await following
    for lease in leases:
        own = b"".join([chunk async for chunk in stream.follow(services, lease.access, lease.run, 0)]).decode()
        assert of_run(read, lease.run) == [line[7:] for line in own.splitlines() if line.startswith("event: ")]


async def test_whoever_goes_on_from_an_id_misses_and_repeats_nothing(
    a: httpx2.AsyncClient, services: Services, alice: Principal
) -> None:
    """Also within one leaf of the log, which holds several entries."""
    leases = [await start(a, services) for _ in range(2)]
    await finish(services, *leases)
    access = Access.of(alice)
    whole = await log_entries.read(services.database, access, Position(0), 200)
    for number, row in enumerate(whole, 1):
        rest = await log_entries.read(services.database, access, Position.of(str(row.position)), 200)
        assert rest == whole[number:]
    assert await positions(services, access, page=1) == await positions(services, access)
    assert len(await positions(services, access)) == len(set(await positions(services, access)))


async def test_without_an_id_it_begins_now(a: httpx2.AsyncClient, services: Services, alice: Principal) -> None:
    access = Access.of(alice)
    await finish(services, await start(a, services))
    now = await log_entries.end(services.database, access)
    lease = await start(a, services)
    await finish(services, lease)
    read = await follow(services, access, str(now), 1)
    assert read[0] == (str(now), "start")
    assert {id for id, _ in read[1:]} == {lease.run}


async def test_nobody_sees_runs_of_another_tenant_or_entries_of_no_run(
    a: httpx2.AsyncClient, services: Services, client: Client, alice: Principal
) -> None:
    """Making the keys of these people is on record too, and no run's."""
    await finish(services, await start(a, services))
    elsewhere = Access(Principal(f"{alice.tenant}x", "alice"), ())
    assert await log_entries.read(services.database, elsewhere, Position(0), 200) == []
    rows = await log_entries.read(services.database, Access.of(alice), Position(0), 200)
    assert {row.entry.kind for row in rows if row.entry} == {"requested", "audited", "ended"}
    assert [row for row in rows if row.entry is None] != []


@pytest.mark.parametrize("since", ["x", "-1", "1.", "1.2.3", "1e3", "9" * 40, "٣", "999999", "999999.1"])
async def test_an_id_of_another_making_is_refused(a: httpx2.AsyncClient, since: str) -> None:
    answer = await a.get("/api/events", params={"since": since})
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")
    assert (await a.get("/api/events", headers={b"Last-Event-ID": since.encode()})).status_code == 400


async def test_it_is_for_those_who_have_a_key(anonymous: httpx2.AsyncClient) -> None:
    assert (await anonymous.get("/api/events")).status_code == 401


async def test_idle_streams_ask_nothing_of_their_own(
    a: httpx2.AsyncClient, services: Services, alice: Principal
) -> None:
    """However many: what they might have missed is asked for all of them in one statement."""
    lease = await start(a, services)
    feed = services.feed
    chunks = [stream.follow(services, lease.access, lease.run, 0) for _ in range(20)]
    for chunk in chunks:
        await anext(chunk)
    waiting = [asyncio.ensure_future(anext(chunk)) for chunk in chunks]

    async def costs_one_statement() -> bool:
        with count_statements() as count:
            await feed.catch_up()
        return count.statements == 1

    await until(costs_one_statement, "streams at rest")
    assert not any(task.done() for task in waiting)
    await finish(services, lease)
    assert all([b"event: step" in await task for task in waiting])


async def test_a_log_that_no_worker_extends_is_extended_for_its_followers(
    a: httpx2.AsyncClient, services: Services, alice: Principal
) -> None:
    lease, access = await start(a, services), Access.of(alice)

    async def extend(tenant: str) -> None:
        await log.extend(services.database, tenant, None)

    feed = Feed(services.database, extend)
    with feed.follow_tenant(access, 0) as follower:
        await feed.catch_up()
        assert await log_entries.read(services.database, access, Position(0), 200) == []
        await feed.catch_up()
        await feed.catch_up()
        assert await follower.wait(0, 0)
    entries = [row.entry for row in await log_entries.read(services.database, access, Position(0), 200)]
    assert lease.run in {entry.run for entry in entries if entry}
