"""Effects by id or key, in lists, and explained from request to response."""

import pytest

from memory.errors import Permanent
from memory.governance import principals
from memory.scope import Access, Principal
from tests.tools.support import Desk, act
from tools import effects, explanations
from tools.catalog import Catalog

pytestmark = pytest.mark.anyio


async def test_an_effect_is_shown_by_id_and_by_natural_key(desk: Desk) -> None:
    lease = await desk.run()
    outcome = await desk.gateway.perform(lease, act(lease))
    row = await effects.show(desk.database, lease.access, str(outcome.effect))
    same_row = await effects.show(desk.database, lease.access, "shop:a")
    assert row == same_row
    assert (row.state, row.user_id, row.tool, row.amount) == ("done", "alice", "shop.charge", 10)


async def test_effects_are_listed_newest_first_and_narrowed(desk: Desk) -> None:
    first, second = await desk.run(), await desk.run()
    for lease, item, tool in [(first, "a", "shop.charge"), (second, "b", "shop.charge"), (second, "c", "shop.fail")]:
        await desk.gateway.perform(lease, act(lease, item, tool=tool))
    rows = await effects.ls(desk.database, first.access)
    failures = await effects.ls(desk.database, first.access, run=second.run, state="failed")
    assert [row.key for row in rows] == ["shop:c", "shop:b", "shop:a"]
    assert [row.key for row in failures] == ["shop:c"]


async def test_an_effect_is_explained_from_request_to_response(desk: Desk) -> None:
    """R36 R42 R48"""
    lease = await desk.run()
    refund = act(lease, tool="shop.refund")
    approval = await desk.ask(lease, refund)
    code = await principals.issue(desk.database, desk.access("root"), "bob")
    key = await principals.claim(desk.database, code.secret)
    credential = principals.key_hash(key.secret).hex()
    await desk.decide(approval, "bob", reason="checked the invoice", credential=credential)
    outcome = await desk.gateway.perform(lease, refund)
    explanation = await explanations.explain(desk.database, lease.access, str(outcome.effect))
    assert (explanation.request.requester, explanation.plan.step, explanation.verdict.policy) == (
        "alice",
        "s-a",
        desk.policy.version,
    )
    assert explanation.approval
    assert explanation.approval.votes
    vote = explanation.approval.votes[0]
    assert (vote.by, vote.decision, vote.channel, vote.reason) == ("bob", "approve", "test", "checked the invoice")
    assert (vote.key, vote.key_made_by) == (key.id, "root")
    assert (len(explanation.permit or ""), (explanation.response or {})["result"]) == (16, {"paid": "shop:a"})
    kinds = [entry.kind for entry in explanation.entries]
    assert kinds == ["requested", "proposed", "held", "vote", "approval", "proposed", "permitted", "outcome"]


async def test_the_entries_of_an_effect_stand_in_the_order_in_which_they_were_made(desk: Desk) -> None:
    """Those that name it and those that only lead to it are one story, run after run."""
    first, second = await desk.run(), await desk.run()
    outcome = await desk.gateway.perform(first, act(first))
    await desk.gateway.perform(second, act(second))
    explanation = await explanations.explain(desk.database, first.access, str(outcome.effect))
    entries = [(entry.run, entry.seq) for entry in explanation.entries]
    runs = list(dict.fromkeys(run for run, _ in entries))
    assert runs[0] == first.run
    assert entries == [pair for run in runs for pair in sorted(pair for pair in entries if pair[0] == run)]


def test_only_what_another_tool_takes_back_is_called_reversible() -> None:
    cards = Catalog.discover().cards.values()
    assert [card.name for card in cards if card.reversible and not card.compensate] == []
    assert [card.name for card in cards if card.reversible] == ["billing.pause_job", "billing.resume_job"]


async def test_an_effect_of_another_tenant_does_not_exist(desk: Desk) -> None:
    """R92"""
    lease = await desk.run()
    outcome = await desk.gateway.perform(lease, act(lease))
    stranger = Access.of(Principal("elsewhere", "alice"))
    for read in (effects.show, explanations.explain):
        with pytest.raises(Permanent, match="there is no effect"):
            await read(desk.database, stranger, str(outcome.effect))
