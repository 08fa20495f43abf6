"""Spelling: misspelt words find what they mean, and what nobody ever said finds nothing."""

import random

import pytest

from memory.postgres.database import Database
from memory.scope import Access
from memory.store import search
from tests.memory.store.test_search import Say, own_access, say

__all__ = ["own_access", "say"]
pytestmark = pytest.mark.anyio

TEXTS = (
    "the invoice was sent to Caroline",
    "the kubernetes cluster needs an upgrade",
    "Anna is allergic to peanuts",
    "we meet at the stick fence",
)


@pytest.fixture
async def vocabulary(say: Say) -> None:
    for text in TEXTS:
        await say(text)


async def bodies(database: Database, access: Access, query: str) -> list[str]:
    return [hit.memory.body for hit in (await search.recall(database, access, query)).hits]


@pytest.mark.usefixtures("vocabulary")
@pytest.mark.parametrize(
    ("query", "number"),
    [("invocie", 0), ("invioce", 0), ("invoce", 0), ("invvoice", 0), ("nivoice", 0), ("Carolin", 0), ("kuberntes", 1),
     ("kubbernetes", 1), ("kuvernetes", 1), ("cluter", 1), ("alergic", 2), ("penauts", 2), ("INVOCIE", 0)],
)  # fmt: skip
async def test_a_misspelt_word_finds_what_it_means(
    database: Database, own_access: Access, query: str, number: int
) -> None:
    """R93: letters that changed places, one left out, one doubled, or another one in a long word."""
    assert await bodies(database, own_access, query) == [TEXTS[number]]


@pytest.mark.usefixtures("vocabulary")
@pytest.mark.parametrize(
    "query", ["xylophone", "billing refund", "coffee", "shrimp", "qqqq", "fance", "meat", "東京都庁"]
)
async def test_what_nobody_said_finds_nothing(database: Database, own_access: Access, query: str) -> None:
    """R93: also where a short word is nearly another; all that is there is counted as below."""
    answer = await search.recall(database, own_access, query)
    assert (answer.hits, answer.unrelated_count) == ((), len(TEXTS))


async def test_chance_is_no_resemblance_among_many_texts(database: Database, own_access: Access, say: Say) -> None:
    """Hashed spelling would show most of these."""
    rng = random.Random(7)
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    for _ in range(120):
        await say(" ".join("".join(rng.choices(letters, k=rng.randrange(8, 12))) for _ in range(12)))
    for query in ("xylophone", "kubernetes", "billing invoice refund", "zebra crossing"):
        assert (await search.recall(database, own_access, query, limit=50)).hits == ()


async def test_a_word_that_is_there_is_not_taken_for_its_misspelt_neighbour(
    database: Database, own_access: Access, say: Say
) -> None:
    for text in ("the trail along the river", "the trial begins"):
        await say(text)
    assert await bodies(database, own_access, "trail") == ["the trail along the river"]


async def test_a_neighbour_that_the_question_has_too_counts_once(
    database: Database, own_access: Access, say: Say
) -> None:
    """Else a word and its misspelling would make two words of one."""
    await say("the invoice was sent")
    twice, once = [await search.recall(database, own_access, query) for query in ("invoice invocie", "invoice xyzzyx")]
    assert [hit.explain["passage"] for hit in twice.hits] == [hit.explain["passage"] for hit in once.hits]


@pytest.mark.usefixtures("vocabulary")
async def test_without_a_floor_all_is_shown_what_was_meant_first(database: Database, own_access: Access) -> None:
    hits = (await search.recall(database, own_access, "kuberntes", relevance="any")).hits
    assert (hits[0].memory.body, len(hits)) == (TEXTS[1], len(TEXTS))


async def test_letters_of_other_scripts_may_be_wrong_too(database: Database, own_access: Access, say: Say) -> None:
    await say("Клиент просил перезвонить в пятницу")
    await say("volume is almost full")
    assert await bodies(database, own_access, "перезвонитть") == ["Клиент просил перезвонить в пятницу"]
