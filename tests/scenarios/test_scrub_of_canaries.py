"""Erasure with `--scrub` after every route by which words come in: rows, files and log of a server of one's own."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from app import scrub
from app.settings import Settings
from memory.postgres.database import Database
from memory.postgres.embedded import attach
from memory.postgres.roles import Urls
from memory.scope import Principal
from memory.store import erasure
from tests.fakes.openai_endpoint import endpoint
from tests.scenarios.canaries import Canaries, analyze, business_files, in_tables
from tests.scenarios.test_canaries import live
from tests.scenarios.test_models import draft
from tests.scenarios.test_scrub import files_with, installation
from tests.scenarios.town import open_town

__all__ = ["installation"]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


async def live_through(urls: Urls, folder: Path, canary: Canaries) -> str:
    """Let people use all of the product; returns their tenant."""
    plan = draft("billing.single-refund")
    with endpoint([plan.replace("as asked", canary()), plan.replace("as asked", canary()), plan]) as playing:
        async with open_town(urls, folder, model="openai:scripted", model_base_url=playing.url) as town, town.worker():
            await live(town, canary)
            return town.settings.tenant


async def erase(urls: Urls, tenant: str, person: str) -> Mapping[str, Any]:
    database = await Database.open(urls.app, size=1)
    receipt = await erasure.forget_person(database, Principal(tenant, person), requester=person)
    await database.close()
    return {"person": receipt.person}


def test_words_of_every_route_are_gone_from_rows_files_and_log(
    installation: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the receipt says of each place is what a search of our own finds."""
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    canary = Canaries()
    with attach(installation.data_dir) as server:
        tenant = asyncio.run(live_through(server.urls, tmp_path, canary))
        analyze(server.urls, "checkpoint")
        before = files_with(installation.data_dir, canary.words)
        settings = installation.model_copy(update={"tenant": tenant})
        for person in ("alice", "bob"):
            result = scrub.forget(settings, person, lambda who=person: asyncio.run(erase(server.urls, tenant, who)))
        assert in_tables(server.urls, canary) == {}
        after = files_with(installation.data_dir, canary.words)
        after -= {name for name in after if Path(name).name in business_files(server.urls)}
    assert {name.split("/")[-2] for name in before} > {"pg_wal"}
    assert {name: place.state for name, place in result["places"].items()} == dict.fromkeys(
        ("rows", "files", "log"), "clean"
    )
    assert after == set()
