"""Exports by strangers: whatever stands in one, it is named or refused, without a traceback and without a crash."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from memory.errors import Permanent
from memory.evidence import export_lines
from tests import exports
from tests.exports import again, first, rehashed
from tests.tools.support import Desk
from tests.tools.test_rederive import desk, work
from tools.rederive import rederive

pytestmark = pytest.mark.anyio
__all__ = ["desk"]
FORBID = '@layer("hard") forbid (principal, action, resource) when { '
TEXTS = [
    "",
    "[]",
    '{"a": 1}',
    '{"a.cedar": "permit ("}',
    "[" * 100_000,
    '{"a.cedar": "\\ud800"}',
    json.dumps({"a.cedar": FORBID + "(" * 4000 + "};"}),
    json.dumps({"a.cedar": FORBID + "[" * 4000 + "};"}),
    json.dumps({"a.cedar": FORBID + "true && " * 900 + "true};"}),
    json.dumps({"a.cedar": FORBID + "true && " * 9000 + "true};"}),
    json.dumps({"a.cedar": "// unattended: none"}),
]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("kind", ["policy", "cards"])
async def test_a_hostile_text_is_named_and_nothing_is_judged_by_it(
    desk: Desk, tmp_path: Path, text: str, kind: str
) -> None:
    await work(desk)
    lines = await exports.lines_of(desk.database, desk.access("alice"))
    hash = hashlib.sha256(text.encode()).hexdigest()
    lines.insert(1, {"line": "text", "kind": kind, "hash": hash, "text": text})
    result = again(exports.changed(lines, first("read", lambda line: rehashed(line, **{kind: hash}))), tmp_path)
    assert (result.without_text, len(result.problems), result.different) == (1, 1, [])


HEAD = '{"line": "export", "version": 1, "tenant": "t"}'
END = '{"line": "end", "lines": %d}'
FILES = {
    "empty": [],
    "no export": ["{}"],
    "another version": ['{"line": "export", "version": 2}', END % 1],
    "no end": [HEAD],
    "a wrong count": [HEAD, END % 5],
    "lines after the end": [HEAD, END % 1, HEAD],
    "no JSON": [HEAD, "{", END % 2],
    "a list": [HEAD, "[]", END % 2],
    "a kind that is no text": [HEAD, '{"line": 5}', END % 2],
    "deep": [HEAD, "[" * 200_000, END % 2],
    "half a character": [HEAD, '{"line": "chain", "run": "\\ud800"}', END % 2],
    "a name twice": [HEAD, '{"line": "chain", "line": "entry"}', END % 2],
    "a long number": [HEAD, '{"line": "chain", "seq": ' + "9" * 5000 + "}", END % 2],
    "an entry without a run": [HEAD, '{"line": "entry", "seq": 1}', END % 2],
    "an entry with a text as its number": [HEAD, '{"line": "entry", "run": "r", "seq": "1"}', END % 2],
    "a text without a hash": [HEAD, '{"line": "text", "text": "x"}', END % 2],
}


@pytest.mark.parametrize("name", FILES)
def test_what_is_no_whole_export_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "export.jsonl"
    path.write_text("".join(f"{line}\n" for line in FILES[name]))
    with pytest.raises(Permanent, match=r"line [0-9]+ of the export") as error:
        rederive(path)
    assert error.value.code == "bad_request"


def test_what_cannot_be_opened_or_is_no_text_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(Permanent, match="cannot be read"):
            rederive(path)
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\n" * 3)
    with pytest.raises(Permanent, match="line 1 "):
        rederive(tmp_path / "bytes")


NEST: Any = json.loads("[" * 900 + "]" * 900)
ENTRIES: list[dict[str, Any]] = [
    {"body": None},
    {"body": "[]"},
    {"body": "{"},
    {"body": '{"kind": "permitted", "kind": "x"}'},
    {"words": 5},
    {"words": "[]"},
    {"salt": "x"},
    {"salt": None},
    {"prev": "x"},
    {"hash": ""},
    {"seq": 2**70},
    {"words": NEST},
    {"salt": NEST},
]


@pytest.mark.parametrize("odd", ENTRIES, ids=str)
async def test_an_entry_in_another_form_is_named(desk: Desk, tmp_path: Path, odd: dict[str, Any]) -> None:
    await work(desk)
    lines = await exports.lines_of(desk.database, desk.access("alice"))
    result = again(exports.changed(lines, first("permitted", lambda line: {**line, **odd})), tmp_path)
    assert (len(result.problems), result.ok) == (1, False)


NAMES: dict[str, list[Any]] = {
    "role": [5, NEST],
    "tool": [None, "none", "@read"],
    "policy": [1, NEST, "0" * 64],
    "cards": [[], "0" * 64],
    "schema": [{}, "0" * 64],
}
FIELDS = [{name: value} for name, values in NAMES.items() for value in values]


@pytest.mark.parametrize("odd", FIELDS, ids=str)
async def test_an_entry_that_names_what_is_not_there_is_named(desk: Desk, tmp_path: Path, odd: dict[str, Any]) -> None:
    await work(desk)
    lines = await exports.lines_of(desk.database, desk.access("alice"))
    result = again(exports.changed(lines, first("permitted", lambda line: rehashed(line, **odd))), tmp_path)
    assert (len(result.problems), result.different) == (1, [])


@pytest.mark.parametrize(
    "odd", [{"verdict": []}, {"rules": {"a": 1}}, {"rules": [1, None]}, {"groups": 5}, {"need": "x"}]
)
async def test_a_verdict_in_another_form_is_a_difference(desk: Desk, tmp_path: Path, odd: dict[str, Any]) -> None:
    await work(desk)
    lines = await exports.lines_of(desk.database, desk.access("alice"))
    result = again(exports.changed(lines, first("permitted", lambda line: rehashed(line, **odd))), tmp_path)
    assert (len(result.different), result.problems) == (1, [])


def test_lines_are_read_one_by_one(tmp_path: Path) -> None:
    path = exports.write(tmp_path / "e", [json.loads(HEAD), {"line": "chain", "run": "r"}])
    assert [line.kind for line in export_lines.read(path)] == ["export", "chain", "end"]
