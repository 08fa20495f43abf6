"""Hash of a request: the gateway computes it from the action, the business from the body, and both come to the same."""

from collections.abc import AsyncIterator, Mapping
from typing import Any, cast

import pytest
from fastapi.routing import APIRoute

from app.world.billing import router as billing
from app.world.cloud import router as cloud
from app.world.requests import canonical as business_canonical
from app.world.requests import permit_digest
from app.world.tickets import router as tickets
from tools.action import Action, Json, canonical, digest_of_lines
from tools.admission import admit
from tools.catalog import Catalog
from tools.services import request_body
from tools.tool import BusinessServices, Call, ResultRows, SliceArgument

ROWS: list[Mapping[str, Json]] = [
    {"charge": "ch_0123456789ab", "invoice": "in_1", "customer": "cu_1", "amount": 1250, "note": 'Zoë — "q" \u2028'},
    {"charge": "ch_ba9876543210", "invoice": "in_2", "customer": "cu_2", "amount": 99, "disputed": False, "x": None},
]
PART = SliceArgument(
    handle="h_" + "a" * 24, count=2, digest=digest_of_lines(canonical(row) for row in ROWS), total=1349, currency="EUR"
).model_dump()
ARGUMENTS: Mapping[str, dict[str, Json]] = {
    "billing.pause_job": {"job": "retry-2026-11-20"},
    "billing.resume_job": {"job": "retry-2026-11-20"},
    "billing.refund": {"charge": "ch_0123456789ab", "amount": 5},
    "billing.refund_batch": {"charges": PART},
    "billing.charge": {"invoice": "in_1", "amount": 5},
    "billing.charge_batch": {"invoices": PART},
    "tickets.comment": {"ticket": "t_1001", "text": 'naïve "quotes" and \\ and \n'},
    "tickets.open_batch": {"kind": "manual", "items": PART},
    "tickets.notify_batch": {"template": "refund_made", "items": PART},
    "cloud.extend_volume": {"volume": "prod/db-main", "size": 500, "gigabytes": 50, "price": 600},
    "cloud.drop_table": {"table": "prod/audit_log"},
}
CATALOG = Catalog.discover()
WRITES = sorted(name for name, card in CATALOG.cards.items() if card.effect != "read")


class _StoredRows:
    async def read(self, part: SliceArgument) -> AsyncIterator[Mapping[str, Json]]:
        for row in ROWS:
            yield row


def _action(tool: str) -> Action:
    return Action("run", "step", "executor", tool, ARGUMENTS[tool], "plan", "alice")


@pytest.mark.parametrize("tool", WRITES)
async def test_permit_and_business_hash_alike(tool: str) -> None:
    admission = admit(_action(tool), CATALOG)
    call = Call(
        "key", "run", "step", "alice", "executor", cast(BusinessServices, None), cast(ResultRows, _StoredRows())
    )
    assert permit_digest(await request_body(admission.arguments, call)) == admission.args_hash


@pytest.mark.parametrize("tool", WRITES)
def test_each_effect_has_its_route_and_its_safety_net(tool: str) -> None:
    """R66."""
    paths = {
        route.path for router in (billing, tickets, cloud) for route in router.routes if isinstance(route, APIRoute)
    }
    service, _, verb = tool.partition(".")
    declaration = CATALOG.get(tool)
    assert f"/{service}/{verb}" in paths
    assert (declaration.lookup is not None, bool(declaration.playbook), bool(declaration.failures)) == (
        True,
        True,
        True,
    )
    assert declaration.target is not None


@pytest.mark.parametrize("value", [{"b": 1, "a": [True, None, "é\u2028"]}, [], "", 0, {"ä": {"z": '\\"', "a": -1}}])
def test_both_sides_write_json_alike(value: Any) -> None:
    assert canonical(value) == business_canonical(value)
