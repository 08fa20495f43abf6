"""Benchmark of pruning with another program: `python -m tests.bench.forgetful --program FOLDER --data DATA`.

The program is no part of this repository; its folder must hold `prune`, which makes streams of memories, asks about
some on the way, and scores the survivors. Here `memory.store.pruning.choose` removes memories whenever there is one too
many. The row "ours" stands beside the best that any choice could reach.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from math import sqrt
from pathlib import Path
from typing import Any, Protocol

from memory.store.fingerprints import terms
from memory.store.pruning import PruningCandidate, PruningPolicy, choose

FACTS = 0.2
"""Share of the capacity that facts may take, as in the standard policy; the remainder is for episodes."""


class Item(Protocol):
    """A memory of the benchmark's stream."""

    key: int
    text: str
    kind: str
    subject: str | None
    expires: int | None
    words: frozenset[str]


class Stream(Protocol):
    """Memories in their order, and questions by position."""

    items: Sequence[Item]
    asks: Mapping[int, Sequence[Any]]
    weight: Mapping[str, float]


class Room:
    """A scope that never holds more than its capacity."""

    def __init__(self, stream: Stream, capacity: int) -> None:
        self.stream, self.capacity = stream, capacity
        self.items: dict[str, Item] = {}
        self.rows: dict[str, PruningCandidate] = {}
        self.has_question = False

    def take(self, item: Item, moment: int) -> None:
        """Write a memory, as the store would: a subject's new value supersedes the old one."""
        for id, other in self.items.items():
            is_superseded = item.subject is not None and other.subject == item.subject
            is_expired = other.expires is not None and other.expires <= moment
            self.rows[id] = replace(
                self.rows[id],
                is_superseded=self.rows[id].is_superseded or is_superseded,
                is_expired=self.rows[id].is_expired or is_expired,
            )
        id = str(item.key)
        self.items[id] = item
        body, turn = item.text, item.kind == "turn"
        self.rows[id] = PruningCandidate(
            id=id,
            key=item.subject,
            body=body,
            terms=terms(body),
            trust="human",
            provenance={},
            uses=0,
            is_pinned=False,
            is_expired=False,
            is_superseded=False,
            is_answer=turn and self.has_question,
        )
        if turn:
            self.has_question = body.rstrip().endswith("?")
        if len(self.items) > self.capacity:
            self.prune()

    def prune(self) -> None:
        """Remove the memories that the product would remove."""
        facts = sum(row.key is not None and not row.is_superseded for row in self.rows.values())
        facts = min(facts, int(self.capacity * FACTS))
        for leaving in choose(list(self.rows.values()), PruningPolicy(facts, self.capacity - facts)):
            del self.items[leaving.id], self.rows[leaving.id]

    def answer(self, query: frozenset[str]) -> None:
        """Count a use of the first hits of the benchmark's own search."""
        scores = dict[str, float]()
        for id, item in self.items.items():
            if matches := query & item.words:
                scores[id] = sum(self.stream.weight[word] for word in matches) / sqrt(3 + len(item.words))
        for id in sorted(scores, key=lambda id: -scores[id])[:5]:
            self.rows[id] = replace(self.rows[id], uses=self.rows[id].uses + 1)


def survivors(stream: Stream, capacity: int, tokens: Any) -> list[Item]:
    """Return the memories of a stream that are left in the end."""
    room = Room(stream, capacity)
    for moment, item in enumerate(stream.items):
        room.take(item, moment)
        for question in stream.asks.get(moment, ()):
            room.answer(frozenset(tokens(question.text)))
    room.prune()
    return list(room.items.values())


def main() -> None:
    """Print the benchmark's table with our row and the best possible one."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.forgetful", description=__doc__)
    parser.add_argument("--program", type=Path, required=True, help="folder of the benchmark program")
    options, arguments = parser.parse_known_args()
    sys.path.insert(0, str(options.program))
    program: Any = import_module("prune")
    program.POLICIES = {"ours": (None, True)}

    def live(stream: Stream, capacity: int, *_: object) -> list[Item]:
        return survivors(stream, capacity, program.tokens)

    program.live = live
    sys.argv = ["prune", *arguments]
    program.main()


if __name__ == "__main__":
    main()
