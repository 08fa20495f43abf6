"""Receipt of one effect: its entries, with proofs that they stand in a run and in a signed log; called by the API.

`docs/journal.md` is the format. It stays below 8 KiB: words are left out first, then the entries that tell least.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from memory.errors import Permanent, Temporary
from memory.evidence import log_proofs, trees
from memory.postgres.database import Connection

MOST_BYTES = 8 * 1024 - 1
_HASH = 32
_CLAIM = """
select run, seq, body::jsonb ->> 'approval' as approval from journal
 where effect = %s and kind = 'permitted' order by seq limit 1
"""
_HEAD = """
select h.size, h.text, h.signature, k.public, current_tenant() as tenant from log_heads h
  left join signing_keys k on k.id = h.text::jsonb ->> 'key' order by h.number desc limit 1
"""
_LEAF = """
select position, seq, text from log_leaves where run = %s and position < %s order by seq desc limit 1
"""
_ENTRIES = """
select seq, kind, prev, body, words, salt from journal
 where run = %(run)s and seq <= %(last)s
   and (effect = %(effect)s or seq = 1 or seq = %(claim)s - 1 and kind = 'proposed'
        or kind in ('held', 'vote', 'approval') and body::jsonb ->> 'approval' = %(approval)s
        or seq = (select max(p.seq) from journal p
                   where p.run = %(run)s and p.kind = 'planned' and p.seq < %(claim)s))
 order by seq
"""
_HASHES = """
select string_agg(hash, ''::bytea order by seq) as hashes from journal where run = %s and seq <= %s
"""


@dataclass(frozen=True, slots=True)
class _Entry:
    seq: int
    kind: str
    fields: Mapping[str, Any]


async def receipt(connection: Connection, effect: str) -> bytes:
    """Return the receipt of an effect by its id, within the caller's transaction.

    Raises Permanent("not_found") for an effect that was never permitted, Temporary("unavailable") for one that the log
    has not taken in, and Permanent("journal_broken") where entries or leaves are missing.
    """
    claim = await _row(connection, _CLAIM, [effect])
    if claim is None:
        raise Permanent(
            "not_found", f"there is no effect {effect!r} on record; list them with `countersign effects ls`"
        )
    run = str(claim["run"])
    head, leaf = await _newest(connection, run, claim["seq"])
    values = {"run": run, "last": leaf["seq"], "effect": effect, "claim": claim["seq"], "approval": claim["approval"]}
    rows = await (await connection.execute(_ENTRIES, values)).fetchall()
    frame = {
        "receipt": 1,
        "tenant": head["tenant"],
        "run": run,
        "effect": effect,
        "leaf": await _leaf(connection, leaf, head["size"]),
        "head": {"text": head["text"], "signature": head["signature"] and bytes(head["signature"]).hex()},
        "key": bytes(head["public"] or b"").hex(),
    }
    return _fitted(frame, [_entry(row) for row in rows], await _hashes(connection, run, leaf["seq"]))


async def _newest(connection: Connection, run: str, seq: int) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return the last head and the run's last leaf under it; raises Temporary if they do not cover this entry."""
    head = await _row(connection, _HEAD, [])
    # The head first: every leaf that it covers is there for good.
    leaf = head and await _row(connection, _LEAF, [run, head["size"]])
    if not head or not leaf or leaf["seq"] < seq:
        raise Temporary("unavailable", f"the log has not taken in run {run!r} yet; `countersign doctor` says why")
    return head, leaf


async def _leaf(connection: Connection, leaf: Mapping[str, Any], size: int) -> dict[str, Any]:
    proof = await log_proofs.proof(connection, size, leaf["position"])
    return {"position": leaf["position"], "text": leaf["text"], "proof": [part.hex() for part in proof]}


async def _hashes(connection: Connection, run: str, last: int) -> list[bytes]:
    """Return the hashes of a run's tree, leaf by leaf; bodies stay where they are."""
    row = await _row(connection, _HASHES, [run, last])
    stored = bytes(row["hashes"]) if row and row["hashes"] else b""
    if len(stored) != last * _HASH:
        message = f"run {run!r} lacks entries that its log names; `countersign journal verify` says which"
        raise Permanent("journal_broken", message)
    return [trees.leaf_hash(stored[start : start + _HASH]) for start in range(0, len(stored), _HASH)]


def _entry(row: Mapping[str, Any]) -> _Entry:
    fields = {
        "seq": row["seq"],
        "prev": bytes(row["prev"]).hex(),
        "body": row["body"],
        "words": row["words"],
        "salt": row["salt"] and str(row["salt"]),
    }
    return _Entry(row["seq"], row["kind"], fields)


def _fitted(frame: Mapping[str, Any], entries: Sequence[_Entry], hashes: Sequence[bytes]) -> bytes:
    """Return the fullest receipt that is small enough."""
    text = b""
    for selection in _selections(entries):
        proof = [part.hex() for part in trees.proof(hashes, [entry.seq - 1 for entry in selection])]
        text = _with_words({**frame, "proof": proof}, selection)
        if len(text) <= MOST_BYTES:
            break
    return text


def _with_words(frame: Mapping[str, Any], entries: Sequence[_Entry]) -> bytes:
    """Return a receipt of these entries with as many of their words as there is room for, the shortest first."""
    views = [{**entry.fields, "words": None, "salt": None} for entry in entries]
    text = _text({**frame, "entries": views})
    for number in sorted(range(len(entries)), key=lambda number: len(entries[number].fields["words"] or "")):
        views[number] = dict(entries[number].fields)
        fuller = _text({**frame, "entries": views})
        if len(fuller) > MOST_BYTES:
            break
        text = fuller
    return text


def _selections(entries: Sequence[_Entry]) -> list[list[_Entry]]:
    """Return which entries to show, from all of them to those without which it proves nothing."""
    outcomes = [entry for entry in entries if entry.kind in ("outcome", "resolved", "interrupted")]
    claim = [entry for entry in entries if entry.kind in ("proposed", "permitted")]
    core = [*claim, *outcomes[-1:]]
    votes = [entry for entry in entries if entry.kind == "vote"]
    return [list(entries), _in_order([*core, *votes]), _in_order(core), claim[-1:]]


def _in_order(entries: Sequence[_Entry]) -> list[_Entry]:
    return sorted(entries, key=lambda entry: entry.seq)


def _text(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


async def _row(connection: Connection, query: str, values: list[object]) -> dict[str, Any] | None:
    return await (await connection.execute(query.encode(), values)).fetchone()
