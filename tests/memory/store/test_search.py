"""Search: words weighed by rarity, conversations read as such, every addend told, nothing from elsewhere."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from math import isclose, log
from typing import Any

import psycopg
import pytest

from memory.embeddings.lexical import LEXICAL
from memory.errors import Permanent
from memory.postgres.database import Database
from memory.scope import Access, Principal
from memory.store import context, erasure, search, write
from memory.store.models import Memory, Provenance, SearchResult, Utterance
from memory.store.ranking import LEXICAL_WEIGHTS, WEIGHTS

pytestmark = pytest.mark.anyio
Say = Callable[..., Awaitable[Memory]]

TALK = (
    ("Ann", "How was the trip to the lake with the children?"),
    ("Bob", "Wonderful, we rented a small cabin and stayed until Sunday."),
    ("Ann", "By the way, the printer on the second floor is broken again."),
    ("Bob", "I know, the technician said that the fuser must be replaced."),
    ("Ann", "And which colour did you choose for the kitchen in the end?"),
    ("Bob", "A warm yellow, my wife was quite determined about that."),
)


@pytest.fixture
def mine(alice: Principal) -> Access:
    return Access.of(alice)


@pytest.fixture
def say(database: Database, mine: Access) -> Say:
    async def keep(body: str, access: Access = mine, **options: Any) -> Memory:
        return await write.remember(database, access, body, trust="human", provenance=Provenance(), **options)

    return keep


@pytest.fixture
async def talk(say: Say) -> list[Memory]:
    said = datetime(2023, 5, 7, tzinfo=UTC)
    return [await say(text, turn=Utterance(speaker, said, "s1", place)) for place, (speaker, text) in enumerate(TALK)]


async def first(database: Database, access: Access, query: str) -> str:
    return (await search.recall(database, access, query)).hits[0].memory.body


async def test_postings_give_the_bm25_of_the_textbook(database: Database, mine: Access, say: Say) -> None:
    """A word in few memories counts more, a second mention less, a long memory less."""
    await say("ledger ledger audit")
    await say("ledger invoice customer")
    await say("volume disk space almost used")
    async with database.transaction(mine) as connection:
        found = await connection.execute("select lexeme, hits from memory_postings where hits > 1")
        assert await found.fetchall() == [{"lexeme": "ledger", "hits": 2}]
    hits = (await search.recall(database, mine, "ledger")).hits
    sizes, mean = (3, 3, 5), 11 / 3
    scores = [
        log(1 + 1.5 / 2.5) * n * 1.9 / (n + 0.9 * (0.2 + 0.8 * size / mean))
        for n, size in zip((2, 1, 0), sizes, strict=True)
    ]
    middle = sum(scores) / 3
    spread = (sum((score - middle) ** 2 for score in scores) / 3) ** 0.5
    assert isclose(hits[0].explain["passage"], WEIGHTS["passage"] * (scores[0] - middle) / spread, abs_tol=1e-5)


async def test_every_addend_is_told_and_they_add_up(database: Database, mine: Access, talk: list[Memory]) -> None:
    """R93: why a memory stands where it stands can be read off."""
    found = await search.recall(database, mine, "What did Bob rent at the lake?")
    assert all(isclose(sum(hit.explain.values()), hit.score, abs_tol=1e-4) for hit in found.hits)
    assert found.hits[0].explain.keys() <= WEIGHTS.keys() == LEXICAL_WEIGHTS.keys()


async def test_the_answer_to_a_question_is_found_by_the_question(
    database: Database, mine: Access, talk: list[Memory]
) -> None:
    """No word of the query stands in the answer."""
    assert await first(database, mine, "colour of the kitchen") == TALK[5][1]


async def test_who_is_named_counts(database: Database, mine: Access, talk: list[Memory]) -> None:
    found = await search.recall(database, mine, "What did Bob say about the printer?")
    spoken = {hit.memory.turn.speaker for hit in found.hits if hit.memory.turn and "speaker" in hit.explain}
    assert spoken == {"Bob"}


async def test_a_day_is_found_by_its_name(database: Database, mine: Access, say: Say) -> None:
    for month in (4, 5, 6):
        await say(f"lunch number {month}", turn=Utterance("Ann", datetime(2023, month, 3, tzinfo=UTC)))
    assert await first(database, mine, "lunch in May 2023") == "lunch number 5"


async def test_a_question_about_time_prefers_what_tells_one(database: Database, mine: Access, say: Say) -> None:
    await say("The parcel for Kim came in a large box")
    await say("The parcel for Kim came yesterday at noon")
    assert (
        await first(database, mine, "When did the parcel for Kim come?") == "The parcel for Kim came yesterday at noon"
    )


async def test_neighbours_end_with_their_session(database: Database, mine: Access, say: Say) -> None:
    await say("Which hotel was it?", turn=Utterance("Ann", None, "one", 0))
    await say("Nothing else to report.", turn=Utterance("Bob", None, "two", 1))
    found = await search.recall(database, mine, "hotel")
    assert ([hit.memory.body for hit in found.hits], found.unrelated_count) == (["Which hotel was it?"], 1)


async def test_the_same_words_elsewhere_in_a_conversation_stay_there(
    database: Database, mine: Access, say: Say
) -> None:
    turns = [Utterance("Ann", None, "s", place) for place in (0, 1, 1)]
    kept = [await say("That sounds great, thank you!", turn=turn) for turn in turns]
    assert (kept[0].id != kept[1].id, kept[1].id == kept[2].id) == (True, True)


async def test_a_mistyped_word_is_found_by_its_spelling(database: Database, mine: Access, say: Say) -> None:
    await say("duplicate charges on the card")
    await say("volume is almost full")
    found = await search.recall(database, mine, "duplicte")
    assert [hit.memory.body for hit in found.hits] == ["duplicate charges on the card"]


@pytest.mark.parametrize(("said", "query"), [("the painter called twice", "painting"), ("we bought bread", "buy")])
async def test_a_word_of_the_same_kin_counts(database: Database, mine: Access, say: Say, said: str, query: str) -> None:
    """By its beginning, or as an irregular form of the same verb; less than the word itself."""
    await say("volume is almost full")
    await say(said)
    assert await first(database, mine, query) == said


async def test_numbers_that_begin_alike_are_not_of_one_kin(database: Database, mine: Access, say: Say) -> None:
    await say("refund of charge 1000000001")
    assert (await search.recall(database, mine, "1000000002")).hits == ()


async def test_vectors_count_only_beside_a_word_that_resembles_none(database: Database, mine: Access, say: Say) -> None:
    await say("duplicate charges on the card")
    await say("volume is almost full")
    words = ("card", "crad", "xylophone")
    told = [(await search.recall(database, mine, f"charges {word}")).hits[0].explain for word in words]
    assert ["vector" in explain for explain in told] == [False, False, True]


async def test_one_session_in_two_scopes_is_two_sessions(
    database: Database, mine: Access, alice: Principal, say: Say
) -> None:
    await say(
        "Which hotel was it?", Access(alice, alice.reads, context.SHARED_SCOPE), turn=Utterance("Ann", None, "s", 0)
    )
    await say("Nothing else to report.", turn=Utterance("Bob", None, "s", 1))
    found = await search.recall(database, mine, "hotel")
    assert ([hit.memory.body for hit in found.hits], found.unrelated_count) == (["Which hotel was it?"], 1)


async def test_the_same_search_gives_the_same_order(database: Database, mine: Access, talk: list[Memory]) -> None:
    """R93: also once the plan of the statement is kept."""
    answers: list[SearchResult] = [await search.recall(database, mine, "the trip and the printer") for _ in range(8)]
    assert all(answer == answers[0] for answer in answers)


async def test_words_of_others_are_not_counted(database: Database, mine: Access, bob: Principal, say: Say) -> None:
    """R92: neither found nor felt: another's memories do not change how rare a word is."""
    for body in ("the ledger is closed", "the volume is full", "the key was rotated"):
        await say(body)
    before = await search.recall(database, mine, "ledger")
    for n in range(5):
        await say(f"ledger page {n} of another person", Access.of(bob))
    assert await search.recall(database, mine, "ledger") == before


async def test_postings_obey_row_security_without_any_filter(
    database: Database, mine: Access, bob: Principal, say: Say
) -> None:
    """R92: and nobody writes them by hand."""
    await say("canary")
    async with database.transaction(Access.of(bob)) as connection:
        assert await (await connection.execute("select * from memory_postings")).fetchall() == []
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        async with database.transaction(mine) as connection:
            await connection.execute("update memory_postings set lexeme = 'forged'")


async def test_forgotten_memories_leave_no_posting(database: Database, mine: Access, say: Say) -> None:
    """R102: words too."""
    kept = await say("the canary sings at night")
    await erasure.forget(database, mine, id=kept.id)
    async with database.transaction(mine) as connection:
        assert await (await connection.execute("select * from memory_postings")).fetchall() == []


@pytest.mark.parametrize(
    "turn",
    [
        Utterance(""),
        Utterance("Ann", None, "s"),
        Utterance("Ann", None, None, 3),
        Utterance("Ann", None, "s", -1),
        Utterance("A\0"),
        Utterance("Ann", datetime(2023, 5, 7)),
    ],
)
async def test_half_a_place_in_a_conversation_is_refused(say: Say, turn: Utterance) -> None:
    with pytest.raises(Permanent) as refused:
        await say("hello there", turn=turn)
    assert refused.value.code == "bad_request"


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?!",
        "the and of",
        "' or true; --",
        "x" * 9000,
        "\0",
        "日本語",
        "%s {} $1",
        "\ud7ffabc \U0010ffffabc %%%%% ____ \\\\\\\\ a_c%e",
    ],
)
async def test_any_query_has_an_answer(database: Database, mine: Access, talk: list[Memory], query: str) -> None:
    found = await search.recall(database, mine, query)
    assert len(found.hits) + found.unrelated_count >= 6 or len(found.hits) == 10


def test_spelling_counts_little_beside_words() -> None:
    assert LEXICAL.lexical
    assert abs(LEXICAL_WEIGHTS["vector"]) < LEXICAL_WEIGHTS["passage"] / 4
