"""The pages for newcomers name what is there: rooms and tables on one, our words on the other."""

import re

from memory.postgres.migrate import migrations
from tests.contracts.measures import ROOT

PAGE = (ROOT / "docs" / "architecture.md").read_text()


def test_every_sub_room_is_on_the_page() -> None:
    rooms = [path.parent for room in ("memory", "graphs") for path in (ROOT / room).glob("*/__init__.py")]
    assert len(rooms) >= 11
    assert [room.name for room in rooms if not re.search(rf"\b{room.name}\b", PAGE)] == []


def test_every_table_stands_in_the_room_that_owns_it() -> None:
    schema = "\n".join(file.text for file in migrations())
    tables = set(re.findall(r"^create table (?:\w+\.)?(\w+)", schema, re.MULTILINE))
    assert len(tables) > 30
    assert sorted(table for table in tables if f"`{table}`" not in PAGE) == []


def test_every_word_of_the_glossary_occurs_where_it_is_said_to_live() -> None:
    rows = re.findall(r"^\| ([a-z ]+) \| .* \| \[(.+?)\]", (ROOT / "docs" / "glossary.md").read_text(), re.MULTILINE)
    assert len(rows) > 35
    strangers = [(word, file) for word, file in rows if not _occurs(word, (ROOT / file).read_text().lower())]
    assert strangers == []


def _occurs(word: str, text: str) -> bool:
    return any(form in text for form in (word, word.replace(" ", "_"), word.replace(" ", "")))
