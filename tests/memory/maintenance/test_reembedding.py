"""A change of the embedder: in the background, in every tenant, batch by batch, by one worker at a time."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from memory.embeddings.embedder import Embedding
from memory.embeddings.lexical import LEXICAL
from memory.errors import Temporary
from memory.knowledge.models import digest
from memory.maintenance import reembedding
from memory.postgres.database import Database
from memory.scope import Access, Principal
from memory.store import search, write
from memory.store.models import Provenance

pytestmark = pytest.mark.anyio


class Lengths:
    """A model that knows how long texts are; it counts what it was given, and may be away."""

    id, lexical = "lengths-2", False

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.away = False

    async def embed(self, texts: Sequence[str]) -> list[Embedding]:
        """Return a vector per text."""
        if self.away:
            raise Temporary("unavailable", "away")
        self.texts += texts
        return [(float(len(text)), 1.0) for text in texts]


async def remember(database: Database, person: Principal, count: int) -> None:
    for n in range(count):
        await write.remember(
            database, Access.of(person), f"ledger {n} of {person.tenant}", trust="human", provenance=Provenance()
        )


async def foreign_memories(database: Database, person: Principal, embedder: str = Lengths.id) -> int:
    return (await reembedding.backlog_of(database, Access.of(person), embedder)).memories


async def finish(database: Database, model: Lengths, *people: Principal) -> None:
    """Go on until nothing of these people's tenants waits; others' rows are in the same database."""
    while any([await foreign_memories(database, person) for person in people]):
        await reembedding.advance(database, model, limit=50)


async def test_all_scopes_of_all_tenants_change_in_bites(database: Database, alice: Principal, bob: Principal) -> None:
    model, elsewhere = Lengths(), Principal(f"{alice.tenant}-2", "zoe")
    for person, count in ((alice, 7), (bob, 3), (elsewhere, 2)):
        await remember(database, person, count)
    assert (await foreign_memories(database, alice), await foreign_memories(database, elsewhere)) == (10, 2)
    assert await foreign_memories(database, alice, LEXICAL.id) == 0
    await finish(database, model, alice, elsewhere)
    during = await search.recall(database, Access.of(bob), "ledger", embedder=model)
    assert (len(during.hits), during.foreign_count) == (3, 0)


async def test_a_killed_worker_leaves_the_rest_to_the_next(database: Database, alice: Principal) -> None:
    """Every bite is committed on its own; what failed half way is as it was."""
    model = Lengths()
    await remember(database, alice, 6)
    assert await reembedding.embed_memories(database, Access.of(alice), model, limit=4) == 4
    model.away = True
    with pytest.raises(Temporary):
        await reembedding.embed_memories(database, Access.of(alice), model)
    assert await foreign_memories(database, alice) == 2
    model.away = False
    await finish(database, model, alice)


async def test_two_workers_at_once_do_not_pay_twice(database: Database, alice: Principal) -> None:
    model = Lengths()
    await remember(database, alice, 5)
    while await foreign_memories(database, alice):
        await asyncio.gather(*(reembedding.advance(database, model) for _ in range(3)))
    assert sum(alice.tenant in text for text in model.texts) == 5


class Choosy(Lengths):
    """A model that makes nothing usable of the texts of one tenant."""

    def __init__(self, tenant: str) -> None:
        super().__init__()
        self.tenant = tenant

    async def embed(self, texts: Sequence[str]) -> list[Embedding]:
        """Return vectors that the database refuses where the tenant is named."""
        bad = any(self.tenant in text for text in texts)
        return [(float("nan"), 1.0) for _ in texts] if bad else await super().embed(texts)


async def test_the_texts_of_one_tenant_do_not_keep_the_others_waiting(database: Database, alice: Principal) -> None:
    """R92"""
    elsewhere = Principal(f"{alice.tenant}x", "zoe")
    model = Choosy(f"of {elsewhere.tenant}")
    for person in (elsewhere, alice):
        await remember(database, person, 2)
    while await foreign_memories(database, alice):
        await reembedding.advance(database, model)
    assert await foreign_memories(database, elsewhere) == 2


async def test_an_item_from_before_its_front_matter_was_checked_gets_vectors_too(
    database: Database, bob: Principal
) -> None:
    body = "---\nutterances: [a\n---\nthe disk is full"
    item: dict[str, Any] = {
        "id": "fact.old", "kind": "fact", "title": "Old", "body": body, "owner": "ops", "review_by": "2030-01-01",
        "digest": digest(body), "trust": "human", "embedder": "none",
    }  # fmt: skip
    row = await database.call(Access.of(bob), "publish_knowledge", item, [], None)
    assert row["code"] == "ok"
    assert await reembedding.embed_knowledge(database, Access.of(bob), Lengths()) == 1
    assert (await reembedding.backlog_of(database, Access.of(bob), Lengths.id)).knowledge == 0
