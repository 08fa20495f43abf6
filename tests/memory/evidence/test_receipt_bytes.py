"""Receipts: one effect, proven by one small file; any other byte in it is refused, with a reason."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memory.evidence.verifier import check_receipt
from tests.memory.evidence.exports import KEY, OTHER_KEY, Tenant, public
from tests.memory.evidence.sample import sample

RECEIPT = sample().receipt("run-a", "e1")


def spell(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def test_a_receipt_holds() -> None:
    assert check_receipt(RECEIPT) == check_receipt(RECEIPT, [public(OTHER_KEY), public(KEY)]) == []


def test_a_receipt_signed_by_another_key_is_refused() -> None:
    """Somebody else can make everything anew, but for the key that the reader holds."""
    forged = sample(OTHER_KEY).receipt("run-a", "e1")
    assert check_receipt(forged) == []
    (problem,) = check_receipt(forged, [public(KEY)])
    assert "not signed by a key that was given" in problem.sentence


def test_an_unsigned_receipt_holds_only_where_no_key_is_asked_for() -> None:
    unsigned = sample(None).receipt("run-a", "e1")
    assert check_receipt(unsigned) == []
    (problem,) = check_receipt(unsigned, [public(KEY)])
    assert "not signed" in problem.sentence


def test_words_may_be_left_out() -> None:
    value = json.loads(RECEIPT)
    for entry in value["entries"]:
        entry.update(words=None, salt=None)
    assert check_receipt(spell(value)) == []


def test_every_byte_counts() -> None:
    """All positions, each with its lowest bit turned, as a space, as a digit, and with its highest bit set."""
    accepted = [
        (position, byte)
        for position, old in enumerate(RECEIPT)
        for byte in {old ^ 1, old ^ 0x20, 0x20, 0x30, old | 0x80} - {old}
        if not check_receipt(RECEIPT[:position] + bytes([byte]) + RECEIPT[position + 1 :])
    ]
    assert accepted == []


@settings(deadline=None)
@given(st.integers(0, len(RECEIPT) - 1), st.integers(0, len(RECEIPT)), st.binary(max_size=3))
def test_every_other_text_is_refused(start: int, length: int, instead: bytes) -> None:
    text = RECEIPT[:start] + instead + RECEIPT[start + length :]
    assert (check_receipt(text) == []) == (text == RECEIPT)


CHANGES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "another tenant": lambda v: v.update(tenant="other"),
    "another run": lambda v: v.update(run="run-b"),
    "another effect": lambda v: v.update(effect="e2"),
    "another version": lambda v: v.update(receipt=2),
    "version as truth": lambda v: v.update(receipt=True),
    "a field more": lambda v: v.update(note=""),
    "no entries": lambda v: v.update(entries=[]),
    "an entry less": lambda v: v["entries"].pop(),
    "an entry twice": lambda v: v["entries"].append(v["entries"][-1]),
    "entries in another order": lambda v: v["entries"].reverse(),
    "an entry as a text": lambda v: v["entries"].append("entry"),
    "an entry of number 0": lambda v: v["entries"][0].update(seq=0),
    "an entry of a great number": lambda v: v["entries"][0].update(seq=10**30),
    "a salt without words": lambda v: v["entries"][-1].update(words=None),
    "a proof that is longer": lambda v: v["proof"].append("00" * 32),
    "a proof that is shorter": lambda v: v["proof"].pop(),
    "a proof of numbers": lambda v: v.update(proof=[1] * len(v["proof"])),
    "a proof that nests": lambda v: v.update(proof=[[["00"]]]),
    "another position": lambda v: v["leaf"].update(position=v["leaf"]["position"] ^ 1),
    "a position before the first": lambda v: v["leaf"].update(position=-1),
    "no position": lambda v: v["leaf"].pop("position"),
    "no signature": lambda v: v["head"].update(signature=None),
    "no key": lambda v: v.update(key=""),
    "neither signature nor key": lambda v: (v["head"].update(signature=None), v.update(key="")),
    "another key": lambda v: v.update(key=public(OTHER_KEY).hex()),
    "a key in capitals": lambda v: v.update(key=v["key"].upper()),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_receipt_is_refused_with_a_reason(name: str) -> None:
    value = json.loads(RECEIPT)
    CHANGES[name](value)
    (problem,) = check_receipt(spell(value))
    assert problem.sentence


@pytest.mark.parametrize(
    "text",
    [
        RECEIPT[:-1],
        RECEIPT + b"\n",
        RECEIPT.replace(b'","', b'", "', 1),
        json.dumps(json.loads(RECEIPT), sort_keys=True, separators=(",", ":")).encode() + b"\n",
        json.dumps(json.loads(RECEIPT)).encode() + b"\n",
        b'{"receipt":1,' + RECEIPT[1:],
        b"\xef\xbb\xbf" + RECEIPT,
        RECEIPT.decode().encode("utf-16"),
        b"[" * 100_000,
        b"",
        b"null\n",
        b"[]\n",
    ],
)
def test_another_spelling_is_refused(text: bytes) -> None:
    assert len(check_receipt(text)) == 1


def test_a_receipt_of_a_long_run_stays_small() -> None:
    tenant = Tenant()
    for n in range(10_000):
        tenant.add("run", "permitted" if n == 4_321 else "note", effect="e" if n == 4_321 else None)
    tenant.extend()
    text = tenant.receipt("run", "e")
    assert check_receipt(text, [public(KEY)]) == []
    assert len(text) < 8 * 1024
