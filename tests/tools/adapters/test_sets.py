"""Groups by rules: exactly the labels' groups, and the first case that holds wins."""

from tests.tools.adapters.conftest import Open
from tests.tools.adapters.office import CASES


async def test_runbooks_cases_find_the_groups_of_the_labels(opened: Open) -> None:
    async with opened() as office:
        found = await office.done("billing.duplicates", {})
        parts = await office.done("sets.split", {"of": found["found"], "cases": CASES, "otherwise": "unclear"})
        wanted = await office.business.expected()
        counts = {name: part["count"] for name, part in parts.items()}
        assert counts.pop("already_refunded") > 0
        assert counts == {
            "clean": wanted["refunds"],
            "disputed": wanted["escalated"],
            "closed": wanted["manual"],
            "different_invoice": wanted["lookalikes"],
            "unclear": 0,
        }


async def test_order_of_a_list_decides(opened: Open) -> None:
    async with opened() as office:
        found = (await office.done("billing.duplicates", {}))["found"]
        parts = await office.done("sets.split", {"of": found, "cases": ["every: true", "none: disputed"]})
        assert (parts["every"]["count"], parts["none"]["count"]) == (found["count"], 0)


async def test_case_that_is_no_condition_fails(opened: Open) -> None:
    async with opened() as office:
        found = (await office.done("billing.duplicates", {}))["found"]
        outcome = await office.perform("sets.split", {"of": found, "cases": ["odd: amount +"]})
        assert outcome.state == "failed"
        denied = await office.perform("sets.split", {"of": found, "cases": ["no colon"]}, step="b")
        assert (denied.state, denied.code) == ("denied", "invalid_arguments")


async def test_handle_of_another_run_is_refused(opened: Open) -> None:
    """R10."""
    async with opened() as office:
        found = (await office.done("billing.duplicates", {}))["found"]
        other = await office.run()
        outcome = await office.perform("sets.split", {"of": found, "cases": CASES}, lease=other)
        assert outcome.state == "failed"
