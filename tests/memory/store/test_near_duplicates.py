"""Which texts are taken for one: as a copy, as restating what was recalled, as something that was forgotten."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import pytest

from memory.errors import Permanent
from memory.postgres.database import Database
from memory.runs.leases import access_of
from memory.scope import Access, Principal
from memory.store import erasure, search, transfer, write
from memory.store.fingerprints import opposites, wording
from memory.store.models import Memory, Provenance
from tests.conftest import Connect

pytestmark = pytest.mark.anyio
Say = Callable[..., Awaitable[Memory]]
ORIGIN = Provenance(run="r", source="status page")
DIFFERENT = [
    ("The feature flag for checkout is on", "The feature flag for checkout is off"),
    ("Alice reports to Bob", "Bob reports to Alice"),
    ("The balance of account seven is -500 EUR", "The balance of account seven is 500 EUR"),
    ("Peter writes all his services in C++", "Peter writes all his services in C#"),
    ("The transmitter has a power of 5 mW", "The transmitter has a power of 5 MW"),
    ("The valve is in", "The valve is out"),
    ("Deploy after the freeze", "Deploy through the freeze"),
    ("Refunds go from savings to checking", "Refunds go to savings from checking"),
    ("He owns the payment service", "She owns the payment service"),
    ("He sold it to her", "She sold it to him"),
    ("Anna will marry Tom", "Anna will marry Tom, not Ben"),
    ("The contract is valid", "The contract is invalid"),
    ("The contract ends in May", "The contract ends in May unless renewed"),
    ("Ship to Berlin", "Ship to Berlin via Vienna"),
    ("Password is Hunter2", "password is hunter2"),
    ("temperature alarm: x > y", "temperature alarm: x < y"),
    ("Use port 8080", "Use port 8081"),
    ("Approve refunds", "Approve refunds only for VIPs"),
    ("Disk usage threshold: 90%", "Disk usage threshold: 90 GB"),
    ("买方付款", "卖方付款"),
    ("The meeting is today", "The meeting is today cancelled"),
    ("\U0001f600", "\U0001f621"),
    ("Anna is allergic to peanuts", "Anna is allergic to peanuts and shrimp"),
    ("The invoice was paid", "The invoice was paid?"),
    ("The plan is A", "The plan is B"),
    ("version 1.2 is stable", "version 12 is stable"),
]  # fmt: skip
ALIKE = [
    ("the ledger closes on Fridays at noon", "As I said: the ledger closes on Fridays at noon"),
    ("the ledger closes on Fridays at noon", "The ledger closes on Fridays, at noon!"),
    ("the ledger closes on Fridays at noon", "  the LEDGER closes\non fridays (at noon)"),
    ("it's “closed” on Friday", 'It\'s "closed" on Friday.'),
    ("Again: use port 8080", "use port 8080"),
]


@pytest.fixture
def own_access(alice: Principal) -> Access:
    return Access.of(alice)


@pytest.fixture
def working(alice: Principal) -> Access:
    """Return the access of one of Alice's runs."""
    return access_of(alice, str(uuid4()), "thread")


@pytest.fixture
def say(database: Database, own_access: Access) -> Say:
    async def keep(body: str, access: Access = own_access, trust: Any = "human", origin: Provenance = ORIGIN) -> Memory:
        return await write.remember(database, access, body, trust=trust, provenance=origin)

    return keep


@pytest.mark.parametrize(
    ("first_text", "other"), [*DIFFERENT, *((other, first_text) for first_text, other in DIFFERENT)]
)
async def test_no_text_with_another_meaning_is_lost(
    database: Database, own_access: Access, say: Say, first_text: str, other: str
) -> None:
    """R94: both are there, and neither answer says otherwise."""
    memories = [await say(text) for text in (first_text, other)]
    assert [memory.is_repeat for memory in memories] == [False, False]
    assert {memory.body for memory in await search.ls(database, own_access)} == {first_text, other}


@pytest.mark.parametrize(("first_text", "other"), ALIKE)
async def test_a_true_copy_is_linked_and_the_answer_says_so(
    database: Database, own_access: Access, say: Say, first_text: str, other: str
) -> None:
    """R94: with the text that is kept, not with the one that was given."""
    first, second = [await say(text) for text in (first_text, other)]
    assert (first.is_repeat, second.is_repeat, second.id, second.body) == (False, True, first.id, first_text)
    assert [memory.is_repeat for memory in await search.ls(database, own_access)] == [False]


@pytest.mark.parametrize(("first_text", "other"), DIFFERENT)
async def test_what_a_source_says_otherwise_is_news_to_a_run_that_recalled_it(
    database: Database, working: Access, say: Say, first_text: str, other: str
) -> None:
    """R103: only what is worded alike restates a memory, if the text has a source of its own."""
    repetition = await say(first_text)
    await database.rows(working, "select id from show_memories(%s::uuid[])", [repetition.id])
    assert (await say(other, working, "tool")).body == other


@pytest.mark.parametrize(("first_text", "other"), ALIKE)
async def test_what_is_worded_alike_restates_whatever_source_it_names(
    database: Database, working: Access, say: Say, first_text: str, other: str
) -> None:
    """R103"""
    repetition = await say(first_text)
    await database.rows(working, "select id from show_memories(%s::uuid[])", [repetition.id])
    with pytest.raises(Permanent, match="only restates"):
        await say(other, working, "tool")


@pytest.mark.parametrize(
    ("again", "news"),
    [("Bonn office: the flag is on", False), ("the flag of the office in Bonn is off", True),
     ("the flag of the Bonn office is on, as is the one of Kiel", True)],
)  # fmt: skip
async def test_without_a_source_another_order_restates_and_the_opposite_does_not(
    database: Database, working: Access, say: Say, again: str, news: bool
) -> None:
    """R103: what a model makes of a memory is no evidence for it."""
    repetition = await say("the flag of the office in Bonn is on")
    await database.rows(working, "select id from show_memories(%s::uuid[])", [repetition.id])
    if news:
        assert await say(again, working, "model", Provenance())
        return
    with pytest.raises(Permanent, match="only restates"):
        await say(again, working, "model", Provenance())


@pytest.mark.parametrize(("first_text", "other"), DIFFERENT)
async def test_forgetting_one_text_does_not_refuse_another(
    database: Database, own_access: Access, say: Say, first_text: str, other: str
) -> None:
    """R102: a tombstone stands for one wording."""
    await say(first_text)
    await erasure.forget_person(database, own_access.principal, requester="alice")
    assert (await say(other, trust="tool")).body == other
    for text in (first_text, f"As I said: {first_text}"):
        with pytest.raises(Permanent, match="forgotten on request"):
            await say(text, trust="tool")


async def test_what_was_forgotten_before_wording_was_compared_stays_so_in_any_order(
    database: Database, own_access: Access, say: Say, superuser: Connect
) -> None:
    """R101, R102: neither a tool nor a file brings it back."""
    await say("Alice reports to Bob")
    lines = [line async for line in transfer.export(database, own_access)]
    async with superuser() as above:
        await above.execute(
            "update memories set near = split_part(near, '~', 2) where tenant = %s", [own_access.principal.tenant]
        )
    await erasure.forget_person(database, own_access.principal, requester="alice")
    with pytest.raises(Permanent, match="forgotten on request"):
        await say("Bob reports to Alice", trust="tool")
    with pytest.raises(Permanent, match="line 2"):
        await transfer.import_lines(database, own_access, lines)


def test_opposites_are_small_words_and_signs() -> None:
    assert opposites("The saldo is -500, up from 20.") == ["-20", "500", "down", "to"]
    assert opposites("neither on nor off") == []
    assert wording("a plan") != wording("a")
