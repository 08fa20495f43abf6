"""Search: words weighed by rarity, conversations read as such, every addend told, nothing from elsewhere."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from math import isclose, log
from typing import Any

import psycopg
import pytest

from memory.embeddings.lexical import LEXICAL
from memory.errors import Permanent
from memory.postgres.database import Connection, Database
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
def own_access(alice: Principal) -> Access:
    return Access.of(alice)


@pytest.fixture
def say(database: Database, own_access: Access) -> Say:
    async def keep(body: str, access: Access = own_access, **options: Any) -> Memory:
        return await write.remember(database, access, body, trust="human", provenance=Provenance(), **options)

    return keep


async def posted(owner: Connection, access: Access) -> dict[str, int]:
    """Return how often each word is posted where somebody may read; nobody but the owner's functions sees that."""
    who, reads = access.principal, [str(scope) for scope in access.reads]
    async with owner.transaction():
        await owner.execute("select enter(%s, %s, %s, '{}')", [who.tenant, who.id, reads])
        rows = await owner.execute("select lexeme, sum(hits)::int as hits from memory_postings group by 1 order by 1")
        return {row["lexeme"]: row["hits"] for row in await rows.fetchall()}


@pytest.fixture
async def talk(say: Say) -> list[Memory]:
    moment = datetime(2023, 5, 7, tzinfo=UTC)
    return [
        await say(text, turn=Utterance(speaker, moment, "s1", position))
        for position, (speaker, text) in enumerate(TALK)
    ]


async def first(database: Database, access: Access, query: str) -> str:
    return (await search.recall(database, access, query)).hits[0].memory.body


async def test_postings_give_the_bm25_of_the_textbook(
    database: Database, own_access: Access, owner: Connection, say: Say
) -> None:
    """A word in few memories counts more, a second mention less, a long memory less."""
    await say("ledger ledger audit")
    assert await posted(owner, own_access) == {"audit": 1, "ledger": 2}
    await say("ledger invoice customer")
    await say("volume disk space almost used")
    hits = (await search.recall(database, own_access, "ledger")).hits
    sizes, mean = (3, 3, 5), 11 / 3
    scores = [
        log(1 + 1.5 / 2.5) * n * 1.9 / (n + 0.9 * (0.2 + 0.8 * size / mean))
        for n, size in zip((2, 1, 0), sizes, strict=True)
    ]
    middle = sum(scores) / 3
    spread = (sum((score - middle) ** 2 for score in scores) / 3) ** 0.5
    assert isclose(hits[0].explain["passage"], WEIGHTS["passage"] * (scores[0] - middle) / spread, abs_tol=1e-5)


async def test_every_addend_is_told_and_they_add_up(database: Database, own_access: Access, talk: list[Memory]) -> None:
    """R93: why a memory stands where it stands can be read off."""
    answer = await search.recall(database, own_access, "What did Bob rent at the lake?")
    assert all(isclose(sum(hit.explain.values()), hit.score, abs_tol=1e-4) for hit in answer.hits)
    assert answer.hits[0].explain.keys() <= WEIGHTS.keys() == LEXICAL_WEIGHTS.keys()


async def test_the_answer_to_a_question_is_found_by_the_question(
    database: Database, own_access: Access, talk: list[Memory]
) -> None:
    """No word of the query stands in the answer."""
    assert await first(database, own_access, "colour of the kitchen") == TALK[5][1]


async def test_who_is_named_counts(database: Database, own_access: Access, talk: list[Memory]) -> None:
    answer = await search.recall(database, own_access, "What did Bob say about the printer?")
    speakers = {hit.memory.turn.speaker for hit in answer.hits if hit.memory.turn and "speaker" in hit.explain}
    assert speakers == {"Bob"}


async def test_a_day_is_found_by_its_name(database: Database, own_access: Access, say: Say) -> None:
    for month in (4, 5, 6):
        await say(f"lunch number {month}", turn=Utterance("Ann", datetime(2023, month, 3, tzinfo=UTC)))
    assert await first(database, own_access, "lunch in May 2023") == "lunch number 5"


async def test_a_question_about_time_prefers_what_tells_one(database: Database, own_access: Access, say: Say) -> None:
    await say("The parcel for Kim came in a large box")
    await say("The parcel for Kim came yesterday at noon")
    assert (
        await first(database, own_access, "When did the parcel for Kim come?")
        == "The parcel for Kim came yesterday at noon"
    )


async def test_neighbours_end_with_their_session(database: Database, own_access: Access, say: Say) -> None:
    await say("Which hotel was it?", turn=Utterance("Ann", None, "one", 0))
    await say("Nothing else to report.", turn=Utterance("Bob", None, "two", 1))
    answer = await search.recall(database, own_access, "hotel")
    assert ([hit.memory.body for hit in answer.hits], answer.unrelated_count) == (["Which hotel was it?"], 1)


async def test_the_same_words_elsewhere_in_a_conversation_stay_there(
    database: Database, own_access: Access, say: Say
) -> None:
    turns = [Utterance("Ann", None, "s", position) for position in (0, 1, 1)]
    memories = [await say("That sounds great, thank you!", turn=turn) for turn in turns]
    assert (memories[0].id != memories[1].id, memories[1].id == memories[2].id) == (True, True)


async def test_a_mistyped_word_is_found_by_its_spelling(database: Database, own_access: Access, say: Say) -> None:
    await say("duplicate charges on the card")
    await say("volume is almost full")
    answer = await search.recall(database, own_access, "duplicte")
    assert [hit.memory.body for hit in answer.hits] == ["duplicate charges on the card"]


@pytest.mark.parametrize(("moment", "query"), [("the painter called twice", "painting"), ("we bought bread", "buy")])
async def test_a_word_of_the_same_kin_counts(
    database: Database, own_access: Access, say: Say, moment: str, query: str
) -> None:
    """By its beginning, or as an irregular form of the same verb; less than the word itself."""
    await say("volume is almost full")
    await say(moment)
    assert await first(database, own_access, query) == moment


async def test_numbers_that_begin_alike_are_not_of_one_kin(database: Database, own_access: Access, say: Say) -> None:
    await say("refund of charge 1000000001")
    assert (await search.recall(database, own_access, "1000000002")).hits == ()


async def test_vectors_count_only_beside_a_word_that_resembles_none(
    database: Database, own_access: Access, say: Say
) -> None:
    await say("duplicate charges on the card")
    await say("volume is almost full")
    words = ("card", "crad", "xylophone")
    reasons = [(await search.recall(database, own_access, f"charges {word}")).hits[0].explain for word in words]
    assert ["vector" in explain for explain in reasons] == [False, False, True]


async def test_one_session_in_two_scopes_is_two_sessions(
    database: Database, own_access: Access, alice: Principal, say: Say
) -> None:
    await say(
        "Which hotel was it?", Access(alice, alice.reads, context.SHARED_SCOPE), turn=Utterance("Ann", None, "s", 0)
    )
    await say("Nothing else to report.", turn=Utterance("Bob", None, "s", 1))
    answer = await search.recall(database, own_access, "hotel")
    assert ([hit.memory.body for hit in answer.hits], answer.unrelated_count) == (["Which hotel was it?"], 1)


async def test_the_same_search_gives_the_same_order(database: Database, own_access: Access, talk: list[Memory]) -> None:
    """R93: also once the plan of the statement is kept."""
    answers: list[SearchResult] = [
        await search.recall(database, own_access, "the trip and the printer") for _ in range(8)
    ]
    assert all(answer == answers[0] for answer in answers)


async def test_words_of_others_are_not_counted(
    database: Database, own_access: Access, bob: Principal, say: Say
) -> None:
    """R92: neither found nor felt: another's memories do not change how rare a word is."""
    for body in ("the ledger is closed", "the volume is full", "the key was rotated"):
        await say(body)
    before = await search.recall(database, own_access, "ledger")
    for n in range(5):
        await say(f"ledger page {n} of another person", Access.of(bob))
    assert await search.recall(database, own_access, "ledger") == before


@pytest.mark.parametrize(
    "statement",
    ["select * from memory_postings", "update memory_postings set lexeme = 'forged'", "select mark from memory_marks"],
)
async def test_words_are_read_and_written_by_functions_alone(
    database: Database, own_access: Access, bob: Principal, owner: Connection, *, say: Say, statement: str
) -> None:
    """R92: a plan that is run would count the words of others; and the functions obey row security as everybody."""
    await say("canary")
    assert (await posted(owner, own_access), await posted(owner, Access.of(bob))) == ({"canari": 1}, {})
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        async with database.transaction(own_access) as connection:
            await connection.execute(f"explain analyze {statement}".encode())


async def test_forgotten_memories_leave_no_posting(
    database: Database, own_access: Access, owner: Connection, say: Say
) -> None:
    """R102: words too."""
    memories = await say("the canary sings at night")
    await erasure.forget(database, own_access, id=memories.id)
    assert await posted(owner, own_access) == {}


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
    with pytest.raises(Permanent) as refusal:
        await say("hello there", turn=turn)
    assert refusal.value.code == "bad_request"


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
async def test_any_query_has_an_answer(database: Database, own_access: Access, talk: list[Memory], query: str) -> None:
    answer = await search.recall(database, own_access, query)
    assert len(answer.hits) + answer.unrelated_count >= 6 or len(answer.hits) == 10


def test_spelling_counts_little_beside_words() -> None:
    assert LEXICAL.lexical
    assert abs(LEXICAL_WEIGHTS["vector"]) < LEXICAL_WEIGHTS["passage"] / 4
