"""The runbooks in question for one request: found by words, named by the requester, or remembered from the last round.

Called by the planner only.
"""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from graphs.planning import runbooks, slots
from graphs.planning.plan import Cited
from graphs.planning.runbooks import Runbook, RunbookDocument
from graphs.planning.slots import SlotValue
from memory.errors import Permanent
from tools.action import Json


class RunbookItem(Protocol):
    """A knowledge item in its current version."""

    @property
    def id(self) -> str:
        """Id of the item; for runbooks that of the front matter."""
        ...

    @property
    def version(self) -> int:
        """Version under which knowledge holds it."""
        ...

    @property
    def body(self) -> str:
        """The whole text, front matter included."""
        ...


class RunbookHit(RunbookItem, Protocol):
    """An item that the search found."""

    @property
    def score(self) -> float:
        """Similarity between 0 and 1."""
        ...


FindRunbooks = Callable[[str], Awaitable[Sequence[RunbookHit]]]
"""Returns the runbooks nearest to a text, best first; bound to what the requester may read."""
ReadRunbook = Callable[[str], Awaitable[RunbookItem]]
"""Returns the current version of a runbook; raises Permanent `not_found`."""


@dataclass(frozen=True, slots=True)
class PlannerLimits:
    """When a likeness of words is worth a look at the facts."""

    score: float = 0.18
    """Below this nothing is looked at: people are asked."""
    margin: float = 0.05
    """Candidates this close to the best are equals; only their probes may tell them apart."""
    rounds: int = 6
    """Plans and questions after which the planner gives up."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What the probe of one candidate saw: None if it could not be made or answered nothing usable."""

    equal: bool
    """True if the candidate is as good as the best one."""
    true: bool | None


def worth_a_look(hits: Sequence[RunbookHit], limits: PlannerLimits) -> list[tuple[RunbookHit, bool]]:
    """Return the hits above the threshold, each with whether it is as good as the best."""
    best = max((hit.score for hit in hits), default=0.0)
    return [(hit, hit.score >= best - limits.margin) for hit in hits if hit.score >= limits.score]


def conclude(sights: Sequence[Sight]) -> int | Literal["nothing_wrong", "unclear"]:
    """Return the position of the one candidate to act on, or why there is none.

    Facts decide: a single equal whose probe is true is chosen. A true probe of a lesser candidate never starts
    anything, but it does forbid the answer that nothing is wrong.
    """
    chosen = [position for position, sight in enumerate(sights) if sight.equal and sight.true]
    if len(chosen) == 1:
        return chosen[0]
    if chosen or any(sight.true is not False for sight in sights if sight.equal) or any(s.true for s in sights):
        return "unclear"
    return "nothing_wrong" if sights else "unclear"


State = Mapping[str, Any]

_NAMED = re.compile(r"\b[a-z][a-z0-9]*(?:\.[a-z0-9]+(?:-[a-z0-9]+)*)+\b")
_MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class RunbookCandidate:
    """One runbook in question and the step that looks whether its situation is there."""

    document: RunbookDocument
    score: float
    equal: bool
    """True if it is as good as the best."""
    probe: str = ""
    """Step id of its probe; empty if the probe could not be made."""

    @property
    def runbook(self) -> Runbook:
        """The plan that people wrote."""
        return self.document.runbook

    @property
    def cited(self) -> Cited:
        """The version it rests on."""
        return Cited(id=self.runbook.id, version=self.runbook.version)

    def as_json(self) -> dict[str, Json]:
        """Return the candidate as it stands in state; the score is in thousandths."""
        score = round(self.score * 1000)
        return {**self.cited.model_dump(), "score": score, "equal": self.equal, "probe": self.probe}

    def inputs(self, state: State, probe: Mapping[str, Json] | None = None) -> dict[str, SlotValue]:
        """Return the slots that request, configuration and probe fill."""
        return slots.bind(self.runbook.slots, request(state), state.get("inputs") or {}, probe)


async def gather(
    find: FindRunbooks, current: ReadRunbook, state: State, limits: PlannerLimits
) -> tuple[list[RunbookCandidate], list[str]]:
    """Return the candidates, best first, and what is wrong with runbooks that cannot be read.

    A runbook that the requester names, or completes after being asked for a detail, comes before any search.
    """
    named = [(item, True, 1.0) for name in _named(state) if (item := await _newest(current, name))]
    found, problems = _readable(named)
    if state.get("runbook") and not named:
        return [], [f"there is no runbook {state['runbook']!r}; `knowledge ls` names those there are"]
    if found:
        return found, problems
    hits = worth_a_look(await find(slots.words(request(state))), limits)
    found, more = _readable([(hit, equal, hit.score) for hit, equal in hits])
    return found, [*problems, *more]


async def recall(current: ReadRunbook, state: State) -> list[RunbookCandidate]:
    """Return the candidates of the last round in their newest versions; one that was withdrawn is left out."""
    found: list[RunbookCandidate] = []
    for entry in state.get("candidates") or ():
        item = await _newest(current, entry["id"])
        if item:
            document = runbooks.parse(item.body, version=item.version)
            found.append(RunbookCandidate(document, entry["score"] / 1000, entry["equal"], entry["probe"]))
    return found


def request(state: State) -> str:
    """Return what the requester said, answers included."""
    return str(state.get("request") or "")


async def _newest(current: ReadRunbook, id: str) -> RunbookItem | None:
    try:
        return await current(id)
    except Permanent as error:
        if error.code == "not_found":
            return None
        raise


def _named(state: State) -> list[str]:
    if state.get("runbook"):
        return [str(state["runbook"])]
    asked: Mapping[str, Any] = state.get("clarify") or {}
    offered = [str(candidate["id"]) for candidate in asked.get("candidates") or ()]
    answer = request(state).rstrip().rpartition("\n")[2].strip().rstrip(".")
    if offered and answer.isdecimal() and 1 <= int(answer) <= len(offered):
        return [offered[int(answer) - 1]]
    return list(dict.fromkeys(_NAMED.findall(request(state))))[:_MOST_NAMED] or _completed(asked, state)


def _completed(asked: Mapping[str, Any], state: State) -> list[str]:
    """Return the runbook that lacked a detail, if the answer now holds a value of the type that was asked for."""
    kinds: Sequence[slots.SlotType] = asked.get("missing") or ()
    complete = kinds and all(slots.extract(kind, request(state)) is not None for kind in kinds)
    return [str(asked["runbook"])] if complete else []


def _readable(found: Sequence[tuple[RunbookItem, bool, float]]) -> tuple[list[RunbookCandidate], list[str]]:
    candidates: list[RunbookCandidate] = []
    problems: list[str] = []
    for item, equal, score in found:
        try:
            candidates.append(RunbookCandidate(runbooks.parse(item.body, version=item.version), score, equal))
        except Permanent as error:
            problems.append(f"{item.id!r} version {item.version}: {error}")
    return candidates, problems
