"""Signatures of many heads: all are checked where the library is there, the last ones where it is not."""

import json
from functools import cache

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from memory.evidence import verifier
from memory.evidence.verifier import ExportCheck
from tests.memory.evidence.exports import KEY, OTHER_KEY, Line, Tenant, hexhash, public

HEADS, MOST = 25, 20
ALONE = pytest.mark.parametrize("alone", [True, False])


@cache
def export(rotated: int = 0) -> str:
    """Return an export of many heads, of which the first few were signed by another key."""
    tenant = Tenant(OTHER_KEY if rotated else KEY)
    for number in range(1, HEADS + 1):
        tenant.add("run", "note")
        tenant.extend()
        if number == rotated:
            tenant.key = KEY
    lines = tenant.export()
    if rotated:
        raw = public(OTHER_KEY)
        lines.insert(1, {"line": "key", "id": verifier.key_id(raw), "public": raw.hex()})
        lines[-1]["lines"] += 1
    return json.dumps(lines)


def check(lines: list[Line], monkeypatch: pytest.MonkeyPatch, *, alone: bool, pins: bool = True) -> ExportCheck:
    monkeypatch.setitem(vars(verifier), "_MOST_SIGNATURES", MOST)
    if alone:
        monkeypatch.setitem(vars(verifier), "Ed25519PublicKey", None)
    reader = ExportCheck([public(KEY), public(OTHER_KEY)] if pins else ())
    for line in lines:
        reader.feed(json.dumps(line))
    reader.finish()
    return reader


def heads(lines: list[Line]) -> list[Line]:
    return [line for line in lines if line["line"] == "head"]


def spoil(head: Line) -> None:
    """Give a head the signature of something else."""
    head["signature"] = KEY.sign(b"something else").hex()


def remarks(reader: ExportCheck) -> list[str]:
    return [note for note in reader.notes() if "rest on later ones" in note]


def places(reader: ExportCheck) -> list[object]:
    return [problem.place for problem in reader.problems]


@ALONE
def test_many_heads_hold_and_who_has_no_library_is_told_what_was_left_out(
    monkeypatch: pytest.MonkeyPatch, *, alone: bool
) -> None:
    assert vars(verifier)["_MOST_SIGNATURES"] == 200
    reader = check(json.loads(export()), monkeypatch, alone=alone)
    note = "without the library cryptography, 5 signatures rest on later ones"
    assert (reader.problems, remarks(reader)) == ([], [note] if alone else [])


@ALONE
@pytest.mark.parametrize("number", [HEADS, HEADS - MOST + 1])
def test_a_wrong_signature_among_the_last_is_named(
    monkeypatch: pytest.MonkeyPatch, *, alone: bool, number: int
) -> None:
    lines = json.loads(export())
    spoil(heads(lines)[number - 1])
    assert places(check(lines, monkeypatch, alone=alone)) == [{"number": number}]


@ALONE
def test_the_last_signature_by_a_key_of_before_is_checked_whatever_came_after(
    monkeypatch: pytest.MonkeyPatch, *, alone: bool
) -> None:
    lines = json.loads(export(rotated=3))
    assert check(lines, monkeypatch, alone=alone).problems == []
    spoil(heads(lines)[2])
    assert places(check(lines, monkeypatch, alone=alone)) == [{"number": 3}]


@ALONE
def test_an_early_head_that_was_changed_is_named_by_those_that_vouch_for_it(
    monkeypatch: pytest.MonkeyPatch, *, alone: bool
) -> None:
    lines = json.loads(export())
    first, second = heads(lines)[:2]
    first["text"] = first["text"].replace('"at": "2026', '"at": "2025')
    assert json.loads(second["text"])["previous"] != hexhash(first["text"])
    assert places(check(lines, monkeypatch, alone=alone))[0] == {"number": 1}


@ALONE
@pytest.mark.parametrize("signature", [None, "00", "x" * 128])
def test_an_early_head_without_a_whole_signature_is_named(
    monkeypatch: pytest.MonkeyPatch, *, alone: bool, signature: str | None
) -> None:
    lines = json.loads(export())
    heads(lines)[2]["signature"] = signature
    assert places(check(lines, monkeypatch, alone=alone, pins=False)) == [{"number": 3}]


@ALONE
def test_the_first_wrong_head_is_named_also_if_another_is_wrong_in_its_form(
    monkeypatch: pytest.MonkeyPatch, *, alone: bool
) -> None:
    lines = json.loads(export())
    spoil(heads(lines)[10])
    heads(lines)[20]["number"] = 7
    assert places(check(lines, monkeypatch, alone=alone)) == [{"number": 11}]


@ALONE
def test_a_key_that_nobody_gave_vouches_for_nothing(monkeypatch: pytest.MonkeyPatch, *, alone: bool) -> None:
    lines, stranger = json.loads(export()), Ed25519PrivateKey.generate()
    last = heads(lines)[-1]
    text = json.dumps(json.loads(last["text"]) | {"key": verifier.key_id(public(stranger))})
    last |= {"text": text, "signature": stranger.sign(text.encode()).hex()}
    assert places(check(lines, monkeypatch, alone=alone)) == [{"number": HEADS}]
