import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2

from app.api import stream
from app.api.dependencies import Services
from memory.governance import journal
from memory.runs import records
from memory.runs.leases import Lease
from memory.scope import Access, Principal
from tests.app.conftest import Client, RecordingQueue, lead
from tests.bench.counting import count_statements

Ask = Callable[..., Awaitable[Lease]]


async def end(services: Services, lease: Lease, *, message: str = "all good") -> None:
    async with services.database.transaction(lease.access) as connection:
        await records.finish(connection, lease, status="done", reason=None, message=message, body={"manual": ["call"]})


async def clarify(services: Services, lease: Lease) -> None:
    body = {"kind": "clarify", "question": "which customer?", "key": f"c{lease.fence}"}
    await journal.append(services.database, lease.access, lease.run, body)
    await records.park(services.database, lease, "clarify", 0)


async def wait_for_run(queue: RecordingQueue, count: int = 1) -> str:
    await queue.wait_for(count)
    return queue[-1]


async def stream_events(
    services: Services, alice: Principal, run: str, after: int = 0
) -> list[tuple[str, str, dict[str, Any]]]:
    raw = b"".join([chunk async for chunk in stream.follow(services, Access.of(alice), run, after)]).decode()
    events: list[tuple[str, str, dict[str, Any]]] = []
    for block in raw.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines())
        events.append((fields["event"], fields.get("id", ""), json.loads(fields["data"])))
    return events


async def test_json_chat_answers_when_the_run_has_ended(
    a: httpx2.AsyncClient, services: Services, queue: RecordingQueue
) -> None:
    answer = asyncio.create_task(a.post("/api/chat", json={"message": "is all well?"}))
    await end(services, await lead(services.database, await wait_for_run(queue)))
    body = (await answer).json()
    assert (body["status"], body["message"], body["gate"]) == ("done", "all good", None)


async def test_who_waits_for_an_answer_looks_when_there_is_one(
    a: httpx2.AsyncClient, services: Services, queue: RecordingQueue
) -> None:
    """What is recorded on the way costs nothing here, and the end is read once, in one transaction."""
    answer = asyncio.create_task(a.post("/api/chat", json={"message": "is all well?"}))
    lease = await lead(services.database, await wait_for_run(queue))
    with count_statements() as count:
        for number in range(20):
            body = {"kind": "note", "number": number}
            await journal.append(services.database, lease.access, lease.run, body)
        await end(services, lease)
        assert (await answer).json()["status"] == "done"
    recording, ending, answering, catching_up = 20, 4, 5, 3
    assert count.statements <= recording + ending + answering + catching_up


async def test_json_chat_shows_the_gate_and_does_not_wait_for_it(
    a: httpx2.AsyncClient, queue: RecordingQueue, ask: Ask
) -> None:
    answer = asyncio.create_task(a.post("/api/chat", json={"message": "pause it"}))
    run = await wait_for_run(queue)
    await ask(run)
    body = (await answer).json()
    assert (body["status"], body["gate"]) == ("waiting", {"kind": "approval", "approval": f"ask-{run}"})


async def test_a_message_never_decides_an_open_approval(
    a: httpx2.AsyncClient, client: Client, ask: Ask, queue: RecordingQueue
) -> None:
    receipt = (await a.post("/api/runs", json={"message": "x", "thread": "t1"})).json()
    await ask(receipt["run"])
    answer = await a.post("/api/chat", json={"message": "approve", "thread": "t1"})
    assert (answer.status_code, answer.json()["code"]) == (409, "busy")
    assert answer.json()["approval"] == f"ask-{receipt['run']}"
    view = (await (await client("bob")).get(f"/api/approvals/ask-{receipt['run']}")).json()
    assert (view["status"], view["votes"]) == ("open", [])


async def test_superseding_voids_the_question_and_starts_on_a_thread_of_its_own(
    a: httpx2.AsyncClient, services: Services, queue: RecordingQueue, ask: Ask
) -> None:
    old = (await a.post("/api/runs", json={"message": "x", "thread": "t1"})).json()["run"]
    await ask(old)
    body = {"message": "rather this", "thread": "t1", "supersedes": True}
    answer = asyncio.create_task(a.post("/api/chat", json=body))
    await end(services, await lead(services.database, await wait_for_run(queue, 2)))
    run = (await answer).json()
    assert run["thread"] != "t1"
    assert (await a.get(f"/api/runs/{old}")).json()["status"] == "cancelled"
    assert (await a.get(f"/api/approvals/ask-{old}")).json()["status"] == "void"
    memories = [memory["body"] for memory in (await a.get("/api/memory")).json()["items"]]
    assert sum(f"run {old}" in body for body in memories) == 2


async def test_the_next_message_answers_a_question_to_the_requester(
    a: httpx2.AsyncClient, services: Services, queue: RecordingQueue
) -> None:
    receipt = (await a.post("/api/runs", json={"message": "x", "thread": "t1"})).json()
    await clarify(services, await lead(services.database, receipt["run"]))
    answer = asyncio.create_task(a.post("/api/chat", json={"message": "customer 7", "thread": "t1"}))
    await wait_for_run(queue, 2)
    lease = await lead(services.database, receipt["run"])
    await end(services, lease)
    assert (await answer).json()["run"] == receipt["run"]
    assert (await records.get(services.database, lease.access, receipt["run"])).answers == ("customer 7",)


async def test_json_chat_tells_the_question(a: httpx2.AsyncClient, services: Services, queue: RecordingQueue) -> None:
    answer = asyncio.create_task(a.post("/api/chat", json={"message": "fix it"}))
    await clarify(services, await lead(services.database, await wait_for_run(queue)))
    body = (await answer).json()
    assert (body["status"], body["gate"]["kind"], body["message"]) == ("waiting", "clarify", "which customer?")


async def test_the_stream_tells_the_run_from_start_to_end(
    a: httpx2.AsyncClient, services: Services, alice: Principal
) -> None:
    run = (await a.post("/api/runs", json={"message": "x"})).json()["run"]
    await end(services, await lead(services.database, run))
    events = await stream_events(services, alice, run)
    assert [(name, seq) for name, seq, _ in events] == [("run", "1"), ("message", ""), ("end", "2")]
    assert events[-1][2]["manual"] == ["call"]


async def test_a_stream_resumes_after_the_last_event(a: httpx2.AsyncClient, services: Services) -> None:
    run = (await a.post("/api/runs", json={"message": "x"})).json()["run"]
    await end(services, await lead(services.database, run))
    answer = await a.get(f"/api/runs/{run}/events", headers={"Last-Event-ID": "1"})
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert [line for line in answer.text.splitlines() if line.startswith("id:")] == ["id: 2"]
    assert (await a.get(f"/api/runs/{run}/events", headers={"Last-Event-ID": "2"})).text == ""


async def test_a_stream_shows_what_another_process_records_later(
    a: httpx2.AsyncClient, services: Services, alice: Principal
) -> None:
    """R47 R120."""
    run = (await a.post("/api/runs", json={"message": "x"})).json()["run"]
    following = asyncio.create_task(stream_events(services, alice, run))
    lease = await lead(services.database, run)
    body = {"kind": "audited", "step": "look", "role": "auditor"}
    await journal.append(services.database, lease.access, run, body)
    await end(services, lease)
    assert [name for name, _, _ in await following] == ["run", "step", "message", "end"]


async def test_a_keyed_message_sent_twice_follows_one_run(
    a: httpx2.AsyncClient, services: Services, queue: RecordingQueue
) -> None:
    first = asyncio.create_task(a.post("/api/chat", json={"message": "x"}, headers={"Idempotency-Key": "k"}))
    await end(services, await lead(services.database, await wait_for_run(queue)))
    second = await a.post("/api/chat", json={"message": "x"}, headers={"Idempotency-Key": "k"})
    assert (await first).json()["run"] == second.json()["run"]
    assert second.headers["idempotency-replayed"] == "true"
    assert len(queue) == 1


async def test_a_last_event_id_of_another_making_is_refused(a: httpx2.AsyncClient) -> None:
    run = (await a.post("/api/runs", json={"message": "x"})).json()["run"]
    assert (await a.get(f"/api/runs/{run}/events", headers={"Last-Event-ID": "x"})).status_code == 400
