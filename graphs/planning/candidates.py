"""Candidate runbooks for one request: retrieved by words, named by the requester, or kept from the last round.

Called by the planner only.
"""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, cast

from graphs.planning import runbooks, slots
from graphs.planning.plan import Citation
from graphs.planning.runbooks import Runbook, RunbookDocument
from graphs.planning.slots import SlotValue
from graphs.state import CandidateState, Clarify, State
from memory.errors import Permanent
from tools.action import Json
from tools.money import DEFAULT


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
    """An item as the search ranks it."""

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
    """Thresholds of the planner; measured on phrasings that no runbook contains."""

    score: float = 0.18
    """Similarity below which nothing is probed: people are asked."""
    margin: float = 0.05
    """Candidates this close to the best are equals; only their probes may tell them apart."""
    rounds: int = 6
    """Plans and questions after which the planner gives up."""


@dataclass(frozen=True, slots=True)
class Sight:
    """Result of the probe of one candidate."""

    equal: bool
    """True if the candidate is as good as the best one."""
    true: bool | None
    """Whether the runbook's situation is there; None if the probe could not be made or left it open."""


def worth_a_look(hits: Sequence[RunbookHit], limits: PlannerLimits) -> list[tuple[RunbookHit, bool]]:
    """Return the hits above the threshold, each with whether it is as good as the best."""
    best = max((hit.score for hit in hits), default=0.0)
    return [(hit, hit.score >= best - limits.margin) for hit in hits if hit.score >= limits.score]


def conclude(sights: Sequence[Sight]) -> int | Literal["nothing_wrong", "unclear"]:
    """Return the position of the one candidate to act on, or why there is none.

    Facts decide: a single equal whose probe is true is chosen. A true probe of a lesser candidate never starts
    anything, but it does forbid the answer that nothing is wrong.
    """
    positions = [position for position, sight in enumerate(sights) if sight.equal and sight.true]
    if len(positions) == 1:
        return positions[0]
    if positions or any(sight.true is not False for sight in sights if sight.equal) or any(s.true for s in sights):
        return "unclear"
    return "nothing_wrong" if sights else "unclear"


_RUNBOOK_ID = re.compile(r"\b[a-z][a-z0-9]*(?:\.[a-z0-9]+(?:-[a-z0-9]+)*)+\b")
_MOST_IDS = 5
_YES = re.compile(r"(yes|y|ok|okay|sure|please|again|retry|once more|try (it )?again)( please)?[.!]?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class RunbookCandidate:
    """One runbook in question and the step that probes whether its situation is there."""

    document: RunbookDocument
    score: float
    equal: bool
    """True if it is as good as the best."""
    probe: str = ""
    """Step id of its probe; empty if the probe could not be made."""
    accounting: str = DEFAULT
    """Currency of amounts in the request of which a slot says no other."""

    @property
    def runbook(self) -> Runbook:
        """The plan that people wrote."""
        return self.document.runbook

    @property
    def citation(self) -> Citation:
        """The version that a plan from it rests on."""
        return Citation(id=self.runbook.id, version=self.runbook.version)

    def as_state(self) -> CandidateState:
        """Return the candidate as it stands in state."""
        return CandidateState(
            id=self.runbook.id,
            version=self.runbook.version,
            score=round(self.score * 1000),
            equal=self.equal,
            probe=self.probe,
        )

    def inputs(self, state: State, probe: Mapping[str, Json] | None = None) -> dict[str, SlotValue]:
        """Return the slots that request, configuration and probe fill."""
        given = state.get("inputs") or {}
        words = slots.Words(request(state), state.get("amount_answer", ""), self.accounting)
        return slots.bind(self.runbook.slots, words, given, probe)


async def gather(
    find: FindRunbooks, current: ReadRunbook, state: State, limits: PlannerLimits
) -> tuple[list[RunbookCandidate], list[str]]:
    """Return the candidates, best first, and what is wrong with runbooks that cannot be read.

    A runbook that the requester names, or completes after being asked for a detail, comes before any search.
    """
    items = [(item, True, 1.0) for id in _ids(state) if (item := await _newest(current, id))]
    candidates, problems = _parse(items)
    if (id := state.get("runbook")) and not items:
        return [], [f"there is no runbook {id!r}; `knowledge ls` names those there are"]
    if candidates:
        return candidates, problems
    hits = worth_a_look(await find(slots.words(request(state))), limits)
    candidates, search_problems = _parse([(hit, equal, hit.score) for hit, equal in hits])
    return candidates, [*problems, *search_problems]


async def renew(current: ReadRunbook, state: State) -> list[RunbookCandidate]:
    """Return the candidates of the last round in their newest versions; one that was withdrawn is left out."""
    candidates: list[RunbookCandidate] = []
    for entry in state.get("candidates") or ():
        if item := await _newest(current, entry["id"]):
            document = runbooks.parse(item.body, version=item.version)
            candidates.append(RunbookCandidate(document, entry["score"] / 1000, entry["equal"], entry["probe"]))
    return candidates


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


def _ids(state: State) -> list[str]:
    """Return the ids that the requester names: for the whole run, by number in an answer, or in a sentence."""
    if id := state.get("runbook"):
        return [id]
    question = state.get("clarify")
    choices = [str(candidate["id"]) for candidate in question["candidates"]] if question else []
    answer = request(state).rstrip().rpartition("\n")[2].strip().rstrip(".")
    if choices and answer.isdecimal() and 1 <= int(answer) <= len(choices):
        return [choices[int(answer) - 1]]
    if question and _is_yes(answer) and (again := question.get("again")):
        return again
    return list(dict.fromkeys(_RUNBOOK_ID.findall(request(state))))[:_MOST_IDS] or _completed_id(question, state)


def _is_yes(answer: str) -> bool:
    """Return whether an answer only says that it should be tried again."""
    return _YES.fullmatch(answer.strip()) is not None


def _completed_id(question: Clarify | None, state: State) -> list[str]:
    """Return the runbook that lacked a detail, if the answer now holds a value of the type that was asked for."""
    types = cast(Sequence[slots.SlotType], question.get("missing", ())) if question else ()
    words = slots.Words(request(state), state.get("amount_answer", ""), None)
    is_complete = types and all(words.read(type) is not None for type in types)
    return [question.get("runbook", "")] if question and is_complete else []


def _parse(items: Sequence[tuple[RunbookItem, bool, float]]) -> tuple[list[RunbookCandidate], list[str]]:
    """Return the candidates that can be read, and a problem for every other."""
    candidates: list[RunbookCandidate] = []
    problems: list[str] = []
    for item, equal, score in items:
        try:
            candidates.append(RunbookCandidate(runbooks.parse(item.body, version=item.version), score, equal))
        except Permanent as error:
            problems.append(f"{item.id!r} version {item.version}: {error}")
    return candidates, problems
