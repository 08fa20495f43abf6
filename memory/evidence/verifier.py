"""Verifier of exports and receipts, on its own: Python 3.9 or newer with its standard library, and nothing of ours.

    python verifier.py FILE [--heads FILE] [--key PUBLIC_HEX ...] [--json]

FILE is an export or a receipt, `-` is standard input. The exit code is 0 if it holds, 6 if it does not, 2 if it cannot
be read. docs/journal.md says what is checked. What a file says is printed escaped: it makes no lines of its own.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from hashlib import sha256, sha512
from typing import IO, Any, NamedTuple
from uuid import UUID

try:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
except ImportError:
    InvalidSignature = Ed25519PublicKey = None

_FIELDS = {  # of every object, as the page has them; `?` may be null
    "export": "line:str version:int tenant:str at:str run:str?",
    "key": "line:str id:str public:str",
    "leaf": "line:str position:int text:str",
    "head": "line:str number:int text:str signature:str?",
    "text": "line:str kind:str hash:str text:str",
    "chain": "line:str run:str seq:int? head:str? spent:list?",
    "entry": "line:str run:str seq:int prev:str hash:str body:str words:str? salt:str?",
    "row": "line:str table:str key:str text:str",
    "row of results": "line:str table:str key:str text:str rows:str",
    "end": "line:str lines:int",
    "text of a leaf": "run:str seq:int head:str root:str",
    "text of a head": "tenant:str size:int root:str at:str previous:str key:str",
    "receipt": "receipt:int tenant:str run:str effect:str entries:list proof:list leaf:dict head:dict key:str",
    "entry of a receipt": "seq:int prev:str body:str words:str? salt:str?",
    "leaf of a receipt": "position:int text:str proof:list",
    "head of a receipt": "text:str signature:str?",
}
_SHAPES = {
    name: {field: {kind.rstrip("?"), "NoneType" if kind[-1] == "?" else kind} for field, kind in pairs}
    for name, pairs in ((name, [part.split(":") for part in fields.split()]) for name, fields in _FIELDS.items())
}
_RANKS = {"export": 0, "key": 1, "leaf": 2, "head": 3, "text": 4, "chain": 5, "entry": 5, "row": 6, "end": 7}
_PLACES = {"leaf": ["position"], "head": ["number"], "text": ["hash"], "entry": ["run", "seq"], "row": ["table", "key"]}
_TEN_MINUTES = timedelta(minutes=10)
_MOST_SIGNATURES = 200  # without the library, which checks them fifty times as fast; they vouch for those before them
_SERIES = ("run", "position", "number", "kept head")


class Wrong(ValueError):
    """Something is not as the page says; the text is a sentence about it."""


class Problem(NamedTuple):
    """A place that does not hold: `run` and `seq`, `table` and `key`, or the number of a line, leaf or head."""

    place: Mapping[str, Any]
    sentence: str

    def __str__(self) -> str:
        return " ".join(f"{name} {_show(value)}" for name, value in self.place.items()) + f": {self.sentence}"


def _kind(value: object) -> str:
    return type(value).__name__


def _word(value: Any) -> str:
    return value if _kind(value) == "str" else ""


def _kinds(values: Any) -> str:
    return " ".join(map(_kind, values)) if _kind(values) == "list" else "no list"


def _show(value: object) -> str:
    text = ascii(value) if _kind(value) in ("str", "int") else f"a {_kind(value)}"
    return text if len(text) <= 100 else text[:97] + "..."


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise Wrong("a name stands twice in one object")
    return members


def _refuse(constant: str) -> None:
    raise Wrong(f"{constant} is no JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_members, parse_constant=_refuse)


def _read(text: str | bytes) -> dict[str, Any]:
    """Return the object that a JSON text is."""
    try:
        text = text if isinstance(text, str) else text.decode()
        value, end = _DECODER.raw_decode(text)
    except RecursionError:
        raise Wrong("it is nested too deeply") from None
    if _kind(value) != "dict" or text[end:].strip(" \t\r\n"):
        raise Wrong("it is not one JSON object")
    return value


def _shaped(value: Any, name: str) -> dict[str, Any]:
    """Return an object if it has exactly the fields that the page names."""
    shape = _SHAPES[name]
    if _kind(value) != "dict" or value.keys() != shape.keys():
        raise Wrong(f"a field is missing or too many; the fields of a {name} are {', '.join(shape)}")
    for field, kinds in shape.items():
        if type(value[field]).__name__ not in kinds:
            raise Wrong(f"its {field} is {_show(value[field])}")
    return value


def _unhex(text: object, size: int) -> bytes:
    if not isinstance(text, str) or not re.fullmatch(f"[0-9a-f]{{{2 * size}}}", text):
        raise Wrong(f"{_show(text)} is not {size} bytes in lower-case hexadecimal")
    return bytes.fromhex(text)


def _time(text: str) -> datetime:
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", text, re.ASCII) or text < "1970":
        raise Wrong(f"{_show(text)} is no time like 2026-11-30T09:00:00.000000Z")
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ")


# Signatures: Ed25519 of RFC 8032, without the cofactor; each key and signature has only one spelling.

_P = 2**255 - 19
_ORDER = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, -1, _P) % _P


def _add(p: tuple[int, ...], q: tuple[int, ...]) -> tuple[int, ...]:
    a, b = (p[1] - p[0]) * (q[1] - q[0]), (p[1] + p[0]) * (q[1] + q[0])
    c, d = 2 * p[3] * q[3] * _D, 2 * p[2] * q[2]
    e, f, g, h = (b - a) % _P, (d - c) % _P, (d + c) % _P, (b + a) % _P
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _times(scalar: int, point: tuple[int, ...]) -> tuple[int, ...]:
    total: tuple[int, ...] = (0, 1, 1, 0)
    while scalar:
        total = _add(total, point) if scalar & 1 else total
        scalar, point = scalar >> 1, _add(point, point)
    return total


def _point(raw: bytes) -> tuple[int, ...]:
    y, sign = int.from_bytes(raw, "little") & (1 << 255) - 1, raw[31] >> 7
    square = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    x = pow(square, (_P + 3) // 8, _P)
    x = x if x * x % _P == square else x * pow(2, (_P - 1) // 4, _P) % _P
    if y >= _P or x * x % _P != square or (x == 0 and sign):
        raise Wrong("a key or a signature is no point of the curve")
    x = x if x & 1 == sign else _P - x
    return x, y, 1, x * y % _P


def check_signature(public: bytes, text: bytes, signature: bytes) -> None:
    """Raise Wrong unless the 64 bytes are the signature of the text by the key with these 32 bytes."""
    key, start, scalar = _point(public), _point(signature[:32]), int.from_bytes(signature[32:], "little")
    if scalar >= _ORDER:
        raise Wrong("its signature is spelled in another way")
    if Ed25519PublicKey is not None and InvalidSignature is not None:
        try:
            return Ed25519PublicKey.from_public_bytes(public).verify(signature, text)
        except InvalidSignature:
            raise Wrong("its signature is not right") from None
    digest = int.from_bytes(sha512(signature[:32] + public + text).digest(), "little") % _ORDER
    base = _point(bytes.fromhex("58" + 31 * "66"))
    left, right = _times(scalar, base), _add(start, _times(digest, key))
    if any((left[i] * right[2] - right[i] * left[2]) % _P for i in (0, 1)):
        raise Wrong("its signature is not right")


def key_id(public: bytes) -> str:
    """Return the id under which heads name a key."""
    return sha256(public).hexdigest()[:16]


def _check_head(line: Mapping[str, Any], key: str, keys: Mapping[str, bytes], *, has_pins: bool) -> None:
    """Check the signature of a head, if it has one; where keys were pinned it must."""
    if line["signature"] is not None or key or has_pins:
        if key not in keys:
            raise Wrong(f"it is not signed by a key that was given; it names {_show(key)}")
        check_signature(keys[key], line["text"].encode(), _unhex(line["signature"], 64))


_Leaf = tuple[int, int, str, str]  # position, seq, head, root


class _Tree:
    """A tree that grows, kept as the roots of its complete parts."""

    def __init__(self) -> None:
        self.size, self.subtrees = 0, list[bytes]()

    def add(self, leaf: bytes) -> None:
        part, self.size = sha256(b"\0" + leaf).digest(), self.size + 1
        for _ in range((self.size & -self.size).bit_length() - 1):
            part = sha256(b"\1" + self.subtrees.pop() + part).digest()
        self.subtrees.append(part)

    def root(self) -> str:
        part = self.subtrees[-1] if self.subtrees else sha256().digest()
        for other in self.subtrees[-2::-1]:
            part = sha256(b"\1" + other + part).digest()
        return part.hex()


def _root_by_proof(leaves: Mapping[int, bytes], size: int, proof: list[Any]) -> str:
    """Return the root of a tree of which some leaves are there, by their positions; the proof has the other parts."""
    others = iter(proof)

    def root(start: int, end: int, positions: list[int]) -> bytes:
        if not positions:
            return _unhex(next(others, None), 32)
        if end - start == 1:
            return sha256(b"\0" + leaves[start]).digest()
        half = start + (1 << (end - start - 1).bit_length() - 1)
        left = [position for position in positions if position < half]
        halves = root(start, half, left) + root(half, end, positions[len(left) :])
        return sha256(b"\1" + halves).digest()

    if not leaves or not 0 <= min(leaves) <= max(leaves) < size < 1 << 62:
        raise Wrong("a tree does not have such leaves")
    top = root(0, size, sorted(leaves))
    if next(others, others) is not others:
        raise Wrong("a proof is longer than its tree needs")
    return top.hex()


def _entry_hash(prev: bytes, run: str, entry: Mapping[str, Any]) -> bytes:
    if not 0 < entry["seq"] < 1 << 31:
        raise Wrong(f"{_show(entry['seq'])} is no number of an entry")
    return sha256(prev + run.encode() + entry["seq"].to_bytes(4, "big") + entry["body"].encode()).digest()


def _facts(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts of an entry, whose words must be those that it seals, or be gone."""
    facts = _read(entry["body"])
    if _kinds([facts.get("kind"), facts.get("at")]) != "str str":
        raise Wrong("its facts lack their kind or time")
    if (entry["words"], entry["salt"]) != (None, None):
        _check_seal(entry["words"], entry["salt"], facts.get("sealed"))
    return facts


def _check_seal(words: str | None, salt: str | None, sealed: object) -> None:
    if words is None or salt is None:
        raise Wrong("of its words and their salt one is missing")
    number = UUID(salt)
    if str(number) != salt:
        raise Wrong("its salt is not spelled as a UUID is")
    if sealed != sha256(number.bytes + words.encode()).hexdigest():
        raise Wrong("its words are not what was recorded")


class _Chain:
    """The chain of one run, computed again entry by entry; what no leaf has must be of a time within `window`."""

    def __init__(self, line: Mapping[str, Any], leaves: list[_Leaf], window: tuple[datetime, datetime]) -> None:
        self.line, self.run, self.leaves, self.window = line, line["run"], leaves[::-1], window
        self.seq, self.head = 0, sha256(b"countersign journal " + self.run.encode()).digest()
        self.tree, self.spent, self.gone, self.forgotten = _Tree(), [0, 0, 0, 0], set[int](), 0
        self.current = self.sure = 0  # the entry in hand; the last one that the log vouches for, with all before it

    def add(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        """Take the next entry and return its facts; if it raises Wrong, `place` is where."""
        self.current = self.seq + 1
        if entry["seq"] != self.current:
            raise Wrong(f"it is missing; entry {_show(entry['seq'])} follows instead")
        if entry["prev"] != self.head.hex():
            raise Wrong("it does not continue the entry before it")
        head = _entry_hash(self.head, self.run, entry)
        if entry["hash"] != head.hex():
            raise Wrong("its facts are not what was recorded")
        facts = _facts(entry)
        self.seq, self.head = self.current, head
        self.tree.add(head)
        self._note(facts, is_empty=entry["words"] is None and "sealed" in facts)
        self._compare(facts["at"])
        return facts

    def _note(self, facts: Mapping[str, Any], *, is_empty: bool) -> None:
        self.spent = facts.get("spent", self.spent)
        if is_empty:
            self.gone.add(self.seq)
        if facts["kind"] == "forgotten" and {*_kinds(facts.get("entries")).split()} == {"int"}:
            entries = self.gone.intersection(facts["entries"])
            self.gone, self.forgotten = self.gone - entries, self.forgotten + len(entries)

    def _compare(self, time: str) -> None:
        """Compare the chain with what the log took in, if it did so at this entry."""
        if not self.leaves:
            if not self.window[0] <= _time(time) <= self.window[1]:
                raise Wrong("it is not of the last ten minutes, and the log did not take it in")
        elif self.leaves[-1][1] == self.seq:
            position, *leaf = self.leaves.pop()
            if leaf != [self.seq, self.head.hex(), self.tree.root()]:
                self.current = self.sure + 1
                raise Wrong(
                    f"from here to entry {self.seq}, some are not those that leaf {position} of the log took in"
                )
            self.sure = self.seq

    def end(self) -> list[tuple[int, str]]:
        """Return the entries at which the chain is not as the log and the run's row have it, with what is wrong."""
        last, head, problems = self.line["seq"], self.line["head"], list[tuple[int, str]]()
        if self.gone:
            problems.append((min(self.gone), "its words are gone, and no later entry says that they were forgotten"))
        if self.leaves:
            problems.append((self.seq + 1, f"it is missing; leaf {self.leaves[-1][0]} of the log goes further"))
        if last is None:
            problems.append((1, "its run has no row"))
        elif last != self.seq:
            problems.append((max(0, min(last, self.seq)) + 1, f"the run's row ends with entry {_show(last)}"))
        elif (head, self.line["spent"]) != (self.head.hex(), self.spent):
            problems.append((max(1, last), "the run's row has another hash, or spent something else"))
        return sorted(problems)


class ExportCheck:
    """A check of an export, line by line; it keeps runs, leaves and stamped rows, and forgets entries."""

    def __init__(self, keys: Iterable[bytes] = (), heads: Iterable[str] = ()) -> None:
        """Take public keys, and texts of heads, that came another way than the export."""
        self.problems: list[Problem] = []
        self.counts: Counter[str] = Counter({name: 0 for name in ("entries", "runs", "rows", "leaves", "heads")})
        self.tenant, self.run = "", None
        self.pins = {key_id(key): key for key in keys}
        self._keys, self._kept, self._window = dict(self.pins), list(heads), (datetime.min, datetime.max)
        self._tree, self._roots, self._size, self._previous = _Tree(), [_Tree().root()], 0, ""
        self._leaves: dict[str, list[_Leaf]] = {}
        self._texts: set[tuple[str, str]] = set()
        self._stamps: dict[tuple[str, str], tuple[int, str | None, str, int]] = {}
        self._chain: _Chain | None = None
        self._late, self._unchecked = list[tuple[str, Mapping[str, Any]]](), 0
        self._rank, self._last_run, self._series = -1, "", set[str]()
        self._lack: str | None = None  # the run that was exported, if only one was, until its chain comes

    def feed(self, line: str | bytes) -> None:
        """Take the next line."""
        self.counts["lines"] += 1
        value, name = dict[str, Any](), ""
        try:
            value = _read(line)
            name = _word(value.get("line"))
            if name not in _RANKS:
                raise Wrong("it is no line of an export")
            _shaped(value, {"results": "row of results"}.get(_word(value.get("table")), name))
            self._check_order(name)
            getattr(self, "_take_" + name)(value)
        except ValueError as error:
            self._check_late()
            fields = [field for field in _PLACES.get(name, ()) if _kind(value.get(field)) in ("str", "int")]
            self._note({field: value[field] for field in fields} or {"line": self.counts["lines"]}, str(error))

    def _note(self, place: Mapping[str, Any], sentence: str) -> None:
        """Note a problem; of a chain, of leaves and of heads only the first, for others follow from it."""
        series = "".join(f"{name} {place['run'] if name == 'run' else ''}" for name in place if name in _SERIES)
        if not series or series not in self._series:
            self.problems.append(Problem(place, sentence))
            self._series.add(series)

    def _check_order(self, name: str) -> None:
        if name != "entry":
            self._end_chain()
        rank, self._rank = self._rank, max(self._rank, _RANKS[name])
        if _RANKS[name] < rank or rank == _RANKS["end"] or (name == "export") != (self.counts["lines"] == 1):
            self._note({"line": self.counts["lines"]}, f"a line {name!r} stands in the wrong place")
        if self._rank > rank:
            self._check_late()
        if self.run is not None and name in ("key", "leaf", "head"):
            raise Wrong("an export of one run has no such line")

    def _take_export(self, line: Mapping[str, Any]) -> None:
        self.tenant, self.run, self._lack = line["tenant"], line["run"], line["run"]
        if line["version"] != 1:
            raise Wrong("its version is not 1")
        time = _time(line["at"])
        if self.run is None:
            self._window = time - _TEN_MINUTES, time + _TEN_MINUTES

    def _take_key(self, line: Mapping[str, Any]) -> None:
        public = _unhex(line["public"], 32)
        if line["id"] != key_id(public):
            raise Wrong("its id is not that of the key")
        if not self.pins:
            self._keys[line["id"]] = public

    def _take_leaf(self, line: Mapping[str, Any]) -> None:
        position = self.counts["leaves"]
        self.counts["leaves"] += 1
        self._tree.add(line["text"].encode())
        self._roots.append(self._tree.root())
        leaf = _shaped(_read(line["text"]), "text of a leaf")
        leaves = self._leaves.setdefault(leaf["run"], [])
        if leaf["seq"] <= (leaves[-1][1] if leaves else 0):
            raise Wrong("it takes in nothing new of its run")
        leaves.append((position, leaf["seq"], leaf["head"], leaf["root"]))
        if line["position"] != position:
            raise Wrong(f"leaf {position} should stand here")

    def _take_head(self, line: Mapping[str, Any]) -> None:
        self.counts["heads"] += 1
        self.counts["unsigned"] += line["signature"] is None
        previous, self._previous = self._previous, sha256(line["text"].encode()).hexdigest()
        head = _shaped(_read(line["text"]), "text of a head")
        size, self._size = self._size, head["size"]
        if line["number"] != self.counts["heads"]:
            raise Wrong(f"head {self.counts['heads']} should stand here")
        if (head["previous"], head["tenant"]) != (previous, self.tenant):
            raise Wrong("it does not name the head before it, or is another tenant's")
        if head["size"] <= size:
            raise Wrong("it covers no more leaves than the head before it")
        self._check_leaves(head)
        if _time(head["at"]) > self._window[1]:
            raise Wrong("it is younger than the export")
        if line["signature"] is None or Ed25519PublicKey is not None:
            _check_head(line, head["key"], self._keys, has_pins=bool(self.pins))
        elif _unhex(line["signature"], 64):
            self._late.append((head["key"], line))

    def _check_late(self) -> None:
        """Check signatures that were put off: those of the last heads, and the last one by each key."""
        late, self._late = self._late, []
        last = {line["number"]: (key, line) for key, line in [*dict(late).items(), *late[-_MOST_SIGNATURES:]]}
        self._unchecked += len(late) - len(last)
        for number, (key, line) in sorted(last.items()):
            try:
                _check_head(line, key, self._keys, has_pins=bool(self.pins))
            except ValueError as error:
                self._note({"number": number}, str(error))

    def _check_leaves(self, head: Mapping[str, Any]) -> None:
        if not 0 <= head["size"] < len(self._roots) or head["root"] != self._roots[head["size"]]:
            raise Wrong(f"its first {_show(head['size'])} leaves are not those that are here: the log was rewritten")

    def _take_text(self, line: Mapping[str, Any]) -> None:
        if line["hash"] != sha256(line["text"].encode()).hexdigest():
            raise Wrong("its text is another one")
        self._texts.add((line["kind"], line["hash"]))

    def _take_chain(self, line: Mapping[str, Any]) -> None:
        self.counts["runs"] += 1
        if line["run"] <= self._last_run and self.counts["runs"] > 1:
            self._note({"run": line["run"], "seq": 1}, "its chain stands twice, or behind one that comes after it")
        if _kinds(line["spent"]) not in ("int int int int", "no list"):
            raise Wrong("what its run's row has spent is not four numbers")
        self._last_run = line["run"]
        self._lack = None if line["run"] == self._lack else self._lack
        self._chain = _Chain(line, self._leaves.pop(line["run"], []), self._window)

    def _take_entry(self, line: Mapping[str, Any]) -> None:
        self.counts["entries"] += 1
        self._keep_stamps(line)
        chain = self._chain
        if chain is None or chain.run != line["run"]:
            raise Wrong("it stands outside its chain")
        try:
            if f"run {chain.run}" not in self._series:
                self._check_texts(chain.add(line))
        except ValueError as error:
            self._note({"run": chain.run, "seq": chain.current}, str(error))

    def _check_texts(self, facts: Mapping[str, Any]) -> None:
        for kind in ("cards", "policy") if facts.get("cards") is not None else ():
            if (kind, _word(facts.get(kind))) not in self._texts and facts.get(kind) is not None:
                raise Wrong(f"the text is missing that it names as its {kind}, {_show(facts[kind])}")

    def _keep_stamps(self, line: Mapping[str, Any]) -> None:
        """Keep what the latest stamps say, whether their chain holds or not: rows are compared with all of them."""
        stamps: Any = _read(line["words"] or "{}").get("rows", [])
        if {*_kinds(stamps).split()} - {"list"}:
            raise Wrong("its words have no list of stamps")
        for stamp in stamps:
            if _kinds(stamp) not in ("str str int str", "str str int NoneType"):
                raise Wrong("its words have a stamp that is none")
            table, key, number, digest = stamp
            if number > self._stamps.get((table, key), (0,))[0]:
                self._stamps[table, key] = number, digest, line["run"], line["seq"]

    def _take_row(self, line: Mapping[str, Any]) -> None:
        self.counts["rows"] += 1
        _, digest, run, seq = self._stamps.pop((line["table"], line["key"]), (0, "", "", 0))
        if "rows" in line and _read(line["text"]).get("digest") != line["rows"]:
            raise Wrong("its stored rows are not those of its digest")
        if seq == 0:
            if self.run is not None:
                return
            raise Wrong("no entry says that it was written, or it stands here twice")
        if digest != sha256(line["text"].encode()).hexdigest():
            raise Wrong(f"it is not as entry {seq} of run {_show(run)} says")

    def _take_end(self, line: Mapping[str, Any]) -> None:
        if line["lines"] != self.counts["lines"] - 1:
            raise Wrong(f"it counts {_show(line['lines'])} lines before it")

    def _end_chain(self) -> None:
        chain, self._chain = self._chain, None
        if chain is not None:
            self.counts["forgotten"] += chain.forgotten
            for seq, sentence in chain.end():
                self._note({"run": chain.run, "seq": seq}, sentence)

    def finish(self) -> list[Problem]:
        """Return all problems, after the last line."""
        self._end_chain()
        self._check_late()
        if self._rank != _RANKS["end"]:
            self._note({"line": self.counts["lines"] + 1}, "the export is cut: its end is missing")
        if self._lack is not None:
            self._note({"run": self.run, "seq": 1}, "the run that was exported is missing")
        if self.pins and not self.counts["heads"]:
            self._note({"number": 1}, "it is missing: nothing here is signed by a key that was given")
        self._finish_log()
        # An export of one run has stamps of other rows, too.
        for (table, key), (_, digest, run, seq) in self._stamps.items() if self.run is None else ():
            if digest is not None:
                self._note({"table": table, "key": key}, f"it is missing; entry {seq} of run {_show(run)} has it")
        return self.problems

    def _finish_log(self) -> None:
        if self._size != len(self._roots) - 1:
            self._note({"number": self.counts["heads"] + 1}, "it is missing: no head covers the last leaves")
        for run, leaves in self._leaves.items():
            self._note({"run": run, "seq": 1}, f"the run is missing; leaf {leaves[0][0]} of the log names it")
        for text in self._kept:
            self._compare(text)

    def _compare(self, text: str) -> None:
        """Compare the log with a head that was kept elsewhere."""
        place: dict[str, Any] = {"kept head": 0}
        try:
            head = _shaped(_read(text), "text of a head")
            place = {"kept head": head["size"]}
            if (self.run, self.tenant) != (None, head["tenant"]):
                raise Wrong("the export has no log of this tenant")
            self._check_leaves(head)
        except ValueError as error:
            self._note(place, str(error))

    def notes(self) -> list[str]:
        """Return what was checked, and what a reader must know beside the problems."""
        heads, unsigned = self.counts["heads"], self.counts["unsigned"]
        remarks = [", ".join(f"{count} {name}" for name, count in self.counts.items())]
        if self.run is not None:
            one = f"only run {_show(self.run)} was exported: no log was checked, and rows only where a stamp is here"
            return [*remarks, one]
        if heads - unsigned < max(heads, 1):
            remarks.append(f"unsigned: {unsigned} of {heads} heads")
        if self._unchecked:
            remarks.append(f"without the library cryptography, {self._unchecked} signatures rest on later ones")
        if self._keys.keys() - self.pins.keys():
            remarks.append("the keys came with the file; pin them with --key")
        return remarks


def receipt(text: bytes, keys: Iterable[bytes] = ()) -> dict[str, Any]:
    """Return a receipt if it holds; else raise Wrong, which says why not."""
    value = _shaped(_read(text), "receipt")
    leaf, head = _shaped(value["leaf"], "leaf of a receipt"), _shaped(value["head"], "head of a receipt")
    entries = [_shaped(entry, "entry of a receipt") for entry in value["entries"]]
    if {*_kinds(value["proof"] + leaf["proof"]).split()} - {"str"}:
        raise Wrong("a proof is no list of hashes")
    spelling = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n"
    if value["receipt"] != 1 or spelling.encode() != text:
        raise Wrong("its version is not 1, or it is not spelled in the one way that there is")
    took, covers = _shaped(_read(leaf["text"]), "text of a leaf"), _shaped(_read(head["text"]), "text of a head")
    run = value["run"]
    hashes = {entry["seq"] - 1: _entry_hash(_unhex(entry["prev"], 32), run, entry) for entry in entries}
    facts = [_facts(entry) for entry in entries]
    if list(hashes) != sorted(hashes) or len(hashes) < len(entries):
        raise Wrong("its entries are not in the order of their run")
    if not any(fact["kind"] == "permitted" and fact.get("effect") == value["effect"] for fact in facts):
        raise Wrong("no entry permits its effect")
    if took["run"] != run or _root_by_proof(hashes, took["seq"], value["proof"]) != took["root"]:
        raise Wrong("its entries are not those that its leaf took in")
    log = _root_by_proof({leaf["position"]: leaf["text"].encode()}, covers["size"], leaf["proof"])
    if covers["tenant"] != value["tenant"] or log != covers["root"]:
        raise Wrong("its leaf is not in the log of its head")
    _time(covers["at"])
    own = {key_id(key): key for key in ([_unhex(value["key"], 32)] if value["key"] else [])}
    pins = {key_id(key): key for key in keys}
    if next(iter(own), "") != covers["key"]:
        raise Wrong("its key is not the one that its head names")
    _check_head(head, covers["key"], pins or own, has_pins=bool(pins))
    return value


def check_receipt(text: bytes, keys: Iterable[bytes] = ()) -> list[Problem]:
    """Return why a receipt does not hold; nothing if it does."""
    try:
        receipt(text, keys)
    except ValueError as error:
        return [Problem({"receipt": 1}, str(error))]
    return []


def _check(stream: IO[bytes], keys: list[bytes], heads: list[str]) -> tuple[list[Problem], list[str]]:
    first = stream.readline()
    value = _read(first)
    if "receipt" in value and heads:
        raise Wrong("a receipt has one head and is not compared with others; check an export")
    if "receipt" in value:
        remarks = ["receipt" + "".join(f", {name} {_show(value.get(name))}" for name in ("effect", "run", "tenant"))]
        remarks += ["unsigned"] if not value.get("key") else []
        remarks += ["the key came with the file; pin it with --key"] if value.get("key") and not keys else []
        return check_receipt(first + stream.read(1 << 20), keys), remarks
    if "line" not in value:
        raise Wrong("it is neither an export nor a receipt")
    check = ExportCheck(keys, heads)
    check.feed(first)
    for line in stream:
        check.feed(line)
    return check.finish(), check.notes()


def _heads(lines: Iterable[bytes]) -> list[str]:
    """Return the texts of the heads among lines of an export, or of `countersign journal heads`."""
    heads = [_shaped(value, "head")["text"] for value in map(_read, lines) if value.get("line") == "head"]
    if not heads:
        raise Wrong("there are no heads in it")
    return heads


def main(arguments: list[str] | None = None) -> int:
    """Check a file, print what does not hold and what was checked, and return the exit code."""
    parser = argparse.ArgumentParser(description="Check an export of the journal, or a receipt of one effect.")
    parser.add_argument("file", help="the export or receipt; - for standard input")
    parser.add_argument("--heads", help="a file of heads that were kept elsewhere")
    parser.add_argument("--key", action="append", default=[], help="a public key that came another way, 64 digits")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    name = options.heads or options.file
    try:
        keys = [_unhex(key, 32) for key in options.key]
        heads: list[str] = []
        if options.heads:
            with open(name, "rb") as lines:
                heads = _heads(lines)
        name = options.file
        with open(0 if name == "-" else name, "rb") as stream:
            problems, notes = _check(stream, keys, heads)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{_show(name)} cannot be read: {str(error)!a}\n")
        return 2
    if options.json:
        report = {"holds": not problems, "problems": [problem._asdict() for problem in problems], "notes": notes}
        sys.stdout.write(json.dumps(report) + "\n")
    else:
        verdict = "does not hold" if problems else "holds"
        sys.stdout.writelines(f"{line}\n" for line in [*map(str, problems), f"{verdict}: " + "; ".join(notes)])
    return 6 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
