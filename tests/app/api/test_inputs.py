"""Inputs and plans that people send: what a runbook does not take, and what can be read two ways, is refused."""

import json
from typing import Any

import httpx2
import pytest

from tests.app.api.test_knowledge import RUNBOOK, runbook
from tests.app.conftest import Client, RecordingQueue, Run

STEP: dict[str, Any] = {
    "id": "look",
    "tool": "jobs.look",
    "effect": "read",
    "args": {"job": "retry"},
    "expect": "size(result) > 0",
}
SLOTS = ("slots:\n", "slots:\n  patience: {type: integer, from: request, default: 5}\n")
USE = ("expect: size(result) > 0}", "expect: size(result) > inputs.patience}")


@pytest.fixture
async def published(client: Client) -> None:
    admin = await client("root")
    assert (await admin.post("/api/knowledge", json=runbook(SLOTS, USE))).status_code == 201


def plan(**fields: Any) -> dict[str, Any]:
    return {"plan": {"id": "p", "goal": "g", "steps": [STEP], **fields}}


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        ({"job": "payroll"}, "inputs.job: the runbook sets 'job' by its config; it takes patience"),
        ({"canary": 3, "patience": 3}, "inputs.canary: the runbook takes no such input; it takes patience"),
        ({"patience": "3"}, "inputs.patience: '3' is no integer"),
        ({"patience": True}, "inputs.patience: True is no integer"),
        ({"": 1}, "inputs.: the runbook takes no such input"),
        ({"Patience": 1}, "inputs.Patience: the runbook takes no such input"),
    ],
)
async def test_an_input_that_a_runbook_does_not_take_is_refused(
    a: httpx2.AsyncClient, queue: RecordingQueue, inputs: dict[str, Any], says: str
) -> None:
    """It names the input and those there are; nobody who asks for more care gets the usual in silence."""
    answer = await a.post("/api/runs", json={"runbook": "jobs.stuck", "inputs": inputs})
    assert (answer.status_code, answer.json()["code"]) == (422, "plan_invalid")
    assert (says in answer.json()["detail"], queue) == (True, [])


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize("value", ["3.0", "1e1", "null", "[3]"])
async def test_an_input_that_is_no_value_is_refused(a: httpx2.AsyncClient, value: str) -> None:
    text = f'{{"runbook": "jobs.stuck", "inputs": {{"patience": {value}}}}}'
    answer = await a.post("/api/runs", content=text, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422


@pytest.mark.usefixtures("published")
async def test_an_input_that_a_runbook_takes_is_taken(a: httpx2.AsyncClient) -> None:
    answer = await a.post("/api/runs", json={"runbook": "jobs.stuck", "inputs": {"patience": 3}})
    assert answer.status_code == 202


@pytest.mark.parametrize(
    "body",
    [
        plan(inputs={"canary": 3}),
        plan(dryrun=True),
        plan(steps=[STEP | {"dry": True}]),
        plan(steps=[STEP | {"args": {"job": {"ref": "inputs.j", "or": "x"}}}], inputs={"j": "x"}),
        plan(
            steps=[STEP | {"batch": {"of": {"ref": "inputs.j"}, "into": "job", "size": 1, "most": 1}}], inputs={"j": 1}
        ),
        plan(steps=[STEP | {"compensate": {"tool": "jobs.look", "args": {}, "when": "true"}}]),
        plan(budget={"calls": 1, "dollars": 1}),
        plan(budget={"calls": "1"}),
        plan(cites=[{"id": "x", "version": 1, "at": "now"}]),
        plan(cites=[{"id": "x", "version": True}]),
        plan(steps=[STEP | {"audit": "yes"}]),
        plan(steps=[STEP | {"args": {"job": 100.0}}]),
        {**plan(), "mode": "dry"},
        {"runbook": "jobs.stuck", "slots": {"job": "x"}},
        {"message": "go", "canary": 3},
    ],
    ids=json.dumps,
)
async def test_what_a_plan_does_not_take_is_refused_wherever_it_stands(
    a: httpx2.AsyncClient, queue: RecordingQueue, body: dict[str, Any]
) -> None:
    """R2"""
    answer = await a.post("/api/runs", json=body)
    assert (answer.status_code, queue) == (422, [])


async def test_the_same_plan_without_any_of_that_is_taken(a: httpx2.AsyncClient) -> None:
    assert (await a.post("/api/runs", json=plan())).status_code == 202


async def test_a_chat_takes_no_inputs(a: httpx2.AsyncClient, queue: RecordingQueue) -> None:
    answer = await a.post("/api/chat", json={"message": "go", "inputs": {"canary": 3}})
    assert (answer.status_code, queue) == (422, [])


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/api/runs", '{"message": "go", "message": "stop"}'),
        ("/api/runs", json.dumps(plan()).replace('"args": ', '"args": {"job": "a"}, "args": ')),
        ("/api/runs", json.dumps(plan()).replace('"job": ', '"job": "a", "j\\u006fb": ')),
        ("/api/tools/jobs.look/call", '{"args": {"job": "a", "job": "b"}}'),
        ("/api/approvals/x/decisions", '{"decision": "edit", "nonce": "n", "edited": {"job": "a", "job": "b"}}'),
        ("/api/chat", '{"message": "go", "thread": "a", "thread": "b"}'),
        ("/api/nowhere", '{"a": [{"b": 1, "b": 2}]}'),
    ],
)
async def test_a_body_that_names_one_thing_twice_is_refused(
    a: httpx2.AsyncClient, queue: RecordingQueue, path: str, text: str
) -> None:
    """Reviewers read the first and the machine takes the last, so none of them counts."""
    answer = await a.post(path, content=text, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"], queue) == (422, "bad_request", [])
    assert "stands there twice" in answer.json()["detail"]


async def test_arguments_on_the_command_line_that_name_one_thing_twice_are_a_usage_error(run: Run) -> None:
    ran = await run("alice", "tools", "call", "jobs.look", "--args", '{"job": "a", "job": "b"}')
    assert (ran.code, "'job'" in ran.err, "twice" in ran.err) == (2, True, True)


@pytest.mark.parametrize(
    ("old", "new"),
    [("severity: low\n", "severity: low\nseverity: high\n"),
     ("args: {job: {ref: inputs.job}}\n    expect", "args: {job: payroll, job: {ref: inputs.job}}\n    expect")],
)  # fmt: skip
async def test_a_runbook_that_names_one_thing_twice_is_not_published(client: Client, old: str, new: str) -> None:
    assert old in RUNBOOK
    answer = await (await client("root")).post("/api/knowledge", json=runbook((old, new)))
    assert (answer.status_code, "a second time, in line" in answer.json()["detail"]) == (400, True)
