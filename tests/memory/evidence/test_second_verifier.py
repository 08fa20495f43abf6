"""A second verifier, in SQL, from the page alone: what holds is a matter of the page, not of one program."""

import json
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from memory.postgres.roles import Urls
from tests.memory.evidence.exports import Line, spell
from tests.memory.evidence.sample import sample
from tests.memory.evidence.tampered import CHAINS, LOG, ROWS
from tests.memory.evidence.tampering import Place
from tests.memory.evidence.test_verifier import places

SCRIPT = Path(__file__).with_name("second_verifier.sql").read_text()
SIGNATURES = {
    "signature of a head",
    "signature of another head",
    "no signature",
    "key",
    "text of a head",
    "unsigned last head",
}
"""Only a signature gives these away."""
Judge = Callable[[list[Line]], list[Place]]


@pytest.fixture
def judge(urls: Urls) -> Judge:
    """Return the second verifier, in a session of the test database that leaves nothing behind."""

    def run(lines: list[Line]) -> list[Place]:
        with psycopg.connect(urls.superuser) as connection:
            connection.execute("create temp table export_lines (n int, line text)")
            with connection.cursor() as cursor:
                numbered = list(enumerate(spell(lines).decode().splitlines(), 1))
                cursor.executemany("insert into export_lines values (%s, %s)", numbered)
            connection.execute(SCRIPT.encode())
            found = connection.execute("select place from problems").fetchall()
            connection.rollback()
        return [place for (place,) in found]

    return run


def in_order(found: list[Place]) -> list[str]:
    return sorted({json.dumps(place, sort_keys=True) for place in found})


@pytest.mark.parametrize("key", [True, False])
def test_both_accept_what_is_right(judge: Judge, key: bool) -> None:
    lines = (sample() if key else sample(None)).export()
    assert judge(lines) == places(lines) == []


@pytest.mark.parametrize("name", sorted((CHAINS | ROWS | LOG).keys() - SIGNATURES))
def test_both_name_the_same_places(judge: Judge, name: str) -> None:
    lines = sample().export()
    (CHAINS | ROWS | LOG)[name][0](lines)
    assert in_order(judge(lines)) == in_order(places(lines))
