"""Memory as a tool: from the run's own scopes, by handle, and as nobody's authority."""

import json

from memory import journal, store
from memory.remembered import Provenance
from memory.results import RunRows
from memory.scope import Access
from tests.tools.adapters.conftest import Open
from tests.tools.adapters.office import Office
from tools.catalog import Catalog


async def tell(office: Office, person: Access, text: str) -> None:
    await store.remember(office.database, person, text, trust="human", provenance=Provenance())


async def test_a_run_finds_what_its_requester_may_read_and_nothing_else(opened: Open) -> None:
    """R92 R93"""
    async with opened() as office:
        mine = Access.of(office.lease_.access.principal)
        await tell(office, mine, "refunds of Nordwind go to the old account")
        for person in office.people.values():
            if person.id != mine.principal.id:
                await tell(office, Access.of(person), "refunds of Nordwind are a secret")
        found = (await office.done("memory.recall", {"query": "refunds of Nordwind"}))["found"]
        rows = RunRows(office.database, mine, office.lease_.run, "look")
        assert [row["text"] for row in await rows.sample(found, 10)] == ["refunds of Nordwind go to the old account"]


async def test_what_was_recalled_never_reaches_the_journal(opened: Open) -> None:
    """R102: entries cannot be taken back, and people can ask to be forgotten."""
    async with opened() as office:
        access = office.lease_.access
        await tell(office, Access.of(access.principal), "heliotrope is my favourite colour")
        assert (await office.done("memory.recall", {"query": "favourite colour"}))["found"]["count"] == 1
        entries = await journal.read(office.database, access, office.lease_.run)
        assert "heliotrope" not in json.dumps([entry.body for entry in entries])


async def test_scopes_are_not_for_an_agent_to_say(opened: Open) -> None:
    """R92"""
    async with opened() as office:
        outcome = await office.perform("memory.recall", {"query": "x", "scope": "user:bob"})
        assert (outcome.state, outcome.code) == ("denied", "invalid_arguments")


def test_what_was_recalled_taints_what_rests_on_it() -> None:
    """R103: a write whose argument stems from it is denied, whoever approves."""
    assert "untrusted_text" in Catalog.discover().get("memory.recall").data
