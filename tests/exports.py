"""Exports of tests, changed as somebody might change them."""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from memory.evidence.export_lines import chain_hash, seal
from memory.evidence.lines import lines as export_lines
from memory.postgres.database import Database
from memory.scope import Access
from tools.rederive import Rederivation, rederive

Line = dict[str, Any]


async def lines_of(database: Database, access: Access) -> list[Line]:
    """Return the lines of an export but for its last."""
    async with database.snapshot(access) as connection:
        return [json.loads(line) async for line in export_lines(connection)][:-1]


def write(path: Path, lines: Iterable[Mapping[str, Any]]) -> Path:
    """Write lines as an export, with its end."""
    texts = [json.dumps(line) for line in lines]
    texts.append(json.dumps({"line": "end", "lines": len(texts)}))
    path.write_text("".join(f"{text}\n" for text in texts))
    return path


def changed(lines: Iterable[Line], change: Callable[[Line], Line | None]) -> list[Line]:
    """Return the lines with those replaced for which `change` has another one."""
    return [change(line) or line for line in lines]


def judged(lines: list[Line]) -> list[tuple[str, str | None, int]]:
    """Return verdict, code and need of every entry that stands for a verdict."""
    bodies = [json.loads(line["body"]) for line in lines if line["line"] == "entry"]
    return [(body["verdict"], body["code"], body["need"]) for body in bodies if "verdict" in body]


def again(lines: list[Line], folder: Path, files: dict[str, str] | None = None) -> Rederivation:
    """Judge the verdicts of these lines again."""
    return rederive(write(folder / "export.jsonl", lines), files)


def rehashed(line: Line, **facts: Any) -> Line:
    """Return an entry with other facts and the hash of them, as somebody could write it who holds the database."""
    body = json.dumps(json.loads(line["body"]) | facts)
    return {**line, "body": body, "hash": chain_hash(bytes.fromhex(line["prev"]), line["run"], line["seq"], body).hex()}


def reworded(line: Line, **words: Any) -> Line:
    """Return an entry with other words, sealed anew."""
    text, salt = json.dumps(json.loads(line["words"]) | words), str(uuid4())
    return rehashed({**line, "words": text, "salt": salt}, sealed=seal(text, UUID(salt)))


def first(kind: str, change: Callable[[Line], Line]) -> Callable[[Line], Line | None]:
    """Return a change of the first entry of a kind that stands for a verdict."""
    places: list[int] = []

    def apply(line: Line) -> Line | None:
        body: Line = json.loads(line["body"]) if line["line"] == "entry" else {}
        if places or body.get("kind") != kind or "verdict" not in body:
            return None
        places.append(line["seq"])
        return change(line)

    return apply
