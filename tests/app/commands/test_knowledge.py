"""Command group `knowledge` against a real API: publish, list, show, and its usage errors."""

from pathlib import Path

import pytest

from tests.app.api.test_knowledge import RUNBOOK
from tests.app.conftest import Run

ABOUT = ("--title", "Retry job", "--owner", "ops", "--review-by", "2027-01-01")
TEXT = "The retry job runs every night.\n\n\tIt  keeps\tits spaces.\n"


async def test_knowledge_is_searched_by_what_it_says(run: Run, tmp_path: Path) -> None:
    (tmp_path / "note.md").write_text(TEXT, encoding="utf-8")
    assert (await run("bob", "knowledge", "publish", "note.md", "--id", "fact.retry", *ABOUT)).code == 0
    assert "fact.retry" in (await run("alice", "knowledge", "search", "when are retries", "--kind", "fact")).out
    assert "2027-01-01" in (await run("alice", "knowledge", "ls")).out


async def test_an_item_is_printed_exactly_as_it_was_published(run: Run, tmp_path: Path) -> None:
    """R95"""
    for edit in ("", "Once more.\n", "Twice more.\n", "Three times.\n"):
        (tmp_path / "note.md").write_text(TEXT + edit, encoding="utf-8")
        assert (await run("bob", "knowledge", "publish", "note.md", "--id", "fact.retry", *ABOUT)).code == 0
    assert (await run("alice", "knowledge", "show", "fact.retry", "--version", "1")).out == TEXT
    assert (await run("alice", "knowledge", "show", "fact.retry")).out == TEXT + "Three times.\n"


async def test_a_list_is_read_page_by_page_and_by_kind(run: Run, tmp_path: Path) -> None:
    (tmp_path / "note.md").write_text(TEXT, encoding="utf-8")
    for kind, id in (("fact", "a.fact"), ("config", "b.config"), ("fact", "c.fact")):
        await run("bob", "knowledge", "publish", "note.md", "--id", id, "--kind", kind, *ABOUT)
    first = await run("alice", "knowledge", "ls", "--limit", "2", "--json")
    assert [item["id"] for item in first.json["items"]] == ["a.fact", "b.config"]
    second = await run("alice", "knowledge", "ls", "--limit", "2", "--cursor", first.json["next"], "--json")
    assert [item["id"] for item in second.json["items"]] == ["c.fact"]
    facts = await run("alice", "knowledge", "ls", "--kind", "fact", "--limit", "1")
    assert ("a.fact" in facts.out, "--cursor" in facts.err) == (True, True)


async def test_a_runbook_speaks_for_itself(run: Run, tmp_path: Path) -> None:
    (tmp_path / "stuck.md").write_bytes(b"\xef\xbb\xbf" + RUNBOOK.replace("\n", "\r\n").encode())
    assert "version 1 is published" in (await run("bob", "knowledge", "publish", "stuck.md")).out
    assert "is there already" in (await run("bob", "knowledge", "publish", "stuck.md")).out
    ran = await run("bob", "knowledge", "publish", "stuck.md", "--owner", "evil")
    assert (ran.code, "the runbook's text says owner 'platform'" in ran.err) == (1, True)
    ran = await run("bob", "knowledge", "publish", "stuck.md", "--id", "jobs.stuck", *ABOUT)
    assert (ran.code, "is no fact and stays what it is" in ran.err) == (1, True)


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (("ls", "--limit", "0"), "--limit"),
        (("ls", "--kind", "zzz"), "--kind"),
        (("search", "disk", "--limit", "51"), "--limit"),
        (("search", " "), "may not be empty"),
        (("show", "x", "--version", "0"), "--version"),
        (("publish", "latin.md"), "no UTF-8 text"),
        (("publish", "plain.md"), "a runbook begins with"),
        (("publish", "plain.md", "--id", "x.y", "--title", "T"), "--owner, --review-by"),
        (("publish", "plain.md", "--id", "x.y", "--title", "T", "--owner", "o", "--review-by", "soon"), "review_by"),
    ],
)
async def test_what_makes_no_sense_is_a_usage_error(run: Run, tmp_path: Path, argv: tuple[str, ...], says: str) -> None:
    (tmp_path / "latin.md").write_bytes("drei schöne Wörter".encode("latin-1"))
    (tmp_path / "plain.md").write_text(TEXT, encoding="utf-8")
    ran = await run("bob", "knowledge", *argv)
    assert (ran.code, says in ran.err) == (2, True)
