"""Judge what pruning keeps: `python -m tests.bench.forgetful --program FOLDER --data DATA [--seed 1]`.

The program is no part of this repository; its folder must hold `prune`, which makes streams of memories, asks about
some on the way, and scores what is left. Here that is what `memory.pruning.choose` leaves of everything that has come,
as often as there is one too many. The row "ours" stands beside the best that any choice could reach.
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
"""The part of the room that facts may have, as in the standard policy; what they leave is for episodes."""


class Item(Protocol):
    """A memory of the benchmark's stream."""

    key: int
    text: str
    kind: str
    subject: str | None
    expires: int | None
    words: frozenset[str]


class Stream(Protocol):
    """What comes, and what is asked when."""

    items: Sequence[Item]
    asks: Mapping[int, Sequence[Any]]
    weight: Mapping[str, float]


class Room:
    """A scope that never holds more than its capacity."""

    def __init__(self, stream: Stream, capacity: int) -> None:
        self.stream, self.capacity = stream, capacity
        self.items: dict[str, Item] = {}
        self.rows: dict[str, PruningCandidate] = {}
        self.asked = False

    def take(self, item: Item, now: int) -> None:
        """Write a memory, as the store would: a subject's new value supersedes the old one."""
        for id, other in self.items.items():
            gone = item.subject is not None and other.subject == item.subject
            ended = other.expires is not None and other.expires <= now
            self.rows[id] = replace(
                self.rows[id],
                is_superseded=self.rows[id].is_superseded or gone,
                is_expired=self.rows[id].is_expired or ended,
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
            is_answer=turn and self.asked,
        )
        if turn:
            self.asked = body.rstrip().endswith("?")
        if len(self.items) > self.capacity:
            self.prune()

    def prune(self) -> None:
        """Let leave what the product would."""
        facts = sum(row.key is not None and not row.is_superseded for row in self.rows.values())
        facts = min(facts, int(self.capacity * FACTS))
        for leaving in choose(list(self.rows.values()), PruningPolicy(facts, self.capacity - facts)):
            del self.items[leaving.id], self.rows[leaving.id]

    def answer(self, wanted: frozenset[str]) -> None:
        """Count as used what the benchmark's own search finds first."""
        scores = dict[str, float]()
        for id, item in self.items.items():
            if found := wanted & item.words:
                scores[id] = sum(self.stream.weight[word] for word in found) / sqrt(3 + len(item.words))
        for id in sorted(scores, key=lambda id: -scores[id])[:5]:
            self.rows[id] = replace(self.rows[id], uses=self.rows[id].uses + 1)


def kept(stream: Stream, capacity: int, tokens: Any) -> list[Item]:
    """Return what is left of a stream in the end."""
    room = Room(stream, capacity)
    for now, item in enumerate(stream.items):
        room.take(item, now)
        for question in stream.asks.get(now, ()):
            room.answer(frozenset(tokens(question.text)))
    room.prune()
    return list(room.items.values())


def main() -> None:
    """Print the benchmark's table with our row and the best possible one."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.forgetful", description=__doc__)
    parser.add_argument("--program", type=Path, required=True, help="folder of the benchmark program")
    told, passed_on = parser.parse_known_args()
    sys.path.insert(0, str(told.program))
    program: Any = import_module("prune")
    program.POLICIES = {"ours": (None, True)}

    def live(stream: Stream, capacity: int, *_: object) -> list[Item]:
        return kept(stream, capacity, program.tokens)

    program.live = live
    sys.argv = ["prune", *passed_on]
    program.main()


if __name__ == "__main__":
    main()
