"""Knowledge over HTTP: published by those who answer for it, as its text says, version after version."""

from datetime import timedelta
from typing import Any

import httpx2
import pytest

from app.api.dependencies import Services
from tests.conftest import VirtualClock

RUNBOOK = """---
id: jobs.stuck
version: 1
severity: low
owner: platform
review_by: 2027-05-31
utterances: [the job hangs, a job is stuck, nothing moves, it waits for ever, the queue stands still]
slots:
  job: {type: text, from: config, default: retry}
probe: {tool: jobs.look, args: {job: retry}, condition: size(result) > 0}
nothing_wrong: The job runs, so nothing was changed.
steps:
  - id: pause
    tool: jobs.pause
    effect: write
    args: {job: {ref: inputs.job}}
    expect: result.paused == inputs.job
    backout: Start it again by hand.
  - {id: look, tool: jobs.look, effect: read, audit: true, args: {job: {ref: inputs.job}}, expect: size(result) > 0}
backout: Start the job again by hand.
---
# A job that is stuck
Pause it, then look for what it waits for.
"""
OVER_PATIENCE = "a: " + "[ " * 3000 + "] " * 3000


def fact(id: str = "fact.one", **changes: Any) -> dict[str, Any]:
    """Return a fact as a client publishes it."""
    item = {"id": id, "kind": "fact", "title": id, "owner": "ops", "review_by": "2027-01-01"}
    return {**item, "body": "The retry job runs every night.", **changes}


def runbook(*changes: tuple[str, str], **fields: Any) -> dict[str, Any]:
    """Return a runbook as a client publishes it, with changes to its text."""
    body = RUNBOOK
    for old, new in changes:
        assert old in body
        body = body.replace(old, new)
    return {"id": "jobs.stuck", "kind": "runbook", "body": body, **fields}


async def refusal(client: httpx2.AsyncClient, item: dict[str, Any]) -> tuple[int, str, str]:
    """Return what a publication that is refused is told."""
    answer = await client.post("/api/knowledge", json=item)
    problem = answer.json()
    return answer.status_code, problem["code"], problem["detail"]


async def test_knowledge_is_published_by_operators_and_read_by_version(
    a: httpx2.AsyncClient, b: httpx2.AsyncClient
) -> None:
    """R118."""
    assert (await refusal(a, fact()))[1] == "forbidden"
    assert (await b.post("/api/knowledge", json=fact())).json()["version"] == 1
    await b.post("/api/knowledge", json=fact(body="The retry job runs every hour."))
    assert (await a.get("/api/knowledge/fact.one")).json()["version"] == 2
    assert "night" in (await a.get("/api/knowledge/fact.one", params={"version": 1})).json()["body"]


async def test_knowledge_is_searched_and_says_what_should_have_been_reviewed(
    a: httpx2.AsyncClient, b: httpx2.AsyncClient, services: Services
) -> None:
    soon = services.clock.now().date() + timedelta(days=1)
    for item in (fact("fact.night"), fact("fact.disk", body="Volumes grow slowly.", review_by=soon.isoformat())):
        assert (await b.post("/api/knowledge", json=item)).status_code == 201
    assert isinstance(services.clock, VirtualClock)
    services.clock.time += timedelta(days=3)
    query = {"q": "when does the retry job run" + " again" * 5000, "kind": "fact", "limit": 1}
    hits = (await a.get("/api/knowledge/search", params=query)).json()["items"]
    assert [(hit["id"], hit["version"]) for hit in hits] == [("fact.night", 1)]
    items = (await a.get("/api/knowledge", params={"kind": "fact"})).json()["items"]
    assert {item["id"]: item["overdue"] for item in items} == {"fact.disk": True, "fact.night": False}
    new_version = fact("fact.disk", body="Volumes grow fast.", review_by=soon.isoformat())
    assert (await b.post("/api/knowledge", json=new_version)).json()["version"] == 2


@pytest.mark.parametrize(
    "path", ["?cursor=garbage", "?cursor=W10", "?kind=zzz", "?limit=0", "/search?q=%20", "/search?q=", "/x?version=0"]
)
async def test_a_question_that_makes_no_sense_is_refused(a: httpx2.AsyncClient, path: str) -> None:
    answer = await a.get(f"/api/knowledge{path}")
    assert answer.status_code in {400, 422}
    assert answer.json()["code"] == "bad_request"


async def test_a_list_goes_on_where_it_stopped(a: httpx2.AsyncClient, b: httpx2.AsyncClient) -> None:
    for number in range(5):
        await b.post("/api/knowledge", json=fact(f"fact.{number}"))
    ids, params = list[str](), {"limit": "2"}
    while True:
        page = (await a.get("/api/knowledge", params=params)).json()
        ids += [item["id"] for item in page["items"]]
        if page["next"] is None:
            break
        params["cursor"] = page["next"]
    assert ids == [f"fact.{number}" for number in range(5)]


async def test_a_runbook_is_what_its_text_says(a: httpx2.AsyncClient, b: httpx2.AsyncClient) -> None:
    """R96: whoever publishes it does not say once more who owns it and when it is due, or says the same."""
    assert (await b.post("/api/knowledge", json=runbook(note="first"))).status_code == 201
    item = (await a.get("/api/knowledge/jobs.stuck")).json()
    front_matter = {"title": "A job that is stuck", "owner": "platform", "review_by": "2027-05-31", "version": 1}
    assert {name: item[name] for name in front_matter} == front_matter
    second = runbook(("version: 1", "version: 2"), **{**front_matter, "version": 2})
    assert (await b.post("/api/knowledge", json=second)).json()["version"] == 2


@pytest.mark.parametrize(
    "other", [{"title": "T"}, {"owner": "evil"}, {"review_by": "2030-01-01"}, {"version": 7}, {"id": "jobs.other"}]
)
async def test_a_request_that_says_otherwise_than_the_runbook_is_refused(
    b: httpx2.AsyncClient, other: dict[str, Any]
) -> None:
    status, code, detail = await refusal(b, runbook(**other))
    assert (status, code) == (400, "bad_request")
    assert "the runbook's text says" in detail


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("review_by: 2027-05-31", "review_by: 2027-15-31"),
        ("severity: low", "severity: !!int xx"),
        ("severity: low", "severity: !!python/object:os.system x"),
        ("severity: low", OVER_PATIENCE),
        ("severity: low", "a: &a [x]\nb: [*a, *a]"),
        ("owner: platform", "owner: ["),
        ("\n---\n#", "\n#"),
    ],
)
async def test_front_matter_that_cannot_be_read_is_refused_whatever_the_kind(
    b: httpx2.AsyncClient, old: str, new: str
) -> None:
    variant = runbook((old, new))
    for item in (variant, fact(body=variant["body"])):
        status, code, detail = await refusal(b, item)
        assert (status, code, "front matter" in detail) == (400, "bad_request", True)


@pytest.mark.parametrize(
    ("old", "new"), [("review_by: 2027-05-31", "review_by: 0"), ("version: 1", "version: true"), ("id: jobs", "id: j")]
)
async def test_a_runbook_with_wrong_fields_is_refused(b: httpx2.AsyncClient, old: str, new: str) -> None:
    assert (await refusal(b, runbook((old, new))))[0] in {400, 422}


async def test_a_runbook_that_does_not_parse_is_not_published(b: httpx2.AsyncClient) -> None:
    assert (await refusal(b, runbook() | {"body": "there is no plan here"}))[1] == "plan_invalid"


@pytest.mark.parametrize(
    "wrong",
    [
        {"review_by": "2001-01-01"},
        {"review_by": 0},
        {"review_by": None},
        {"version": True},
        {"version": 10**6 + 1},
        {"title": "two\nlines"},
        {"owner": None},
    ],
)
async def test_an_item_without_a_sound_owner_title_date_and_version_is_refused(
    b: httpx2.AsyncClient, wrong: dict[str, Any]
) -> None:
    """R96."""
    status, code, _ = await refusal(b, fact(**wrong))
    assert (status in {400, 422}, code) == (True, "bad_request")


async def test_nothing_takes_a_runbook_away_by_its_id_and_no_version_is_skipped(b: httpx2.AsyncClient) -> None:
    await b.post("/api/knowledge", json=runbook())
    assert (await refusal(b, fact("jobs.stuck")))[:2] == (409, "conflict")
    status, code, detail = await refusal(b, runbook(("version: 1", "version: 9")))
    assert (status, code, "is 2, not 9" in detail) == (409, "conflict", True)
