"""Forecast of what waits: which open questions a migration makes void, and why; looking changes nothing."""

from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from app.waiting import Forecast, Release, forecast
from memory.governance import policy_version
from memory.postgres.roles import Urls
from tests.scenarios.town import Town, open_town
from tools.catalog import Catalog
from tools.policy import FOLDER, PolicySet

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120), pytest.mark.anyio]
TOOL = "billing.refund"
RUNBOOK = "billing.single-refund"


@pytest.fixture(scope="module")
def own(clone: Callable[[str], Urls], worker_id: str) -> Urls:
    """Return a database of our own, in which only our questions are open."""
    return clone(f"waiting_{worker_id}")


@pytest.fixture(scope="module")
async def town(own: Urls, tmp_path_factory: pytest.TempPathFactory, anyio_backend: str) -> AsyncGenerator[Town]:
    """Return a town in which a refund waits for people, and a request for its requester."""
    folder: Path = tmp_path_factory.mktemp("waiting")
    async with open_town(own, folder) as town:
        async with town.worker():
            charge = (await town.charges("clean_duplicate"))[0]
            await town.until_question(await town.ask(f"please refund charge {charge} to the customer"), "refund")
            await town.until_rest(await town.ask("something is odd"))
        yield town


async def forecasts(town: Town, **changes: object) -> tuple[Forecast, Forecast]:
    """Return what becomes of the refund and of the unclear request under a release with some changes."""
    release = replace(Release.load(town.settings), **changes)
    refund, unclear = await forecast(town.addresses.owner_url, release)
    return refund, unclear


def catalog_without(town: Town, *names: str) -> Catalog:
    catalog = Catalog.discover(town.settings.tools_dir)
    return Catalog([catalog.get(name) for name in catalog.cards if name not in names])


async def test_nothing_becomes_of_questions_under_the_same_release(town: Town) -> None:
    refund, unclear = await forecasts(town)
    assert (refund.fate, refund.reasons, refund.step) == ("stays", (), "refund")
    assert (unclear.fate, unclear.approval, unclear.requester) == ("stays", None, "alice")


async def test_another_policy_asks_again_and_says_what_it_will_demand(town: Town) -> None:
    files = {path.name: path.read_text() for path in FOLDER.glob("*.cedar")}
    files["base.cedar"] += "\n// another text is another policy\n"
    cards = Release.load(town.settings).catalog.cards
    refund, unclear = await forecasts(town, policies=PolicySet(files, cards))
    assert (refund.fate, unclear.fate) == ("asked again", "stays")
    assert "stale_policy" in refund.reasons[0]


async def test_a_tool_that_is_gone_stops_the_run(town: Town) -> None:
    refund, unclear = await forecasts(town, catalog=catalog_without(town, TOOL))
    assert (refund.fate, unclear.fate) == ("cannot go on", "stays")
    assert f"tool {TOOL!r} is gone" in refund.reasons[0]


async def test_a_tool_with_another_card_is_asked_about_again(town: Town) -> None:
    tool = Catalog.discover(town.settings.tools_dir).get(TOOL)
    rest = catalog_without(town, TOOL)
    catalog = Catalog([*(rest.get(name) for name in rest.cards), replace(tool, target=_elsewhere)])
    refund, _ = await forecasts(town, catalog=catalog)
    assert (refund.fate, "approval_stale" in refund.reasons[0]) == ("asked again", True)


async def test_a_later_version_of_the_runbook_that_comes_along_asks_again(town: Town) -> None:
    refund, _ = await forecasts(town, runbooks={RUNBOOK: 99})
    assert (refund.fate, "stale_knowledge" in refund.reasons[0]) == ("asked again", True)


async def test_a_flow_that_is_gone_leads_no_run(town: Town) -> None:
    fates = {forecast.fate for forecast in await forecasts(town, flows=frozenset[str]())}
    assert fates == {"cannot go on"}


async def test_looking_changes_nothing(town: Town) -> None:
    access = policy_version.installation(town.settings.tenant)
    before = await policy_version.policy(town.system.database, access)
    await forecasts(town, catalog=catalog_without(town, TOOL), flows=frozenset[str]())
    refund, unclear = await forecasts(town)
    assert (refund.fate, unclear.fate, await policy_version.policy(town.system.database, access)) == (
        "stays",
        "stays",
        before,
    )


def _elsewhere(args: object) -> str:
    """Return a target that no argument names."""
    return "elsewhere"
