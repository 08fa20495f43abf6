"""Many notes at once: one statement, and the same answers as one by one."""

import pytest

from memory.errors import Permanent
from memory.postgres.database import Connection, Database
from memory.scope import Access, Principal, Scope
from memory.store import search, write
from memory.store.models import Memory, Note, Provenance, Utterance
from tests.bench.counting import count_statements
from tests.memory.store.test_search import posted

pytestmark = pytest.mark.anyio

BODIES = ["the ledger is in room 4", "lunch is at noon", "The ledger is in room 4.", "the boiler is serviced in May"]


def of(person: Principal, scope: Scope) -> Access:
    return Access(person, (scope,), scope)


def note(body: str, key: str | None = None, place: int | None = None) -> Note:
    turn = None if place is None else Utterance("Ann", session="s", place=place)
    return Note(body, "human", Provenance(), key, turn=turn)


NOTES = [
    *map(note, BODIES),
    note("Bonn", "office"),
    note("Berlin", "office"),
    note("blue", "colour"),
    note("who has the keys?", place=0),
    note("I have them", place=1),
    note("I have them", place=2),
]


async def write_all(database: Database, access: Access, notes: list[Note]) -> list[Memory]:
    async with database.transaction(access) as connection:
        return await write.add_notes(connection, access, notes)


async def rows(database: Database, owner: Connection, access: Access) -> list[tuple[object, ...]]:
    columns = "body, key, told, size, answers, superseded_by is not null as past, near, terms, session, place"
    memories = await database.rows(access, f"select {columns} from memories order by body, place, key, past")
    words = await posted(owner, access)
    return [*(tuple(row.values()) for row in memories), *words.items()]


async def test_a_batch_leaves_what_the_same_notes_leave_one_by_one(
    database: Database, owner: Connection, alice: Principal
) -> None:
    batch, single = of(alice, Scope("session", "batch")), of(alice, Scope("session", "single"))
    memories = await write_all(database, batch, NOTES)
    others = [(await write_all(database, single, [note]))[0] for note in NOTES]
    assert await rows(database, owner, batch) == await rows(database, owner, single)
    assert [(m.body, m.key, m.is_repeat) for m in memories] == [(m.body, m.key, m.is_repeat) for m in others]


async def test_a_hundred_notes_are_one_statement(database: Database, alice: Principal) -> None:
    access = of(alice, Scope("session", "hundred"))
    notes = [note(f"ledger {number} lies in room {number * 7}") for number in range(100)]
    await write_all(database, access, notes[:2])
    with count_statements() as count:
        memories = await write_all(database, access, notes[2:])
    # Begin, enter, write, commit.
    assert (count.statements, [memory.body for memory in memories]) == (4, [note.body for note in notes[2:]])
    assert [hit.memory.body for hit in (await search.recall(database, access, "ledger 42")).hits][:1] == [
        notes[42].body
    ]


async def test_a_batch_tells_what_of_it_was_there(database: Database, alice: Principal) -> None:
    access = of(alice, Scope("session", "again"))
    first = await write_all(database, access, [note(BODIES[0])])
    memories = await write_all(database, access, list(map(note, BODIES)))
    assert [memory.is_repeat for memory in memories] == [True, False, True, False]
    assert memories[0].id == memories[2].id == first[0].id


async def test_a_batch_with_a_note_that_is_refused_leaves_nothing(
    database: Database, owner: Connection, alice: Principal
) -> None:
    access = of(alice, Scope("session", "refused"))
    await write_all(database, access, [note("blue", "colour")])
    notes = [note("lunch is at noon"), Note("green", "model", Provenance(), "colour")]
    with pytest.raises(Permanent, match="was said by a human"):
        await write_all(database, access, notes)
    assert [row[0] for row in await rows(database, owner, access)][:1] == ["blue"]
    assert await database.rows(access, "select 1 from memories where body like 'lunch%%'") == []
