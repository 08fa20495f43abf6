"""Search in knowledge: by an index where there is much, by all of it elsewhere; and vectors that may be made anew."""

import asyncio
import random
from datetime import date

import psycopg
import pytest

from memory.embeddings.embedder import Embedder
from memory.embeddings.lexical import LEXICAL
from memory.knowledge import search, versions
from memory.knowledge.models import ItemHit, KnowledgeItem
from memory.maintenance import reembedding
from memory.postgres.database import Database
from memory.postgres.roles import Urls
from memory.scope import Access, Principal
from tests.bench.knowing import Topics, fill, words
from tests.conftest import Connect

pytestmark = pytest.mark.anyio
ITEM_COUNT = 300


class Short(Topics):
    """A model of few dimensions, so that tests can have many vectors."""

    id, dimensions = "topics-24", 24


@pytest.fixture
def access(bob: Principal) -> Access:
    return Access.of(bob)


def item(id: str, body: str) -> KnowledgeItem:
    return KnowledgeItem(id, "fact", id.replace(".", " "), body, "platform", date(2027, 1, 1))


async def both_ways(
    database: Database, access: Access, question: str, embedder: Embedder
) -> tuple[list[ItemHit], list[ItemHit]]:
    """Return what is found by the index and by comparing everything."""
    return (
        await search.find(database, access, question, "fact", 3, embedder=embedder, use_index=True),
        await search.find(database, access, question, "fact", 3, embedder=embedder, use_index=False),
    )


@pytest.mark.parametrize("embedder", [LEXICAL, Short()], ids=["lexical", "model"])
async def test_the_index_leads_to_what_comparing_everything_finds(
    database: Database, urls: Urls, access: Access, embedder: Embedder
) -> None:
    """R93: nearly always the same three, in the same order with the same scores where they are."""
    await fill(urls.superuser, access.principal.tenant, ITEM_COUNT, embedder)
    await reembedding.index(database, least=1000)
    assert await reembedding.index(database, least=1000) == 0
    chance, matches = random.Random(1), 0
    for _ in range(20):
        by_index, by_comparison = await both_ways(
            database, access, words(chance, chance.randrange(ITEM_COUNT // 10), 8), embedder
        )
        matches += len(set(by_index) & set(by_comparison))
        assert [hit.score for hit in by_index] == sorted((hit.score for hit in by_index), reverse=True)
    assert matches >= 57


async def test_what_others_know_crowds_nothing_out(database: Database, urls: Urls, access: Access) -> None:
    """R92: with 99 % of the index another tenant's, and on the very topic asked for, ones own three are found."""
    own_tenant, crowd, model = access.principal.tenant, f"{access.principal.tenant}-crowd", Short()
    await fill(urls.superuser, crowd, ITEM_COUNT, model)
    await fill(urls.superuser, own_tenant, ITEM_COUNT // 100, model)
    await reembedding.index(database, least=1000)
    for topic in (0, 20):
        by_index, by_comparison = await both_ways(database, access, f"topic{topic} word1 word2", model)
        assert by_index == by_comparison
        assert sorted(hit.id for hit in by_index) == ["fact.0", "fact.1", "fact.2"]


async def near(database: Database, access: Access, model: Short, *, with_plan: bool = False) -> list[str]:
    """Return what the index alone leads to, or how it is asked."""
    dims = model.dimensions
    query = f"""
        select id from knowledge_phrases
         where kind = 'fact' and embedder = '{model.id}' and vector_dims(embedding) = {dims}
         order by embedding::vector({dims}) <=> array_fill(1, array[{dims}])::vector({dims}) limit 200
    """
    async with database.transaction(access) as connection:
        await connection.execute(
            "select set_config('enable_sort', 'off', true), set_config('hnsw.iterative_scan', 'relaxed_order', true)"
        )
        cursor = await connection.execute(f"{'explain' if with_plan else ''} {query}".encode())
        return [str(next(iter(row.values()))) for row in await cursor.fetchall()]


async def test_the_index_alone_goes_on_past_others_rows(database: Database, urls: Urls, access: Access) -> None:
    """R92, R93: row security filters after the index, which is therefore read on until there is enough."""
    model = Short()
    await fill(urls.superuser, f"{access.principal.tenant}-crowd", ITEM_COUNT, model)
    await fill(urls.superuser, access.principal.tenant, ITEM_COUNT // 100, model)
    await reembedding.index(database, least=1000)
    assert "knowledge_phrases_24" in "".join(await near(database, access, model, with_plan=True))
    assert sorted(await near(database, access, model)) == [f"fact.{n}" for n in range(3) for _ in range(4)]


def test_the_index_is_followed_where_that_pays() -> None:
    """Alone from the crossover on; among many others only with much of ones own; never where there is none."""
    size = search.CROSSOVER

    def pays(own: int, share: float | None) -> bool:
        return search.PhraseStatistics("e", 1, own, None, share).prefers_index()

    assert [pays(size - 1, 0.0), pays(size + 1, 0.0), pays(10 * size, None)] == [False, True, False]
    assert [pays(2 * size, 100.0 * size), pays(11 * size, 100.0 * size)] == [False, True]


async def test_words_decide_until_every_item_has_vectors_of_the_model(database: Database, access: Access) -> None:
    """Vectors of two embedders never meet, and what was published stays as it was."""
    model = Short()
    for number in range(3):
        await versions.publish(database, access, item(f"fact.{number}", f"topic{number} is told here"))
    before = await versions.ls(database, access)
    arguments = ("topic1 of something else", "fact", 1)
    by_words = await search.find(database, access, *arguments)
    assert await reembedding.embed_knowledge(database, access, model, limit=2) == 2
    assert await search.find(database, access, *arguments, embedder=model) == by_words
    assert await missing_vectors(database, access) == 1
    assert await reembedding.embed_knowledge(database, access, model) == 1
    (by_meaning,) = await search.find(database, access, *arguments, embedder=model)
    assert (by_meaning.id, by_meaning.score != by_words[0].score) == ("fact.1", True)
    assert await search.find(database, access, *arguments) == by_words
    assert (await versions.ls(database, access), await missing_vectors(database, access)) == (before, 0)


async def test_a_new_version_is_found_by_words_until_the_worker_got_to_it(database: Database, access: Access) -> None:
    model = Short()
    await versions.publish(database, access, item("fact.0", "topic0 as it was"))
    await reembedding.embed_knowledge(database, access, model)
    await versions.publish(database, access, item("fact.0", "topic0 as it is now"))
    (hit,) = await search.find(database, access, "topic0 as it is now", "fact", embedder=model)
    assert (hit.version, await missing_vectors(database, access)) == (2, 1)
    assert await reembedding.embed_knowledge(database, access, model) == 1
    (hit,) = await search.find(database, access, "topic0 as it is now", "fact", embedder=model)
    assert (hit.version, hit.score > 0.9) == (2, True)


async def test_a_later_model_replaces_the_one_before(database: Database, access: Access, superuser: Connect) -> None:
    await versions.publish(database, access, item("fact.0", "topic0 is told here"))
    for model in (Short(), Topics()):
        await reembedding.embed_knowledge(database, access, model)
    async with superuser() as above:
        cursor = await above.execute(
            "select embedder from knowledge_vectors where tenant = %s order by 1", [access.principal.tenant]
        )
        embedders = [row["embedder"] for row in await cursor.fetchall()]
    assert sorted(embedders) == sorted(["", LEXICAL.id, Topics.id])


async def test_sums_hold_whoever_publishes_and_embeds_at_once(
    database: Database, access: Access, superuser: Connect
) -> None:
    """Two workers and two publishers; the sums that searches trust equal what is there."""

    async def publish(number: int) -> None:
        for edit in range(3):
            await versions.publish(database, access, item(f"fact.{number}", f"topic{number} edit {edit} told"))

    async def embed() -> None:
        for _ in range(6):
            await reembedding.embed_knowledge(database, access, Short())

    await asyncio.gather(*(publish(number % 2) for number in range(4)), embed(), embed())
    await reembedding.embed_knowledge(database, access, Short())
    async with superuser() as above:
        sums = """
            select embedder, items, phrases, coalesce(counts, '[0]')::text as counts from knowledge_spread
             where tenant = %(tenant)s order by 1
        """
        recount = """
            select v.embedder, count(*)::int as items, sum(v.phrases)::int as phrases,
                   coalesce(sum(presence), '[0]')::text as counts from knowledge_vectors v where v.tenant = %(tenant)s
             group by v.embedder order by 1
        """
        about = {"tenant": access.principal.tenant}
        sums_after = await (await above.execute(sums.encode(), about)).fetchall()
        assert sums_after == await (await above.execute(recount.encode(), about)).fetchall()
    assert [row["items"] for row in sums_after] == [2, 2, 2]


@pytest.mark.parametrize("table", ["knowledge_vectors", "knowledge_phrases", "knowledge_spread"])
async def test_the_app_writes_vectors_through_the_two_functions_alone(
    database: Database, access: Access, table: str
) -> None:
    async with database.transaction(access) as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await connection.execute(f"delete from {table}".encode())


async def missing_vectors(database: Database, access: Access) -> int:
    return (await reembedding.backlog_of(database, access, Short.id)).knowledge
