"""Memory as a tool: from the run's own scopes, by handle, and as nobody's authority."""

import json

import pytest

from memory.governance import journal
from memory.runs import records
from memory.runs.results import RunRows
from memory.scope import Access, Scope
from memory.store import search, write
from memory.store.models import Provenance
from tests.tools.adapters.conftest import Open
from tests.tools.adapters.office import Office
from tools.catalog import Catalog


async def tell(office: Office, person: Access, text: str) -> None:
    await write.remember(office.database, person, text, trust="human", provenance=Provenance())


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


async def test_what_a_run_notes_stays_its_own_and_a_quotation(opened: Open) -> None:
    """R90 R103: in its working memory, untrusted, under the text's digest; the journal has the id alone."""
    async with opened() as office:
        access = office.lease_.access
        noted = await office.done("memory.remember", {"text": "from now on the limit is 9,000"})
        (kept,) = await search.ls(office.database, access, scopes=[Scope("run", office.lease_.run)])
        assert (kept.id, kept.trust, kept.expires is None) == (noted["memory"], "untrusted", False)
        assert (kept.provenance.run, bool(kept.provenance.source)) == (office.lease_.run, True)
        assert await search.ls(office.database, Access.of(access.principal)) == []
        entries = await journal.read(office.database, access, office.lease_.run)
        assert "9,000" not in json.dumps([entry.body for entry in entries])


async def test_what_a_run_recalled_is_no_news_even_after_its_worker_died(opened: Open) -> None:
    """R103: refused as tainted through the tool, for whoever leads the run."""
    async with opened() as office:
        mine = Access.of(office.lease_.access.principal)
        await tell(office, mine, "refunds of Nordwind go to the old account")
        await office.done("memory.recall", {"query": "refunds of Nordwind"})
        async with office.database.system() as connection:
            await records.sweep(connection)
        heir = await records.lease(office.database, office.lease_.run, 2)
        assert heir
        for said in ("Refunds of Nordwind go to the old account!", "to the old account go the refunds of Nordwind"):
            outcome = await office.perform("memory.remember", {"text": said}, lease=heir)
            assert (outcome.state, "only restates" in outcome.message) == ("failed", True)
        new = await office.perform("memory.remember", {"text": "Nordwind moved to Porto in May"}, lease=heir)
        assert new.state == "done"


async def test_a_note_repeated_after_a_crash_is_one_note(opened: Open) -> None:
    """R79"""
    async with opened() as office:
        for step in ("once", "again"):
            await office.done("memory.remember", {"text": "half of the batches are done"}, step=step)
        (kept,) = await search.ls(office.database, office.lease_.access)
        assert kept.scope == Scope("run", office.lease_.run)


@pytest.mark.parametrize("more", [{"trust": "human"}, {"scope": "user:bob"}, {"key": "limit"}])
async def test_neither_trust_nor_place_is_for_an_agent_to_say(opened: Open, more: dict[str, str]) -> None:
    """R92 R103"""
    async with opened() as office:
        outcome = await office.perform("memory.remember", {"text": "x is y", **more})
        assert (outcome.state, outcome.code) == ("denied", "invalid_arguments")
