"""The verifier as a file of its own: started by a bare interpreter, on whatever a stranger gives it."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from memory.evidence import verifier
from tests.memory.evidence.exports import KEY, OTHER_KEY, public, spell
from tests.memory.evidence.sample import sample
from tests.memory.evidence.tampering import resign

EXPORT = spell(sample().export())
RECEIPT = sample().receipt("run-a", "e1")
Run = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Return a factory of runs of the file alone: no site-packages, no environment, another folder."""
    shutil.copy(verifier.__file__, tmp_path / "check.py")

    def start(text: bytes, *options: str, **files: bytes) -> subprocess.CompletedProcess[bytes]:
        for name, content in (files | {"given": text}).items():
            (tmp_path / name).write_bytes(content)
        command = [sys.executable, "-I", "-S", "check.py", "given", *options]
        return subprocess.run(command, cwd=tmp_path, env={"LC_ALL": "C"}, capture_output=True, check=False)

    return start


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (EXPORT, b"holds: 13 entries, 3 runs, 7 rows, 6 leaves, 4 heads"),
        (RECEIPT, b"holds: receipt, effect 'e1', run 'run-a', tenant 'main'"),
    ],
)
def test_what_holds_ends_with_zero(run: Run, text: bytes, line: bytes) -> None:
    result = run(text, "--key", public(KEY).hex())
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout.startswith(line)


@pytest.mark.parametrize("text", [EXPORT, RECEIPT])
def test_a_key_that_signed_nothing_ends_with_six(run: Run, text: bytes) -> None:
    assert run(text, "--key", public(OTHER_KEY).hex()).returncode == 6


def test_problems_are_lines_of_place_and_sentence(run: Run) -> None:
    result = run(EXPORT.replace(b'\\"approve\\"', b'\\"reject\\"', 1))
    first, last = result.stdout.decode().splitlines()
    assert first == "run 'run-a' seq 4: its facts are not what was recorded"
    assert last.startswith("does not hold: 13 entries")
    assert (result.returncode, result.stderr) == (6, b"")


def test_problems_are_also_there_for_programs(run: Run) -> None:
    report: dict[str, Any] = json.loads(run(EXPORT.replace(b'"q1/bob"', b'"q1/eve"'), "--json").stdout)
    assert report["holds"] is False
    assert [problem["place"] for problem in report["problems"]] == [
        {"table": "votes", "key": "q1/eve"},
        {"table": "votes", "key": "q1/bob"},
    ]
    assert json.loads(run(EXPORT, "--json").stdout)["problems"] == []


def test_heads_kept_elsewhere_are_an_export_or_its_lines_of_heads(run: Run) -> None:
    forged = spell(sample(person="dave").export())
    kept = b"".join(line for line in EXPORT.splitlines(keepends=True) if line.startswith(b'{"line": "head"'))
    for text in (EXPORT, kept):
        assert run(EXPORT, "--heads", "kept", kept=text).returncode == 0
        result = run(forged, "--heads", "kept", kept=text)
        assert result.returncode == 6
        assert result.stdout.startswith(
            b"kept head 3: its first 3 leaves are not those that are here: the log was rewritten"
        )
    assert run(EXPORT, "--heads", "kept", kept=b"").returncode == 2


def test_a_file_that_signs_itself_anew_fails_a_pinned_key(run: Run) -> None:
    lines = sample().export()
    resign(lines)
    assert run(spell(lines)).returncode == 0
    assert run(spell(lines), "--key", public(KEY).hex()).returncode == 6


def test_standard_input_is_a_file_too() -> None:
    command = [sys.executable, "-I", "-S", verifier.__file__, "-"]
    for text in (EXPORT, RECEIPT):
        assert subprocess.run(command, input=text, capture_output=True, check=False).returncode == 0


UNREADABLE = {
    "nothing": b"",
    "not UTF-8": b"\xff\xfe" + EXPORT,
    "UTF-16": EXPORT.decode().encode("utf-16"),
    "no JSON": b"run;seq;hash\n1;2;3\n",
    "another object": b'{"a": 1}\n',
    "a list": b"[1, 2]\n",
    "a number": b"1\n",
    "deep": b"[" * 1_000_000,
    "deep objects": b'{"a":' * 500_000,
    "NaN": b'{"line": NaN}\n',
    "a member twice": b'{"line": "export", "line": "export"}\n',
    "an endless number": b'{"line": ' + b"9" * 10_000 + b"}\n",
    "a picture": os.urandom(10_000),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_is_neither_export_nor_receipt_ends_with_two(run: Run, name: str) -> None:
    result = run(UNREADABLE[name])
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert b"'given' cannot be read: " in result.stderr


FIRST, REST = EXPORT.split(b"\n", 1)
BROKEN = {
    "only its first line": FIRST,
    "not UTF-8 behind its first line": FIRST + b"\n\xff\n" + REST,
    "an empty line": FIRST + b"\n\n" + REST,
    "deep": FIRST + b"\n" + b"[" * 1_000_000 + b"\n" + REST,
    "a list": FIRST + b"\n[]\n" + REST,
    "NaN": FIRST + b'\n{"line": NaN}\n' + REST,
    "a line that is a deep list": FIRST + b'\n{"line": ' + b"[" * 900 + b"]" * 900 + b"}\n" + REST,
    "a table that is a deep list": FIRST + b'\n{"line": "row", "table": ' + b"[" * 900 + b"]" * 900 + b"}\n" + REST,
    "a line that is a list": FIRST + b'\n{"line": []}\n' + REST,
    "a line of another name": FIRST + b'\n{"line": "note"}\n' + REST,
    "a member twice": EXPORT.replace(b'"line": "entry"', b'"line": "entry", "line": "entry"', 1),
    "a field too many": EXPORT.replace(b'"line": "entry"', b'"line": "entry", "note": 1', 1),
    "a list for a text": EXPORT.replace(b'"tenant": "main"', b'"tenant": ["main"]', 1),
    "a receipt that is none": b'{"receipt": [[]]}',
    "two receipts": RECEIPT + RECEIPT,
    "half a receipt": RECEIPT[:-1],
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_read_in_places_ends_with_six_and_names_them(run: Run, name: str) -> None:
    result = run(BROKEN[name])
    assert (result.returncode, result.stderr) == (6, b"")
    assert b": " in result.stdout.splitlines()[0]


@pytest.mark.parametrize("options", [["--key", "00"], ["--key", "x" * 64], ["--heads", "nowhere"], ["--what"]])
def test_options_that_say_nothing_end_with_two(run: Run, options: list[str]) -> None:
    result = run(EXPORT, *options)
    assert result.returncode == 2
    assert b"Traceback" not in result.stderr
