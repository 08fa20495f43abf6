"""Importing on the command line: files of any size, from a pipe, and what is said of files that are none."""

import json
import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.app.conftest import Run


def file(bodies: Sequence[str]) -> str:
    """Return an export that holds these texts."""
    rows: list[dict[str, Any]] = [
        {"id": str(uuid4()), "body": body, "trust": "human", "provenance": {}} for body in bodies
    ]
    return "\n".join(map(json.dumps, [{"format": "countersign-memory/1"}, *rows]))


LARGE = [f"invoice {n} " + f"item{n} " * 900 for n in range(180)]


async def test_a_file_larger_than_a_request_goes_in_by_pieces(run: Run, tmp_path: Path) -> None:
    """R101"""
    (tmp_path / "large.jsonl").write_text(file(LARGE), encoding="utf-8")
    assert (tmp_path / "large.jsonl").stat().st_size > 1_000_000
    first, again = [await run("alice", "memory", "import", "large.jsonl") for _ in range(2)]
    assert (first.code, "took in 180, knew 0" in first.out, "piece 2 of 2 is in" in first.err) == (0, True, True)
    assert "took in 0, knew 180" in again.out


async def test_what_is_wrong_in_a_late_piece_is_found_in_the_file(run: Run, tmp_path: Path) -> None:
    """R101: what came before is in, and may be sent again."""
    lines = file(LARGE).split("\n")
    (tmp_path / "large.jsonl").write_text("\n".join([*lines, "nonsense"]), encoding="utf-8")
    ran = await run("alice", "memory", "import", "large.jsonl", "--json")
    assert ran.code == 1
    assert "piece 2 of 2 is not in; its line 2 is line" in ran.err
    assert "is no JSON" in ran.out
    (tmp_path / "large.jsonl").write_text("\n".join(lines), encoding="utf-8")
    counts = (await run("alice", "memory", "import", "large.jsonl", "--json")).json
    assert counts["known"] > 0
    assert counts["imported"] + counts["known"] == 180


@contextmanager
def pipe(text: bytes) -> Generator[None]:
    """Let a text be what the standard input holds."""
    before, (reads, writes) = os.dup(0), os.pipe()
    os.write(writes, text)
    os.close(writes)
    os.dup2(reads, 0)
    yield
    os.dup2(before, 0)
    os.close(before)
    os.close(reads)


async def test_a_pipe_and_a_mark_at_its_beginning_are_read(run: Run) -> None:
    with pipe(b"\xef\xbb\xbf" + file(["Grüße aus Kiel"]).encode()):
        assert "took in 1, knew 0" in (await run("alice", "memory", "import", "-")).out


async def test_a_file_that_is_no_text_is_told_so(run: Run, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    ran = await run("alice", "memory", "import", "photo.jpg")
    assert (ran.code, "'photo.jpg' is no UTF-8 text" in ran.err) == (2, True)
    assert (await run("alice", "memory", "import", "nothing.jsonl")).code == 2
