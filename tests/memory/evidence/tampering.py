"""Ways to tamper with the export of `sample`, as the owner of all tables could."""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from tests.memory.evidence.exports import OTHER_KEY, Line, Tamper, genesis, link, public, seal
from tests.memory.evidence.sample import Pick, chain, entry, line

Place = Mapping[str, Any]


def fact(pick: Pick, **facts: Any) -> Tamper:
    """Change facts of an entry and nothing else."""
    return lambda lines: rewrite(pick(lines), facts)


def rewrite(value: Line, facts: Mapping[str, Any], name: str = "body") -> None:
    value[name] = json.dumps(json.loads(value[name]) | facts)


def put(pick: Pick, **fields: Any) -> Tamper:
    return lambda lines: pick(lines).update(fields)


def drop(*picks: Pick) -> Tamper:
    """Take lines away, and count again."""

    def tamper(lines: list[Line]) -> None:
        for value in [pick(lines) for pick in picks]:
            lines.remove(value)
        recount(lines)

    return tamper


def add(value: Line, *, after: Pick) -> Tamper:
    """Put a line behind another one, and count again."""

    def tamper(lines: list[Line]) -> None:
        lines.insert(lines.index(after(lines)) + 1, dict(value))
        recount(lines)

    return tamper


def double(pick: Pick, *, after: Pick | None = None) -> Tamper:
    """Put a line there twice."""
    return lambda lines: add(pick(lines), after=after or pick)(lines)


def retext(name: str, position: int, change: Mapping[str, Any]) -> Tamper:
    """Change the text of a leaf or head."""
    return lambda lines: rewrite(line(name, position)(lines), change, "text")


def recount(lines: list[Line]) -> None:
    lines[-1]["lines"] = len(lines) - 1
    for name, field, first in (("leaf", "position", 0), ("head", "number", 1)):
        for number, value in enumerate([v for v in lines if v["line"] == name], first):
            value[field] = number


def entries_of(lines: list[Line], run: str) -> list[Line]:
    return [value for value in lines if value["line"] == "entry" and value["run"] == run]


def rehash(lines: list[Line], run: str, *, with_head: bool = True) -> None:
    """Compute a chain again, as the owner of the table can."""
    head = genesis(run)
    for seq, value in enumerate(entries_of(lines, run), 1):
        value["seq"] = seq
        head = link(value, head)
    if with_head:
        chain(run)(lines).update(seq=len(entries_of(lines, run)), head=head.hex())
    recount(lines)


def then(*steps: Tamper) -> Tamper:
    def tamper(lines: list[Line]) -> None:
        for step in steps:
            step(lines)

    return tamper


def again(run: str, *, with_head: bool = True) -> Tamper:
    return lambda lines: rehash(lines, run, with_head=with_head)


def reword(pick: Pick, **words: Any) -> Tamper:
    """Change words and the seal in the facts."""

    def tamper(lines: list[Line]) -> None:
        value = pick(lines)
        rewrite(value, words, "words")
        rewrite(value, {"sealed": seal(value["words"], value["salt"])})

    return tamper


def swap(first: Pick, second: Pick, *fields: str) -> Tamper:
    """Exchange fields of two lines."""

    def tamper(lines: list[Line]) -> None:
        one, other = first(lines), second(lines)
        for field in fields:
            one[field], other[field] = other[field], one[field]

    return tamper


def exchange(first: Pick, second: Pick) -> Tamper:
    """Exchange two lines."""

    def tamper(lines: list[Line]) -> None:
        one, other = lines.index(first(lines)), lines.index(second(lines))
        lines[one], lines[other] = lines[other], lines[one]

    return tamper


def empty_chain(lines: list[Line]) -> None:
    for value in entries_of(lines, "run-a"):
        lines.remove(value)
    chain("run-a")(lines).update(seq=0, head=genesis("run-a").hex(), spent=[0, 0, 0, 0])
    recount(lines)


def move(lines: list[Line]) -> None:
    """Put the last entry of one run at the end of another, and hash both again."""
    value = entry("run-a", 7)(lines)
    lines.remove(value)
    value["run"] = "run-b"
    lines.insert(lines.index(entry("run-b", 4)(lines)) + 1, value)
    rehash(lines, "run-a")
    rehash(lines, "run-b")
    spent = chain("run-a")(lines)["spent"]
    chain("run-a")(lines)["spent"], chain("run-b")(lines)["spent"] = [0, 0, 0, 0], spent


def remove_run(lines: list[Line]) -> None:
    """Remove run-b with all that was stamped in it."""
    lines[:] = [v for v in lines if v.get("run") != "run-b" and v.get("key") not in ("run-b", "tool/refund")]
    recount(lines)


def drop_entries(lines: list[Line]) -> None:
    lines[:] = [v for v in lines if v["line"] != "entry" or v["run"] != "run-a"]
    recount(lines)


def resign(lines: list[Line]) -> None:
    """Sign the last head by another key, which the file brings along."""
    head, raw = line("head", -1)(lines), public(OTHER_KEY)
    new = {"line": "key", "id": sha256(raw).hexdigest()[:16], "public": raw.hex()}
    rewrite(head, {"key": new["id"]}, "text")
    head["signature"] = OTHER_KEY.sign(head["text"].encode()).hex()
    lines.insert(2, new)
    recount(lines)


def at(run: str, seq: int) -> Place:
    return {"run": run, "seq": seq}


def of_row(table: str, key: str) -> Place:
    return {"table": table, "key": key}
