"""Looking back at effects: by id or key, in lists, and with the whole chain from request to response."""

import pytest

from memory.errors import Permanent
from memory.scope import Access, Principal
from tests.tools.support import Desk, act
from tools import effects, explanations

pytestmark = pytest.mark.anyio


async def test_an_effect_is_shown_by_id_and_by_natural_key(desk: Desk) -> None:
    lease = await desk.run()
    outcome = await desk.gateway.perform(lease, act(lease))
    by_id = await effects.show(desk.database, lease.access, str(outcome.effect))
    by_key = await effects.show(desk.database, lease.access, "shop:a")
    assert by_id == by_key
    assert (by_id.state, by_id.user_id, by_id.tool, by_id.amount) == ("done", "alice", "shop.charge", 10)


async def test_effects_are_listed_newest_first_and_narrowed(desk: Desk) -> None:
    one, two = await desk.run(), await desk.run()
    for lease, item, tool in [(one, "a", "shop.charge"), (two, "b", "shop.charge"), (two, "c", "shop.fail")]:
        await desk.gateway.perform(lease, act(lease, item, tool=tool))
    listed = await effects.ls(desk.database, one.access)
    failed = await effects.ls(desk.database, one.access, run=two.run, state="failed")
    assert [row.key for row in listed] == ["shop:c", "shop:b", "shop:a"]
    assert [row.key for row in failed] == ["shop:c"]


async def test_an_effect_is_explained_from_request_to_response(desk: Desk) -> None:
    """R36 R42 R48"""
    lease = await desk.run()
    refund = act(lease, tool="shop.refund")
    approval = await desk.ask(lease, refund)
    await desk.decide(approval, "bob", reason="checked the invoice")
    outcome = await desk.gateway.perform(lease, refund)
    told = await explanations.explain(desk.database, lease.access, str(outcome.effect))
    assert (told.request.requester, told.plan.step, told.verdict.policy) == (
        "alice",
        "s-a",
        desk.policy.version,
    )
    assert told.approval
    assert told.approval.votes
    vote = told.approval.votes[0]
    assert (vote.by, vote.decision, vote.channel, vote.reason) == (
        "bob",
        "approve",
        "test",
        "checked the invoice",
    )
    assert (len(told.permit or ""), (told.response or {})["result"]) == (16, {"paid": "shop:a"})
    kinds = [entry.kind for entry in told.entries]
    assert kinds == ["requested", "proposed", "held", "vote", "approval", "proposed", "permitted", "outcome"]


async def test_an_effect_of_another_tenant_does_not_exist(desk: Desk) -> None:
    """R92"""
    lease = await desk.run()
    outcome = await desk.gateway.perform(lease, act(lease))
    stranger = Access.of(Principal("elsewhere", "alice"))
    for read in (effects.show, explanations.explain):
        with pytest.raises(Permanent, match="there is no effect"):
            await read(desk.database, stranger, str(outcome.effect))
