"""Memory and knowledge over HTTP where an embedder is set."""

from collections.abc import Sequence
from dataclasses import replace

import httpx2
import pytest

from app.api.dependencies import Services
from memory.embeddings.embedder import Embedding
from memory.maintenance import reembedding
from memory.scope import Access, Principal
from memory.store import write
from memory.store.models import Provenance
from tests.fakes.embeddings_endpoint import meaning

pytestmark = pytest.mark.anyio


class Meanings:
    """A model that understands a few words."""

    id, lexical = "meanings-4", False

    async def embed(self, texts: Sequence[str]) -> list[Embedding]:
        """Return one vector per text."""
        return [tuple(meaning(text)) for text in texts]


@pytest.fixture
def services(services: Services) -> Services:
    return replace(services, embedder=Meanings())


async def test_what_is_remembered_is_found_by_what_it_means(a: httpx2.AsyncClient) -> None:
    for body in ("the noon menu", "the card was charged twice", "a boat on the lake"):
        await a.post("/api/memory", json={"body": body})
    result = (await a.get("/api/memory/search", params={"q": "duplicate payment"})).json()
    assert result["items"][0]["body"] == "the card was charged twice"
    assert result["items"][0]["explain"]["vector"] > 0


async def test_an_export_comes_in_with_the_vectors_of_the_embedder_that_is_set(a: httpx2.AsyncClient) -> None:
    await a.post("/api/memory", json={"body": "the noon menu"})
    lines = (await a.get("/api/memory/export")).text.splitlines()
    memory = (await a.get("/api/memory")).json()["items"][0]["id"]
    await a.delete(f"/api/memory/{memory}")
    assert (await a.post("/api/memory/import", json={"lines": lines})).json()["imported"] == 1
    assert (await a.get("/api/memory/search", params={"q": "lunch"})).json()["items"][0]["body"] == "the noon menu"


async def test_how_much_waits_after_a_change_is_shown_per_tenant(
    a: httpx2.AsyncClient, services: Services, alice: Principal
) -> None:
    access = Access.of(alice)
    await write.remember(services.database, access, "the noon menu", trust="human", provenance=Provenance())
    answer = await a.get("/api/memory/embedder")
    assert answer.json() == {"embedder": "meanings-4", "waiting": {"memories": 1, "knowledge": 0}}
    assert (await a.get("/api/memory/search", params={"q": "menu"})).json()["hidden"]["foreign"] == 1
    await reembedding.embed_memories(services.database, access, services.embedder)
    assert (await a.get("/api/memory/embedder")).json()["waiting"]["memories"] == 0
