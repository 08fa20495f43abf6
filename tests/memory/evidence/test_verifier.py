"""The stand-alone verifier: an export holds; what is changed in it is named at the first place that is wrong."""

import json
from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memory.evidence.verifier import ExportCheck, Problem
from tests.memory.evidence.exports import KEY, OTHER_KEY, Line, public, spell, time
from tests.memory.evidence.sample import chain, entry, sample, stored
from tests.memory.evidence.tampered import CHAINS, LOG, ROWS
from tests.memory.evidence.tampering import Place, again, at, fact, of_row, put, resign, then

EXPORT = spell(sample().export())


def check(text: bytes, keys: Iterable[bytes] = (), heads: Iterable[str] = ()) -> ExportCheck:
    reader = ExportCheck(keys, heads)
    for line in text.splitlines():
        reader.feed(line)
    reader.finish()
    return reader


def problems(lines: list[Line], keys: Iterable[bytes] = (), heads: Iterable[str] = ()) -> list[Problem]:
    return check(spell(lines), keys, heads).problems


def places(lines: list[Line], keys: Iterable[bytes] = (), heads: Iterable[str] = ()) -> list[Place]:
    return [problem.place for problem in problems(lines, keys, heads)]


def test_an_export_holds() -> None:
    reader = check(EXPORT, [public(KEY)])
    assert reader.problems == []
    assert reader.counts["entries"] == 13
    assert reader.notes()[0].endswith("1 forgotten")
    assert reader.notes()[1:] == []


@pytest.mark.parametrize("name", [*CHAINS, *ROWS, *LOG])
def test_what_was_changed_is_named(name: str) -> None:
    tamper, expected = (CHAINS | ROWS | LOG)[name]
    lines = sample().export()
    tamper(lines)
    assert places(lines) == expected


def test_lines_may_be_texts_or_bytes() -> None:
    reader = ExportCheck()
    for line in EXPORT.decode().split("\n")[:-1]:
        reader.feed(line)
    assert reader.finish() == []


def test_keys_that_came_with_the_file_are_said_to() -> None:
    assert check(EXPORT).notes()[-1] == "the keys came with the file; pin them with --key"


def test_unsigned_heads_are_said_to_be_and_refused_where_a_key_is_asked_for() -> None:
    lines = sample(None).export()
    assert check(spell(lines)).notes()[-1] == "unsigned: 4 of 4 heads"
    assert places(lines, [public(KEY)]) == [{"number": 1}]


def test_a_head_signed_by_another_key_holds_only_for_who_trusts_the_file() -> None:
    lines = sample().export()
    resign(lines)
    assert problems(lines) == []
    assert places(lines, [public(KEY)]) == [{"number": 4}]
    assert places(lines, [public(KEY), public(OTHER_KEY)]) == []


def test_an_export_without_its_log_holds_for_nobody_who_has_a_key() -> None:
    """Whoever takes the log away can set the time of the export back, too, so that all is young."""
    lines = [line for line in sample().export() if line["line"] not in ("leaf", "head", "key")]
    lines[-1]["lines"] = len(lines) - 1
    assert places(lines, [public(KEY)]) == [{"number": 1}]
    assert places(sample().export("run-a"), [public(KEY)]) == [{"number": 1}]


@pytest.mark.parametrize("minutes", [-11, 11])
def test_the_time_of_an_export_fits_that_of_its_log(minutes: int) -> None:
    lines = sample().export()
    lines[0]["at"] = time(60 * minutes)
    assert at("run-b", 4) in places(lines)


@pytest.mark.parametrize("key", [KEY, OTHER_KEY])
def test_a_rewritten_log_is_found_by_heads_kept_elsewhere(key: object) -> None:
    """Even by the holder of the key, who signed everything anew."""
    kept = [head["text"] for head in sample().heads]
    forged = sample(OTHER_KEY if key is OTHER_KEY else KEY, person="dave").export()
    assert problems(forged) == []
    assert places(forged, heads=kept) == [{"kept head": 3}]
    assert places(sample().export(), heads=kept) == []


def test_a_log_that_lost_its_end_is_found_by_heads_kept_elsewhere() -> None:
    longer = sample()
    longer.extend()
    assert places(sample().export(), heads=[longer.heads[-1]["text"]]) == [{"kept head": 7}]


@pytest.mark.parametrize("text", [replace(sample(), name="other").head()["text"], "", "{}", "[]", "[" * 99_999])
def test_heads_of_another_tenant_and_unreadable_ones_are_refused(text: str) -> None:
    assert len(problems(sample().export(), heads=[text])) == 1


def test_of_one_run_the_chain_and_the_stamps_that_are_there_are_checked() -> None:
    lines = sample().export("run-a")
    reader = check(spell(lines))
    assert reader.problems == []
    assert "only run 'run-a'" in reader.notes()[-1]
    then(fact(entry("run-a", 4), by="dave"), put(stored("approvals", "q1"), text="{}"))(lines)
    assert places(lines) == [at("run-a", 4), of_row("approvals", "q1")]


def test_an_export_of_one_run_may_lack_rows_but_not_its_run_and_brings_no_log() -> None:
    lines = sample().export("run-a")
    put(stored("effects", "e1"), text="{}")(lines)
    assert places(lines) == [of_row("effects", "e1")]
    lines = sample().export("run-a")
    lines[0]["run"] = "run-b"
    assert places(lines) == [at("run-b", 1)]
    lines = sample().export()
    lines[0]["run"] = "run-a"
    assert {"position": 0} in places(lines)


def test_a_problem_is_one_line_whatever_the_file_says() -> None:
    lines = sample().export()
    name = "x\n0 problems\u202e\x9b\r" + "y" * 1000
    put(stored("votes", "q1/bob"), key=name)(lines)
    then(put(chain("run-b"), run=name), put(entry("run-b", 1), kind=name))(lines)
    for problem in problems(lines):
        assert len(str(problem)) < 400
        assert str(problem).isascii()
        assert str(problem).isprintable()


def test_a_chain_that_was_never_in_the_log_can_be_made_anew_unseen() -> None:
    """What is younger than the last head is protected by nothing; the page says so."""
    lines = sample().export()
    then(fact(entry("run-b", 4), by="dave"), again("run-b"))(lines)
    assert problems(lines) == []


def meaning(text: bytes) -> object:
    """Return what lines say, but for the time of the export, which is the exporter's word alone."""
    values = [json.loads(line) for line in text.splitlines()]
    values[0]["at"] = ""
    return values


@settings(deadline=None)
@given(st.integers(0, len(EXPORT) - 1), st.integers(1, 255))
def test_any_other_byte_is_found(position: int, change: int) -> None:
    text = EXPORT[:position] + bytes([EXPORT[position] ^ change]) + EXPORT[position + 1 :]
    if not check(text).problems:
        assert meaning(text) == meaning(EXPORT)


@settings(deadline=None)
@given(st.data())
def test_any_cut_is_found(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(EXPORT) - 2))
    end = data.draw(st.integers(start + 1, len(EXPORT) - 1))
    for text in (EXPORT[:start] + EXPORT[end:], EXPORT[:end]):
        if not check(text).problems:
            assert meaning(text) == meaning(EXPORT)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["run-a", "\ud800", 10**40]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(st.data(), _JSON)
def test_any_value_in_any_field_has_an_answer(data: st.DataObject, value: object) -> None:
    lines = sample().export()
    line = data.draw(st.sampled_from(lines))
    field = data.draw(st.sampled_from(sorted(line)))
    inner = data.draw(st.sampled_from(["", "body", "words", "text"]))
    if line.get(inner):
        parts: dict[str, object] = json.loads(line[inner]) if line[inner].startswith("{") else {}
        name = data.draw(st.sampled_from([*parts, "entries", "rows", "cards", "spent", "sealed"]))
        line[inner] = json.dumps(parts | {name: value})
        if line["line"] == "entry":
            again(line["run"])(lines)
    else:
        line[field] = value
    text = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    reader = check(text)
    assert all(str(problem).isprintable() for problem in reader.problems)
