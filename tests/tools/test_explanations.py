"""What people are shown of an effect, its approval and its run, whatever somebody makes of the tables."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from memory.governance import rounds
from memory.runs import run_story
from tests.conftest import Connect
from tests.tampering import columns, forge
from tests.tools.stories import Refund, refund
from tests.tools.support import Desk
from tools import effect_account, explanations

pytestmark = pytest.mark.anyio
Look = Callable[[Refund], Awaitable[Any]]


async def explanation(story: Refund) -> Any:
    return await explanations.explain(story.database, story.lease.access, story.effect)


async def effect(story: Refund) -> Any:
    return await effect_account.show(story.database, story.lease.access, story.effect)


async def round_of(story: Refund) -> Any:
    return await rounds.show(story.database, story.lease.access, story.approval)


async def run_of(story: Refund) -> Any:
    return await run_story.show(story.database, story.lease.access, story.lease.run)


_EFFECT = {
    "args": "", "amount": "", "state": "'failed'", "outcome": "", "user_id": "", "run": "", "step": "", "role": "",
    "tool": "", "digest": "", "currency": "'JPY'", "plan_hash": "", "policy": "", "approval": "", "attempts": "",
    "claimed": "", "settled": "", "sent": "", "superseded_by": "", "key": "", "generation": "", "event": "",
}  # fmt: skip
_EFFECT_ALONE = {"tenant", "id", "args_hash", "permit", "fence", "frees", "compensates", "look_at"}
"""Columns that nobody is shown; `tenant` and `id` say whose row it is."""
_EFFECT_ROW = {"cost", "looks"}
"""Columns that no entry holds."""
_SHOWN_AS = {"event": "send_key"}
_COMPUTED = ("approvals", "send_key")
"""Fields that differ along with others: who counts, and what key the event has."""
_ROUND = {
    "kind": "'audit'", "run": "", "round": "", "requester": "", "status": "'rejected'", "reason": "", "need": "",
    "groups": "", "requester_excluded": "", "exposure": "", "step": "", "plan_hash": "", "policy": "", "rules": "",
    "pins": """'[{"id": "x", "version": 1}]'""", "shown": "", "edited": "", "decided_by": "", "opened": "",
    "expires": "", "decided": "", "valid_until": "", "authors": "", "currency": "'JPY'", "taken_over_by": "",
    "proposal": """'{"by": "eve", "edited": {}, "reason": "", "nonce": "", "at": "2020-02-02T00:00:00+00:00"}'""",
    "nonce": "",
}  # fmt: skip
_VOTE = {"decision": "'reject'", "reason": "", "channel": "", "nonce": "", "key": "", "at": ""}
_ITEM = {"step": "", "tool": "", "amount": "", "currency": "'JPY'", "consumed": "", "effect": ""}
_RUN = {
    "thread": "", "requester": "", "status": "'failed'", "reason": "", "message": "", "input": "",
    "answers": """'["forged"]'""", "correlation": "", "plan": "", "plan_hash": "", "waits_for": "", "attempt": "",
    "cancel": "", "spent_tokens": "", "spent_micros": "", "spent_calls": "", "spent_millis": "", "created": "",
    "ended": "", "limit_tokens": "", "limit_micros": "", "limit_calls": "", "flow": "",
}  # fmt: skip
_RUN_ROW = {"reserved_tokens", "reserved_micros", "reserved_calls", "fence", "worker", "seq"}
_RUN_ALONE = {"tenant", "id", "kind", "beat", "head", "origin", "checkpoints_deleted", "shelved"}


def tampering() -> list[Any]:
    """Return (view, table, column, value, name of the difference)."""
    lists = [
        (effect, "effects", _EFFECT, "{}"),
        (explanation, "effects", _EFFECT, "effect.{}"),
        (round_of, "approvals", _ROUND, "{}"),
        (round_of, "votes", _VOTE, "votes.bob.{}"),
        (round_of, "approval_items", _ITEM, "items.DIGEST.{}"),
        (run_of, "runs", _RUN, "{}"),
        (
            explanation,
            "approvals",
            {name: _ROUND[name] for name in ("need", "exposure", "status", "opened")},
            "approval.{}",
        ),
        (explanation, "votes", _VOTE, "approval.votes.bob.{}"),
        (
            explanation,
            "runs",
            {name: _RUN[name] for name in ("requester", "input", "thread", "plan_hash")},
            "request.{}",
        ),
    ]
    return [
        pytest.param(
            look,
            table,
            column,
            value,
            name.format(_SHOWN_AS.get(column, column)),
            id=f"{look.__name__}-{table}-{column}",
        )
        for look, table, values, name in lists
        for column, value in values.items()
    ]


def place(story: Refund, table: str) -> str:
    places = {
        "effects": f"id = '{story.effect}'",
        "approvals": f"id = '{story.approval}'",
        "votes": f"approval = '{story.approval}' and approver = 'bob'",
        "approval_items": f"approval = '{story.approval}'",
        "runs": f"id = '{story.lease.run}'",
    }
    return places[table]


@pytest.mark.parametrize(("look", "table", "column", "value", "name"), tampering())
async def test_an_edit_of_a_table_changes_nothing_that_is_shown_and_is_named(  # one edit has this many parts
    desk: Desk, superuser: Connect, *, look: Look, table: str, column: str, value: str, name: str
) -> None:
    """Whoever edits a vote or an amount changes no explanation."""
    story = await refund(desk)
    before = await look(story)
    assert before.differs == ()
    await forge(superuser, table, column, place(story, table), value=value)
    after = await look(story)
    name = name.replace("DIGEST", before.record.items[0].digest if look is round_of else "")
    assert [other for other in after.differs if other == name or not other.endswith(_COMPUTED)] == [name]
    assert replace(after, differs=()) == before


@pytest.mark.parametrize(
    ("table", "names"),
    [
        ("effects", {*_EFFECT, *_EFFECT_ALONE, *_EFFECT_ROW}),
        ("approvals", {*_ROUND, "tenant", "id", "checkpoint"}),
        ("votes", {*_VOTE, "tenant", "approval", "approver"}),
        ("approval_items", {*_ITEM, "tenant", "approval", "digest"}),
        ("runs", {*_RUN, *_RUN_ROW, *_RUN_ALONE}),
    ],
)
async def test_each_column_is_tried_or_said_not_to_be_shown(superuser: Connect, table: str, names: set[str]) -> None:
    assert await columns(superuser, table) == names


async def test_nothing_that_is_shown_of_a_refund_stands_in_a_row_alone(desk: Desk) -> None:
    story = await refund(desk)
    assert [(await look(story)).row_only for look in (effect, round_of, run_of)] == [
        (),
        (),
        (),
    ]
