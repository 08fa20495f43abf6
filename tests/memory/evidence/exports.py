"""Exports and receipts made from `docs/journal.md` alone, by code of its own, for tests of whoever checks them."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

Line = dict[str, Any]
Tamper = Callable[[list[Line]], None]
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
START = datetime(2026, 11, 30, 9, tzinfo=UTC)
CARDS, POLICY = '[{"tool": "refund"}]', 'permit (principal, action, resource); // "é"'


def public(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()


def hexhash(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def time(seconds: float) -> str:
    return (START + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def root(leaves: list[bytes]) -> bytes:
    if len(leaves) < 2:
        return sha256(b"\x00" + leaves[0] if leaves else b"").digest()
    k = split(len(leaves))
    return sha256(b"\x01" + root(leaves[:k]) + root(leaves[k:])).digest()


def split(size: int) -> int:
    k = 1
    while 2 * k < size:
        k *= 2
    return k


def proof(leaves: list[bytes], positions: set[int], start: int = 0) -> list[str]:
    """Return the hashes in the order in which the page's function takes them."""
    if not positions & set(range(start, start + len(leaves))):
        return [root(leaves).hex()]
    if len(leaves) == 1:
        return []
    k = split(len(leaves))
    return proof(leaves[:k], positions, start) + proof(leaves[k:], positions, start + k)


def link(entry: Line, prev: bytes) -> bytes:
    """Give an entry its place in a chain: `prev` and `hash`."""
    parts = [prev, entry["run"].encode(), entry["seq"].to_bytes(4, "big"), entry["body"].encode()]
    digest = sha256(b"".join(parts)).digest()
    entry.update(prev=prev.hex(), hash=digest.hex())
    return digest


def genesis(run: str) -> bytes:
    return sha256(f"countersign journal {run}".encode()).digest()


def seal(words: str, salt: str) -> str:
    return sha256(UUID(salt).bytes + words.encode()).hexdigest()


@dataclass
class Tenant:
    """A tenant's journal, log and rows."""

    key: Ed25519PrivateKey | None = KEY
    name: str = "main"
    chains: dict[str, list[Line]] = field(default_factory=dict[str, list[Line]])
    rows: dict[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])
    digests: dict[str, str] = field(default_factory=dict[str, str])
    leaves: list[Line] = field(default_factory=list[Line])
    heads: list[Line] = field(default_factory=list[Line])
    stamps: int = 0
    seconds: int = 0

    def add(
        self,
        run: str,
        kind: str,
        words: Line | None = None,
        rows: Iterable[tuple[str, str, str | None]] = (),
        **facts: Any,
    ) -> Line:
        """Record an entry, with the rows (table, key, text) that it changes."""
        chain = self.chains.setdefault(run, [])
        self.seconds += 1
        stamps: list[list[Any]] = []
        for table, key, text in rows:
            self.stamps += 1
            stamps.append([table, key, self.stamps, None if text is None else hexhash(text)])
            self.rows |= {(table, key): text or ""}
            if text is None:
                del self.rows[table, key]
        words = (words or {}) | ({"rows": stamps} if stamps else {})
        text, salt = json.dumps(words, ensure_ascii=False), str(UUID(int=self.seconds << 64 | 0xABCDEF))
        body = {"kind": kind, "at": time(self.seconds), **facts} | ({"sealed": seal(text, salt)} if words else {})
        kept = {"words": text, "salt": salt} if words else {"words": None, "salt": None}
        entry = {
            "line": "entry",
            "run": run,
            "seq": len(chain) + 1,
            "body": json.dumps(body, ensure_ascii=False),
            **kept,
        }
        link(entry, bytes.fromhex(chain[-1]["hash"]) if chain else genesis(run))
        chain.append(entry)
        return entry

    def forget(self, run: str, *seqs: int, rows: Iterable[tuple[str, str, str | None]] = ()) -> None:
        """Take the words of entries away, and say so."""
        for seq in seqs:
            self.chains[run][seq - 1].update(words=None, salt=None)
        self.add(run, "forgotten", entries=list(seqs), rows=rows)

    def extend(self) -> None:
        """Take into the log what is new, under a new head."""
        ends = {json.loads(leaf["text"])["run"]: json.loads(leaf["text"])["seq"] for leaf in self.leaves}
        for run, chain in self.chains.items():
            if len(chain) > ends.get(run, 0):
                tree = root([bytes.fromhex(entry["hash"]) for entry in chain])
                text = {"run": run, "seq": len(chain), "head": chain[-1]["hash"], "root": tree.hex()}
                self.leaves.append({"line": "leaf", "position": len(self.leaves), "text": json.dumps(text)})
        self.heads.append(self.head())

    def head(self) -> Line:
        """Return the head over all leaves."""
        tree = root([leaf["text"].encode() for leaf in self.leaves]).hex()
        previous = hexhash(self.heads[-1]["text"]) if self.heads else ""
        key_id = sha256(public(self.key)).hexdigest()[:16] if self.key else ""
        text = json.dumps(
            {
                "tenant": self.name,
                "size": len(self.leaves),
                "root": tree,
                "at": time(self.seconds),
                "previous": previous,
                "key": key_id,
            }
        )
        signature = self.key.sign(text.encode()).hex() if self.key else None
        return {"line": "head", "number": len(self.heads) + 1, "text": text, "signature": signature}

    def export(self, run: str | None = None) -> list[Line]:
        """Return the lines of an export, of one run or of all."""
        lines: list[Line] = [
            {"line": "export", "version": 1, "tenant": self.name, "at": time(self.seconds + 60), "run": run}
        ]
        if run is None:
            if self.key:
                raw = public(self.key)
                lines.append({"line": "key", "id": sha256(raw).hexdigest()[:16], "public": raw.hex()})
            lines += self.leaves + self.heads
        for kind, text in (("policy", POLICY), ("cards", CARDS)):
            lines.append({"line": "text", "kind": kind, "hash": hexhash(text), "text": text})
        for name in sorted(self.chains, key=str.encode) if run is None else [run]:
            chain = self.chains[name]
            spent = [json.loads(entry["body"]).get("spent") for entry in chain]
            last = [counts for counts in spent if counts] or [[0, 0, 0, 0]]
            lines.append(
                {"line": "chain", "run": name, "seq": len(chain), "head": chain[-1]["hash"], "spent": last[-1]}
            )
            lines += chain
        for (table, key), text in sorted(self.rows.items()):
            if run is None or f'"{run}"' in text:
                digest = {"rows": self.digests[key]} if table == "results" else {}
                lines.append({"line": "row", "table": table, "key": key, "text": text} | digest)
        lines.append({"line": "end", "lines": len(lines)})
        return json.loads(json.dumps(lines))

    def receipt(self, run: str, effect: str) -> bytes:
        """Return the receipt of an effect by the last leaf of its run."""
        chain, covered = self.chains[run], json.loads(self.heads[-1]["text"])["size"]
        position = max(n for n, leaf in enumerate(self.leaves[:covered]) if json.loads(leaf["text"])["run"] == run)
        last = json.loads(self.leaves[position]["text"])["seq"]
        entries = [entry for entry in chain[:last] if json.loads(entry["body"]).get("effect") == effect]
        hashes = [bytes.fromhex(entry["hash"]) for entry in chain[:last]]
        texts = [leaf["text"].encode() for leaf in self.leaves[:covered]]
        value = {
            "receipt": 1,
            "tenant": self.name,
            "run": run,
            "effect": effect,
            "entries": [{name: entry[name] for name in ("seq", "prev", "body", "words", "salt")} for entry in entries],
            "proof": proof(hashes, {entry["seq"] - 1 for entry in entries}),
            "leaf": {
                "position": position,
                "text": self.leaves[position]["text"],
                "proof": proof(texts, {position}),
            },
            "head": {"text": self.heads[-1]["text"], "signature": self.heads[-1]["signature"]},
            "key": public(self.key).hex() if self.key else "",
        }
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def spell(lines: Iterable[Line]) -> bytes:
    """Return an export as it is printed."""
    return b"".join(json.dumps(line, ensure_ascii=False).encode() + b"\n" for line in lines)
