"""Faults of requests: what a queued run was asked is edited before a worker takes it; nothing of it is performed."""

import json
from dataclasses import dataclass
from typing import Any

import pytest

from memory.errors import Temporary
from memory.runs.queue import Queue
from tests.conftest import Connection
from tests.graphs.stage import Stage, Stages, pay, plan
from tests.scenarios.faults.test_database import ending


@dataclass(frozen=True)
class Edit:
    """A text of the queued request and what stands in its place."""

    name: str
    old: str
    new: str

    def __str__(self) -> str:
        return self.name


EDITS = [
    Edit("an unknown tool", '"shop.pay"', '"shop.gone"'),
    Edit("a write said to be a read", '"effect": "write"', '"effect": "read"'),
    Edit("a wrong type of argument", '"amount": 100', '"amount": "many"'),
    Edit("an argument that the tool does not have", '"amount": 100', '"amount": 100, "twice": true, "": 1'),
    Edit("an expectation that is no condition", '"result.paid == 1"', '"size(result)"'),
    Edit("a reference to nothing", '"order": "a"', '"order": {"ref": "steps.gone.order"}'),
    Edit("no steps", '"steps"', '"stops"'),
    Edit("a step that is a text", '"steps": [', '"steps": ["pay", '),
    Edit("a budget below nothing", '"calls": 200', '"calls": -1'),
]
OTHER_REQUESTS: list[Any] = ["pay a", 5, ["pay a"], {"id": {}}, {"steps": []}, {"steps": [{}]}, True]
"""In the place of the plan."""


async def queued(stages: Stages) -> tuple[Stage, str]:
    stage = stages()
    return stage, await stage.start(plan=plan(pay("a"), budget={"calls": 200}))


@pytest.mark.parametrize("edit", EDITS, ids=str)
async def test_a_queued_plan_that_was_edited_is_not_performed(stages: Stages, above: Connection, edit: Edit) -> None:
    stage, run = await queued(stages)
    query = "update runs set input = replace(input::text, %s, %s)::jsonb where id = %s and input::text like %s"
    cursor = await above.execute(query, [edit.old, edit.new, run, f"%{edit.old}%"])
    assert cursor.rowcount == 1
    assert (await ending(stage, run), stage.shop.payments) == (("failed", "plan_invalid"), {})


@pytest.mark.parametrize("other", OTHER_REQUESTS, ids=repr)
async def test_what_is_no_plan_is_called_that(stages: Stages, above: Connection, other: Any) -> None:
    stage, run = await queued(stages)
    query = "update runs set input = jsonb_set(input, '{given}', %s::jsonb) where id = %s"
    await above.execute(query, [json.dumps(other), run])
    assert (await ending(stage, run), stage.shop.payments) == (("failed", "plan_invalid"), {})
    assert "holds no plan" in (await stage.row(run)).message


async def test_a_run_whose_wake_up_is_refused_is_not_accepted(stages: Stages, above: Connection) -> None:
    stage, run = await queued(stages)
    await above.execute("alter function wake_run(text) rename to lost")
    try:
        with pytest.raises(Temporary, match="failed"):
            async with stage.database.transaction(stage.access) as connection:
                await Queue().defer(connection, run)
    finally:
        await above.execute("alter function lost(text) rename to wake_run")
    assert stage.shop.payments == {}
