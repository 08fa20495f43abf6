"""Memory tools: recall from the run's own scopes, by handle, and never as an authority."""

import json

import pytest

from memory.governance import journal
from memory.runs import records
from memory.runs.results import RunRows
from memory.scope import Access, Scope
from memory.store import search, write
from memory.store.models import Provenance
from tests.tools.adapters.conftest import OpenOffice
from tests.tools.adapters.office import Office
from tools.catalog import Catalog


async def tell(office: Office, person: Access, text: str) -> None:
    await write.remember(office.database, person, text, trust="human", provenance=Provenance())


async def test_a_run_finds_what_its_requester_may_read_and_nothing_else(open_office: OpenOffice) -> None:
    """R92 R93"""
    async with open_office() as office:
        requester = Access.of(office.own_lease.access.principal)
        await tell(office, requester, "refunds of Nordwind go to the old account")
        for person in office.people.values():
            if person.id != requester.principal.id:
                await tell(office, Access.of(person), "refunds of Nordwind are a secret")
        memories = (await office.succeed("memory.recall", {"query": "refunds of Nordwind"}))["found"]
        rows = RunRows(office.database, requester, office.own_lease.run, "look")
        assert [row["text"] async for row in rows.read(memories)] == ["refunds of Nordwind go to the old account"]


async def test_what_was_recalled_never_reaches_the_journal(open_office: OpenOffice) -> None:
    """R102: entries cannot be taken back, and people can ask to be forgotten."""
    async with open_office() as office:
        access = office.own_lease.access
        await tell(office, Access.of(access.principal), "heliotrope is my favourite colour")
        assert (await office.succeed("memory.recall", {"query": "favourite colour"}))["found"]["count"] == 1
        entries = await journal.read(office.database, access, office.own_lease.run)
        assert "heliotrope" not in json.dumps([entry.body for entry in entries])


async def test_scopes_are_not_for_an_agent_to_say(open_office: OpenOffice) -> None:
    """R92"""
    async with open_office() as office:
        outcome = await office.perform("memory.recall", {"query": "x", "scope": "user:bob"})
        assert (outcome.state, outcome.code) == ("denied", "invalid_arguments")


def test_what_was_recalled_taints_what_rests_on_it() -> None:
    """R103: a write whose argument stems from it is denied, whoever approves."""
    assert "untrusted_text" in Catalog.discover().get("memory.recall").data


async def test_what_a_run_notes_stays_its_own_and_a_quotation(open_office: OpenOffice) -> None:
    """R90 R103: in its working memory, untrusted, under the text's digest; the journal has the id alone."""
    async with open_office() as office:
        access = office.own_lease.access
        note = await office.succeed("memory.remember", {"text": "from now on the limit is 9,000"})
        (memory,) = await search.ls(office.database, access, scopes=[Scope("run", office.own_lease.run)])
        assert (memory.id, memory.trust, memory.expires is None) == (note["memory"], "untrusted", False)
        assert (memory.provenance.run, bool(memory.provenance.source)) == (office.own_lease.run, True)
        assert await search.ls(office.database, Access.of(access.principal)) == []
        entries = await journal.read(office.database, access, office.own_lease.run)
        assert "9,000" not in json.dumps([entry.body for entry in entries])


async def test_what_a_run_recalled_is_no_news_even_after_its_worker_died(open_office: OpenOffice) -> None:
    """R103: refused as tainted through the tool, for whoever leads the run."""
    async with open_office() as office:
        requester = Access.of(office.own_lease.access.principal)
        await tell(office, requester, "refunds of Nordwind go to the old account")
        await office.succeed("memory.recall", {"query": "refunds of Nordwind"})
        async with office.database.worker() as connection:
            await records.sweep(connection)
        heir = await records.lease(office.database, office.own_lease.run, 2)
        assert heir
        for text in ("Refunds of Nordwind go to the old account!", "to the old account go the refunds of Nordwind"):
            outcome = await office.perform("memory.remember", {"text": text}, lease=heir)
            assert (outcome.state, "only restates" in outcome.message) == ("failed", True)
        new = await office.perform("memory.remember", {"text": "Nordwind moved to Porto in May"}, lease=heir)
        assert new.state == "done"


async def test_a_note_repeated_after_a_crash_is_one_note(open_office: OpenOffice) -> None:
    """R79"""
    async with open_office() as office:
        for step in ("once", "again"):
            await office.succeed("memory.remember", {"text": "half of the batches are done"}, step=step)
        (memory,) = await search.ls(office.database, office.own_lease.access)
        assert memory.scope == Scope("run", office.own_lease.run)


@pytest.mark.parametrize("extra", [{"trust": "human"}, {"scope": "user:bob"}, {"key": "limit"}])
async def test_neither_trust_nor_place_is_for_an_agent_to_say(open_office: OpenOffice, extra: dict[str, str]) -> None:
    """R92 R103"""
    async with open_office() as office:
        outcome = await office.perform("memory.remember", {"text": "x is y", **extra})
        assert (outcome.state, outcome.code) == ("denied", "invalid_arguments")
