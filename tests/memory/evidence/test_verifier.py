"""The stand-alone verifier: an export holds; what is changed in it is named at the first place that is wrong."""

from collections.abc import Iterable

import pytest

from memory.evidence.verifier import ExportCheck, Problem
from tests.memory.evidence.exports import KEY, Line, public, spell
from tests.memory.evidence.sample import sample
from tests.memory.evidence.tampered import CHAINS, LOG, ROWS
from tests.memory.evidence.tampering import Place


def problems(lines: list[Line], keys: Iterable[bytes] = (), heads: Iterable[str] = ()) -> list[Problem]:
    check = ExportCheck(keys, heads)
    for line in spell(lines).splitlines():
        check.feed(line.decode())
    return check.finish()


def places(lines: list[Line], keys: Iterable[bytes] = (), heads: Iterable[str] = ()) -> list[Place]:
    return [problem.place for problem in problems(lines, keys, heads)]


def test_an_export_holds() -> None:
    assert problems(sample().export(), [public(KEY)]) == []


@pytest.mark.parametrize("name", [*CHAINS, *ROWS, *LOG])
def test_what_was_changed_is_named(name: str) -> None:
    tamper, expected = (CHAINS | ROWS | LOG)[name]
    lines = sample().export()
    tamper(lines)
    assert places(lines) == expected
