"""Tickets and cloud through the gateway."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from app.world.store import connect
from memory.runs.results import RunRows
from tests.tools.adapters.conftest import OpenOffice
from tools.adapters import billing, tickets

MANY_TICKETS = """
insert into {}_tickets.tickets (id, kind, subject, body, customer)
select 't_' || 100000 + n, 'customer', 'again', '', 'cu_000001' from generate_series(1, 10000) n
"""


async def test_tickets_are_listed_by_handle_and_read_one_by_one(open_office: OpenOffice) -> None:
    async with open_office() as office:
        tickets = await office.succeed("tickets.list", {})
        assert (tickets["count"], tickets["found"]["count"]) == (4, 4)
        assert "Ignore previous" in (await office.succeed("tickets.read", {"ticket": "t_1002"}))["body"]
        assert "untrusted_text" in office.catalog.cards["tickets.read"].data


async def test_more_than_a_page_is_listed_and_counted_whole(open_office: OpenOffice) -> None:
    """Nothing is cut off in silence, and no request is about more rows than its service answers in time."""
    async with open_office() as office:
        async with await connect(office.business.database) as connection:
            await connection.execute(MANY_TICKETS.format(office.business.instance).encode())
        assert (await office.succeed("tickets.list", {}))["count"] == tickets.PAGE + 4
        part = await office.clean()
        totals = await office.succeed("billing.refund_totals", {"charges": part}, step="few")
        rows = RunRows(office.database, office.own_lease.access, office.own_lease.run, "own")

        async def many() -> AsyncIterator[Mapping[str, Any]]:
            for number in range(billing.PAGE):
                yield {"charge": f"ch_{number:012}", "amount": 1}
            async for row in rows.read({**part}):  # pyright: ignore[reportArgumentType]  # a slice as plain JSON
                yield row

        args: dict[str, Any] = {"charges": await rows.keep("many", many())}
        assert await office.succeed("billing.refund_totals", args, step="many") == totals
        nothing = await office.cut(part, 0, 0)
        assert (await office.succeed("billing.refund_totals", {"charges": nothing}, step="none"))["charges"] == 0


async def test_note_is_added_once_per_text(open_office: OpenOffice) -> None:
    async with open_office(faults="drop3") as office:
        for number in range(4):
            args = {"ticket": "t_1001", "text": f"note {number}"}
            assert (await office.succeed("tickets.comment", args, step=f"n{number}"))["commented"] == 1
        assert (await office.business.actual_counts())["comments"] == 4


async def test_tickets_and_messages_follow_slices(open_office: OpenOffice) -> None:
    async with open_office() as office:
        part = await office.cut(await office.clean(), 0, 20)
        tickets = await office.succeed("tickets.open_batch", {"kind": "manual", "items": part})
        messages = await office.succeed("tickets.notify_batch", {"template": "refund_made", "items": part})
        assert (tickets["opened"], messages["notified"]) == (20, 20)
        figures = await office.business.actual_counts()
        assert (figures["manual"], figures["notifications"]) == (20, 20)


async def test_volume_is_extended_as_offered(open_office: OpenOffice) -> None:
    async with open_office() as office:
        offer = (await office.succeed("cloud.volumes", {}, step="a"))["fullest"]
        args = {name: offer[name] for name in ("volume", "size", "gigabytes", "price")}
        assert (await office.succeed("cloud.extend_volume", args))["used_percent"] < 80
        assert (await office.succeed("cloud.volumes", {"volume": offer["volume"]}, step="b"))["over"] == 0


async def test_volume_is_extended_once_however_many_people_ask(open_office: OpenOffice) -> None:
    """R71."""
    async with open_office() as office:
        offer = (await office.succeed("cloud.volumes", {}, step="a"))["fullest"]
        args = {name: offer[name] for name in ("volume", "size", "gigabytes", "price")}
        await office.succeed("cloud.extend_volume", args)
        again = await office.perform("cloud.extend_volume", args, step="again")
        larger = await office.perform("cloud.extend_volume", {**args, "gigabytes": 50, "price": 600}, step="more")
        assert (again.state, larger.state, larger.code) == ("skipped", "denied", "key_reused")
        assert (await office.succeed("cloud.volumes", {"volume": offer["volume"]}, step="b"))["fullest"][
            "size"
        ] == offer["size"] + offer["gigabytes"]


@pytest.mark.parametrize("table", ["prod/audit_log", "prod/meter_readings"])
async def test_shipped_policy_never_drops_a_table_of_production(open_office: OpenOffice, table: str) -> None:
    """R45."""
    async with open_office(policy=None) as office:
        largest = await office.succeed("cloud.tables", {"volume": "prod/db-main"})
        assert largest["largest"]["table"] == "prod/audit_log"
        outcome = await office.perform("cloud.drop_table", {"table": table})
        assert (outcome.state, outcome.code) == ("denied", "policy_denied")
        assert (await office.business.actual_counts())["dropped"] == 0
