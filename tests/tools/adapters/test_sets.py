"""Groups by rules: exactly the labels' groups, and the first case that holds wins."""

from tests.tools.adapters.conftest import OpenOffice
from tests.tools.adapters.office import CASES


async def test_runbooks_cases_find_the_groups_of_the_labels(open_office: OpenOffice) -> None:
    async with open_office() as office:
        duplicates = await office.succeed("billing.duplicates", {})
        slices = await office.succeed("sets.split", {"of": duplicates["found"], "cases": CASES, "otherwise": "unclear"})
        labels = await office.business.true_counts()
        counts = {name: part["count"] for name, part in slices.items()}
        assert counts.pop("already_refunded") > 0
        assert counts == {
            "clean": labels["refunds"],
            "disputed": labels["escalated"],
            "closed": labels["manual"],
            "different_invoice": labels["lookalikes"],
            "unclear": 0,
        }


async def test_order_of_a_list_decides(open_office: OpenOffice) -> None:
    async with open_office() as office:
        duplicates = (await office.succeed("billing.duplicates", {}))["found"]
        slices = await office.succeed("sets.split", {"of": duplicates, "cases": ["every: true", "none: disputed"]})
        assert (slices["every"]["count"], slices["none"]["count"]) == (duplicates["count"], 0)


async def test_case_that_is_no_condition_fails(open_office: OpenOffice) -> None:
    async with open_office() as office:
        duplicates = (await office.succeed("billing.duplicates", {}))["found"]
        outcome = await office.perform("sets.split", {"of": duplicates, "cases": ["odd: amount +"]})
        assert outcome.state == "failed"
        denial = await office.perform("sets.split", {"of": duplicates, "cases": ["no colon"]}, step="b")
        assert (denial.state, denial.code) == ("denied", "invalid_arguments")


async def test_handle_of_another_run_is_refused(open_office: OpenOffice) -> None:
    """R10."""
    async with open_office() as office:
        duplicates = (await office.succeed("billing.duplicates", {}))["found"]
        other = await office.run()
        outcome = await office.perform("sets.split", {"of": duplicates, "cases": CASES}, lease=other)
        assert outcome.state == "failed"
