"""Luggage: what waits for the next statement of a lease goes with it, before it, or not at all."""

from dataclasses import replace
from typing import Any

import psycopg
import pytest

from memory.errors import LeaseLost
from memory.governance import journal
from memory.postgres.database import Database, Prelude, PreludeRefused
from memory.runs import leases as luggages
from memory.runs.leases import Lease, Luggage, LuggageRefused
from memory.scope import Access, Principal
from tests.bench.counting import count_statements
from tests.memory.runs.conftest import Leases
from tests.memory.runs.test_checkpoints import taken_over

pytestmark = pytest.mark.anyio
POISON = "a NUL \0 that no database takes"


def entry(name: str, **words: Any) -> dict[str, Any]:
    return {"kind": "noted", "key": name, **words}


async def packed(leases: Leases, *bodies: dict[str, Any]) -> Lease:
    """Return a lease in which entries wait."""
    luggage = Luggage()
    for body in bodies:
        luggage.add_entry(body)
    return replace(await leases(), luggage=luggage)


async def keys(database: Database, lease: Lease) -> list[Any]:
    """Return the keys of the run's entries, but the first."""
    entries = await journal.read(database, lease.access, lease.run)
    return [one.body.get("key") for one in entries][1:]


async def test_what_waits_goes_with_the_next_statement_and_before_it(database: Database, leases: Leases) -> None:
    lease = await packed(leases, entry("a"), entry("b"))
    with count_statements() as count:
        await luggages.record(database, lease, entry("c"))
    assert (count.statements, await keys(database, lease)) == (1, ["a", "b", "c"])
    assert not lease.luggage


async def test_a_function_that_follows_sees_what_its_luggage_did(database: Database, leases: Leases) -> None:
    lease = await packed(leases, entry("a"))
    story = await luggages.read_story(database, lease)
    assert [one.body.get("key") for one in story] == ["requested", "a"]
    assert [one.text for one in story] == [one.text for one in await journal.read(database, lease.access, lease.run)]


async def test_a_lost_lease_saves_nothing_and_does_nothing(database: Database, leases: Leases) -> None:
    lease = await packed(leases, entry("a"))
    await taken_over(database, lease)
    with pytest.raises(LeaseLost):
        await luggages.record(database, lease, entry("b"))
    assert (await keys(database, lease), bool(lease.luggage)) == ([], False)


async def test_luggage_that_is_not_taken_keeps_its_statement_back(database: Database, leases: Leases) -> None:
    lease = await packed(leases, entry("a", text=POISON))
    with pytest.raises(LuggageRefused) as refusal:
        await luggages.record(database, lease, entry("b"))
    assert (refusal.value.code, await keys(database, lease), bool(lease.luggage)) == ("contract_violation", [], False)
    await luggages.record(database, lease, entry("c"))
    assert await keys(database, lease) == ["c"]


async def test_a_kind_that_is_not_the_nodes_own_keeps_its_statement_back(database: Database, leases: Leases) -> None:
    lease = await packed(leases, {"kind": "outcome", "key": "a"})
    with pytest.raises(LuggageRefused, match="may not record"):
        await luggages.record(database, lease, entry("b"))
    assert await keys(database, lease) == []


async def test_a_statement_that_is_not_taken_leaves_its_luggage_saved(database: Database, leases: Leases) -> None:
    lease = await packed(leases, entry("a"))
    with pytest.raises(psycopg.DataError):
        await luggages.record(database, lease, entry("b", text=POISON))
    assert (await keys(database, lease), bool(lease.luggage)) == (["a"], False)


async def test_what_was_sent_twice_is_there_once(database: Database, leases: Leases) -> None:
    """A statement whose answer was lost is sent again."""
    lease = await packed(leases, entry("a"))
    assert lease.luggage
    load = lease.luggage.unload()
    for _ in range(2):
        lease.luggage.put_back(load)
        await luggages.flush(database, lease)
    assert await keys(database, lease) == ["a"]


async def test_an_entry_without_a_key_does_not_wait() -> None:
    with pytest.raises(ValueError, match="no key"):
        Luggage().add_entry({"kind": "noted"})


async def test_nothing_is_called_after_a_prelude_that_says_no(
    database: Database, leases: Leases, alice: Principal
) -> None:
    lease = await leases()
    prelude = Prelude("append", ("nobody's run", None, entry("a")))
    with pytest.raises(PreludeRefused, match="not_found"):
        await database.call(Access.of(alice), "append", lease.run, None, entry("b"), prelude=prelude)
    assert await keys(database, lease) == []
