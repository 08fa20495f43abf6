"""Single memories and transcripts over HTTP: shown, looked back at, pinned, held; and closed to everybody else."""

import base64
import json
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from memory.postgres.database import Database
from memory.runs import records, transcripts
from memory.runs.checkpoints import Checkpoints, leading
from memory.scope import Access, Principal
from tests.app.api.test_attacks import stranger
from tests.app.conftest import BUDGET, Client
from tests.memory.runs.test_checkpoints import story

pytestmark = pytest.mark.anyio
WORD = "heliotrope"
__all__ = ["stranger"]


async def add(api: httpx2.AsyncClient, body: str, **fields: Any) -> Any:
    answer = await api.post("/api/memory", json={"body": body, **fields})
    assert answer.status_code == 201, answer.text
    return answer.json()


async def list_memories(api: httpx2.AsyncClient, **params: Any) -> Any:
    return (await api.get("/api/memory", params=params)).json()


async def add_and_prune(api: httpx2.AsyncClient, *bodies: str) -> list[Any]:
    """Let memories leave for want of room; returns their rows in the archive."""
    for body in bodies:
        await add(api, body)
    preview = (await api.post("/api/memory/prune", json={"episodes": 0})).json()
    await api.post("/api/memory/prune", json={"episodes": 0, "expect": preview["digest"]})
    return (await api.get("/api/memory/archive")).json()["items"]


Keep = Callable[[], Awaitable[str]]


@pytest.fixture
def keep(database: Database, alice: Principal) -> Keep:
    """Return a factory of threads of alice whose transcript is archived."""
    access = Access.of(alice)

    async def make() -> str:
        run = str(uuid4())
        async with database.transaction(access) as connection:
            await records.start(connection, id=run, thread=run, input={"request": ""}, correlation=run, budget=BUDGET)
        lease = await records.lease(database, run, 1)
        assert lease
        await story(Checkpoints(database)).ainvoke({"lines": [WORD]}, leading(lease, fresh=True), context=lease)
        async with database.transaction(access) as connection:
            await records.finish(connection, lease, status="done", reason=None, message="", body={})
        assert await transcripts.transcribe(database, access, run)
        return run

    return make


@pytest.fixture
async def thread(keep: Keep) -> str:
    return await keep()


async def test_one_memory_is_shown_with_origin_links_and_versions(a: httpx2.AsyncClient) -> None:
    """R93"""
    old = await add(a, "the office is in Kiel", key="office")
    await add(a, "the office is in Kiel", key="office")
    new = await add(a, "the office is in Bonn", key="office")
    view = (await a.get(f"/api/memory/{old['id'].upper()}")).json()
    assert (view["provenance"]["principal"], view["told"], view["superseded_by"]) == ("alice", 2, new["id"])
    assert [link["principal"] for link in view["links"]] == ["alice"]
    versions = (await a.get(f"/api/memory/{new['id']}/history")).json()["items"]
    assert [version["body"][-4:] for version in versions] == ["Bonn", "Kiel"]
    assert versions[1]["valid_to"] == versions[0]["valid_from"]


async def test_an_answer_says_whether_a_text_was_stored_or_linked(a: httpx2.AsyncClient) -> None:
    """R93: what says the same is not stored twice, and nobody is left in doubt."""
    answers = [
        await add(a, text) for text in ("the blue door squeaks", "The blue door squeaks!", "the red door squeaks")
    ]
    assert [answer["linked"] for answer in answers] == [False, True, False]
    assert answers[0]["id"] == answers[1]["id"]


async def test_what_held_at_a_moment_can_be_asked(a: httpx2.AsyncClient) -> None:
    """R93"""
    old = await add(a, "the office is in Kiel", key="office")
    await add(a, "the office is in Bonn", key="office")
    answer = await a.get("/api/memory/as-of", params={"key": " office", "valid": old["created"]})
    assert answer.json()["body"] == "the office is in Kiel"
    before = await a.get("/api/memory/as-of", params={"key": "office", "valid": "0001-01-01T00:00:00Z"})
    assert before.status_code == 404
    naive = await a.get("/api/memory/as-of", params={"key": "office", "valid": "2026-01-01"})
    assert naive.status_code == 422


async def test_a_list_goes_on_where_it_ended_also_after_that_memory_was_forgotten(a: httpx2.AsyncClient) -> None:
    memories = [await add(a, f"note number {n}", key=str(n)) for n in range(5)]
    page = await list_memories(a, limit=2)
    await a.delete(f"/api/memory/{page['items'][-1]['id']}")
    second = await list_memories(a, limit=2, cursor=page["next"])
    last = await list_memories(a, limit=2, cursor=second["next"])
    assert [memory["id"] for memory in (*page["items"], *second["items"], *last["items"])] == [
        m["id"] for m in memories[::-1]
    ]
    assert last["next"] is None


@pytest.mark.parametrize(
    "position", ["garbage", ["2026-01-01", "a"], ["2026-01-01T00:00:00Z", "\0"], ["2026-01-01T00:00:00Z", "\ud800"], 7]
)
async def test_a_made_up_place_is_refused(a: httpx2.AsyncClient, position: Any) -> None:
    text = base64.urlsafe_b64encode(json.dumps(position).encode()).decode()
    answer = await a.get("/api/memory", params={"cursor": text})
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")
    assert (await a.get("/api/transcripts", params={"cursor": text})).status_code in (200, 400)


async def test_the_archive_is_listed_page_by_page(a: httpx2.AsyncClient) -> None:
    """R94"""
    ids = [
        row["id"] for row in await add_and_prune(a, "lunch is at noon", "the blue door squeaks", "invoice 4711 is paid")
    ]
    first = (await a.get("/api/memory/archive", params={"limit": 2})).json()
    second = (await a.get("/api/memory/archive", params={"limit": 2, "cursor": first["next"]})).json()
    assert ([row["id"] for row in (*first["items"], *second["items"])], second["next"]) == (ids, None)
    assert (await a.get("/api/memory/archive", params={"cursor": "WzEsMl0"})).status_code == 400


@pytest.mark.parametrize("year", ["0001", "9999"])
async def test_no_moment_breaks_a_look_back(a: httpx2.AsyncClient, year: str) -> None:
    for zone in ("+14:00", "-14:00", "Z"):
        params = {"key": "office", "valid": f"{year}-12-31T23:59:59{zone}", "known": f"{year}-01-01T00:00:00{zone}"}
        assert (await a.get("/api/memory/as-of", params=params)).status_code == 404


async def test_pinned_memories_stay_when_others_leave(a: httpx2.AsyncClient, b: httpx2.AsyncClient) -> None:
    """R94: pinned never pruned."""
    memory = await add(a, "the safe is behind the map")
    assert (await b.post(f"/api/memory/{memory['id']}/pin", json={})).status_code == 404
    assert (await a.post(f"/api/memory/{memory['id']}/pin", json={})).json() == {"id": memory["id"], "pinned": True}
    assert (await a.get(f"/api/memory/{memory['id']}")).json()["pinned"]
    assert await add_and_prune(a, "lunch is at noon") != []
    assert [item["id"] for item in (await list_memories(a))["items"]] == [memory["id"]]
    assert (await a.delete(f"/api/memory/{memory['id']}/pin")).json()["pinned"] is False
    assert memory["id"] in (await b.get("/api/journal/export")).text


async def test_a_hold_is_an_administrators_act(a: httpx2.AsyncClient, b: httpx2.AsyncClient, client: Client) -> None:
    """R94 R102: they see what could be held without its text, and forgetting waits for the release."""
    root = await client("root")
    (row,) = await add_and_prune(a, f"keeps a {WORD} on the balcony")
    answer = await root.get("/api/memory/archive", params={"person": "alice"})
    assert ([item["id"] for item in answer.json()["items"]], WORD in answer.text) == ([row["id"]], False)
    path = f"/api/memory/archive/{row['id']}/hold"
    for api in (a, b):
        assert [(await api.post(path, json={})).status_code, (await api.delete(path)).status_code] == [403, 403]
    assert (await b.get("/api/memory/archive", params={"person": "alice"})).status_code == 403
    assert (await root.post(path, json={})).json() == {"id": row["id"], "hold": True}
    assert (await a.delete("/api/memory", params={"person": "alice"})).json()["code"] == "conflict"
    assert (await root.delete(path)).json()["hold"] is False
    assert (await a.delete("/api/memory", params={"person": "alice"})).status_code == 200


async def test_a_transcript_is_for_whoever_opened_it_and_administrators(
    a: httpx2.AsyncClient, b: httpx2.AsyncClient, client: Client, thread: str
) -> None:
    """R99 R92"""
    root = await client("root")
    assert [item["thread"] for item in (await a.get("/api/transcripts")).json()["items"]] == [thread]
    assert (await b.get("/api/transcripts")).json()["items"] == []
    for api, code in ((a, 200), (root, 200), (b, 404)):
        assert (await api.get(f"/api/transcripts/{thread}")).status_code == code
        assert (await api.post(f"/api/transcripts/{thread}/restore", json={})).status_code == code
    transcript = (await a.get(f"/api/transcripts/{thread}")).json()
    assert len(transcript["moments"]) == transcript["rows"]["checkpoints"] > 0
    assert WORD in transcript["state"]["lines"]
    assert (await b.get("/api/transcripts", params={"person": "alice"})).status_code == 403
    assert len((await root.get("/api/transcripts", params={"person": "alice"})).json()["items"]) == 1
    assert (await a.post(f"/api/transcripts/{thread}/hold", json={})).status_code == 403
    assert (await root.post(f"/api/transcripts/{thread}/hold", json={})).json() == {"thread": thread, "hold": True}
    assert (await root.delete(f"/api/transcripts/{thread}/hold")).json()["hold"] is False


async def test_transcripts_are_listed_page_by_page(a: httpx2.AsyncClient, keep: Keep) -> None:
    """R99"""
    threads = [await keep() for _ in range(3)]
    first = (await a.get("/api/transcripts", params={"limit": 2})).json()
    second = (await a.get("/api/transcripts", params={"limit": 2, "cursor": first["next"]})).json()
    assert [item["thread"] for item in (*first["items"], *second["items"])] == threads[::-1]
    assert second["next"] is None


@pytest.mark.parametrize(
    "note",
    [
        {"body": " "}, {"body": "\u200b"}, {"body": "x", "key": "\n"}, {"body": "x", "key": "\u200b"},
        {"body": "x", "ttl_seconds": True}, {"body": "x", "ttl_seconds": 0}, {"body": "x" * 8193},
    ],
)  # fmt: skip
async def test_what_shows_nothing_or_does_not_fit_is_refused_at_the_border(a: httpx2.AsyncClient, note: Any) -> None:
    answer = await a.post("/api/memory", json=note)
    assert (answer.status_code, answer.json()["code"]) == (422, "bad_request")
    assert "1 MB" not in answer.text
    assert (await list_memories(a))["items"] == []


async def test_one_subject_has_one_spelling(a: httpx2.AsyncClient) -> None:
    for key in ("caf\u00e9", "cafe\u0301 ", "\tcafe\u0301"):
        await add(a, f"opens at {len(key)}", key=key)
    assert [item["key"] for item in (await list_memories(a))["items"]] == ["caf\u00e9"]


@pytest.mark.parametrize(("q", "code"), [("", 422), ("  ", 422), ("safe " * 1000, 200)])
async def test_a_long_question_is_cut_and_an_empty_one_refused(a: httpx2.AsyncClient, q: str, code: int) -> None:
    assert (await a.get("/api/memory/search", params={"q": q})).status_code == code


async def test_forgetting_names_every_open_run_and_what_to_do(a: httpx2.AsyncClient) -> None:
    """R102"""
    open_runs = [(await a.post("/api/runs", json={"message": "x"})).json()["run"] for _ in range(2)]
    problem = (await a.delete("/api/memory", params={"person": "alice"})).json()
    assert (problem["code"], all(run in problem["detail"] for run in open_runs)) == ("busy", True)
    assert "cancel" in problem["next"]


async def test_an_import_of_what_was_forgotten_is_no_outsiders_argument(a: httpx2.AsyncClient) -> None:
    """R102"""
    await add(a, f"keeps a {WORD} on the balcony")
    lines = (await a.get("/api/memory/export")).text.splitlines()
    assert (await a.delete("/api/memory", params={"person": "alice"})).status_code == 200
    problem = (await a.post("/api/memory/import", json={"lines": lines})).json()
    assert (problem["code"], "forgotten" in problem["detail"]) == ("tainted", True)
    assert "outsiders" not in problem["title"]


async def test_what_is_archived_is_forgotten_by_its_id_unless_it_is_held(
    a: httpx2.AsyncClient, b: httpx2.AsyncClient, client: Client
) -> None:
    """R102"""
    root = await client("root")
    (row,) = await add_and_prune(a, "lunch is at noon")
    path = f"/api/memory/{row['id']}"
    assert (await b.delete(path)).status_code == 404
    await root.post(f"/api/memory/archive/{row['id']}/hold", json={})
    assert (await a.delete(path)).json()["code"] == "conflict"
    await root.delete(f"/api/memory/archive/{row['id']}/hold")
    assert (await a.delete(path)).json() == {"forgotten": 1}
    assert (await a.get("/api/memory/archive")).json()["items"] == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "memory/{live}"), ("GET", "memory/{live}/history"), ("POST", "memory/{live}/pin"),
        ("DELETE", "memory/{live}/pin"), ("DELETE", "memory/{live}"), ("POST", "memory/archive/{archive}/restore"),
        ("POST", "memory/archive/{archive}/hold"), ("DELETE", "memory/archive/{archive}/hold"),
        ("GET", "transcripts/{thread}"), ("POST", "transcripts/{thread}/restore"),
        ("POST", "transcripts/{thread}/hold"), ("DELETE", "transcripts/{thread}/hold"),
        ("GET", "memory/archive?person=alice"), ("GET", "transcripts?person=alice"),
    ],
)  # fmt: skip
async def test_another_tenants_administrator_reaches_nothing(
    a: httpx2.AsyncClient, stranger: httpx2.AsyncClient, thread: str, *, method: str, path: str
) -> None:
    """R92: whatever has an id."""
    (archive,) = await add_and_prune(a, "lunch is at noon")
    live = await add(a, f"keeps a {WORD} on the balcony")
    target = "/api/" + path.format(live=live["id"], archive=archive["id"], thread=thread)
    answer = await stranger.request(method, target, json={} if method == "POST" else None)
    assert (answer.status_code, answer.json()["code"], WORD in answer.text) == (404, "not_found", False)
    assert (await a.get(f"/api/memory/{live['id']}")).json()["body"] == live["body"]
