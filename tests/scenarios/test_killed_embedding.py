"""Death of a worker amid new vectors: committed ones stay, and another worker makes the rest."""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.supervisor import environment
from memory.maintenance import reembedding
from memory.postgres.roles import Urls
from memory.store import write
from memory.store.models import Provenance
from memory.store.write import Note
from tests.fakes.embeddings_endpoint import endpoint
from tests.scenarios.town import Town, open_town
from tests.scenarios.waiting import until

pytestmark = pytest.mark.slow
MODEL = "openai:meanings"
COUNT, STOP = 250, "remark 249 about ships"


@contextmanager
def worker(town: Town, log: Path) -> Generator[subprocess.Popen[bytes]]:
    """Let a worker process of its own work, as operators start one; it is killed at the latest when the block ends."""
    urls = {"DATABASE_URL": town.addresses.app, "WORKER_DATABASE_URL": str(town.addresses.worker)}
    addresses = {f"COUNTERSIGN_{name}": url for name, url in urls.items()}
    variables = {**environment(town.settings), **addresses, "OPENAI_API_KEY": "none"}
    argv = [sys.executable, "-c", "from app.cli import main; main()", "worker"]
    with log.open("wb") as out, subprocess.Popen(argv, env={**os.environ, **variables}, stderr=out) as process:
        try:
            yield process
        finally:
            process.kill()


async def backlog(town: Town) -> reembedding.Backlog:
    return await reembedding.backlog(town.system.database, town.system.embedder.id)


async def add_notes(town: Town) -> None:
    notes = [Note(f"remark {number} about ships", "human", Provenance()) for number in range(COUNT)]
    async with town.system.database.transaction(town.access) as connection:
        await write.add_notes(connection, town.access, notes)


@pytest.fixture
def apart(clone: Callable[[str], Urls], worker_id: str) -> Urls:
    """Return a database in which nobody else's rows wait for vectors."""
    return clone(f"killed_{worker_id}")


async def test_a_worker_killed_amid_new_vectors_leaves_the_rest_to_another(
    apart: Urls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R93: the model stops in the third bite of a hundred."""
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    with endpoint() as model:
        async with open_town(apart, tmp_path, embeddings=MODEL, embeddings_base_url=model.url) as town:
            await add_notes(town)
            assert (await backlog(town)).memories == COUNT
            model.stops_at = STOP
            with worker(town, tmp_path / "log") as process:
                await until(model.is_reached.is_set, "the third bite", 60)
                assert await backlog(town) == reembedding.Backlog(50, 0)
                os.kill(process.pid, signal.SIGKILL)
                assert process.wait() == -signal.SIGKILL
            assert await backlog(town) == reembedding.Backlog(50, 0)
            model.stops_at = ""
            model.release.set()
            with worker(town, tmp_path / "log"):

                async def through() -> bool:
                    return await backlog(town) == reembedding.Backlog(0, 0)

                await until(through, "the rest of the vectors", 60)
    requests = Counter(text for request in model.requests for text in request["input"] if "remark" in text)
    assert sorted(requests.values()) == [1] * 200 + [2] * 50
