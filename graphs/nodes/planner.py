"""The planner: from a request to plans, first one that only looks, then one that repairs; it has no means to act.

The flow calls the node at the start, after an investigation, after an answer, and when knowledge went stale.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from graphs.execution.capabilities import RecallMemories
from graphs.planning import candidates, runbooks
from graphs.planning.candidates import FindRunbooks, PlannerLimits, ReadRunbook, RunbookCandidate, Sight, State
from graphs.planning.drafting import Drafter, DraftMaterial, facts
from graphs.planning.plan import Plan
from graphs.planning.slots import SlotValue
from graphs.planning.validation import Card, validate
from memory.errors import Permanent
from memory.store.context import MemoryExcerpt
from tools.action import Json

Update = dict[str, Any]
Planner = Callable[[State], Awaitable[Update]]

_CLEAR: Update = {"clarify": None, "verdict": None, "stale": False, "violations": []}
_UNKNOWN = "I found no runbook for this; say in other words what is wrong, or name a runbook"
_SEEN = {True: "its check found something", False: "its check found nothing", None: "its check left it open"}


def make_planner(
    find: FindRunbooks,
    current: ReadRunbook,
    cards: Mapping[str, Card],
    *,
    draft: Drafter | None = None,
    recall: RecallMemories | None = None,
    limits: PlannerLimits | None = None,
) -> Planner:
    """Return the planner node of one run; the callables are bound to what its requester may read.

    An update holds a `plan`, or a question in `clarify`, or a `verdict` (`nothing_wrong`, `stale_knowledge`), and a
    `note` for people. For the journal, breaches of contract by a model are in `violations`, and which memories were
    shown and cited, by id, in `recalled`.
    """
    return _Planner(find, current, cards, draft, recall or _nothing, limits or PlannerLimits()).node


@dataclass(frozen=True, slots=True)
class _Planner:
    find: FindRunbooks
    current: ReadRunbook
    cards: Mapping[str, Card]
    draft: Drafter | None
    recall: RecallMemories
    limits: PlannerLimits

    async def node(self, state: State) -> Update:
        round = int(state.get("round") or 0) + 1
        if round > self.limits.rounds:
            raise Permanent("no_progress", f"no plan after {self.limits.rounds} rounds; ask again in other words")
        try:
            update = await self._next(state)
        except Permanent as error:
            if error.code != "plan_invalid":
                raise
            update = _ask(f"the plan cannot be run: {error}")
        return {**_CLEAR, "round": round, **update}

    async def _next(self, state: State) -> Update:
        plan = Plan.model_validate(state["plan"]) if state.get("plan") else None
        stale = bool(state.get("stale"))
        if plan and plan.source == "given":
            note = "the given plan rests on knowledge that has a newer version; read it and send a new plan"
            return {"plan": None, "verdict": "stale_knowledge", "note": note}
        if plan and plan.kind == "repair" and stale:
            return await self._renew(state, plan, await candidates.recall(self.current, state))
        known = await candidates.recall(self.current, state) if plan and not stale else []
        if known and [each.cited.version for each in known] == [each["version"] for each in state["candidates"]]:
            return await self._choose(state, known)
        return await self._investigate(state)

    async def _investigate(self, state: State) -> Update:
        found, broken = await candidates.gather(self.find, self.current, state, self.limits)
        if not found:
            return _ask("; ".join([_UNKNOWN, *broken]))
        probed = _number(found, state)
        steps = [runbooks.probe(each.runbook, each.probe, each.inputs(state)) for each in probed if each.probe]
        if not steps:
            return _ask_for(probed[0], _lacks(probed[0], state))
        plan = runbooks.investigation(candidates.request(state), steps, tuple(each.cited for each in probed))
        note = f"looking at {', '.join(each.document.title for each in probed if each.probe)} before planning anything"
        return self._planned(plan, note) | {"candidates": [each.as_json() for each in probed]}

    async def _choose(self, state: State, known: Sequence[RunbookCandidate]) -> Update:
        chosen = candidates.conclude([Sight(each.equal, _saw(each, state)) for each in known])
        if chosen == "nothing_wrong":
            note = next(each.runbook.nothing_wrong for each in known if each.equal)
            return {"plan": None, "verdict": "nothing_wrong", "note": note}
        if chosen == "unclear":
            return _which(known, state)
        return await self._repair(state, known[chosen], known, {})

    async def _renew(self, state: State, plan: Plan, known: Sequence[RunbookCandidate]) -> Update:
        for each in known:
            if each.runbook.id == plan.id:
                return await self._repair(state, each, known, plan.inputs)
        return _ask(f"runbook {plan.id!r} was withdrawn while its plan was open; say what should happen instead")

    async def _repair(
        self,
        state: State,
        chosen: RunbookCandidate,
        known: Sequence[RunbookCandidate],
        fallback: Mapping[str, SlotValue],
    ) -> Update:
        slots = chosen.runbook.slots
        inputs = {name: fallback[name] for name in fallback.keys() & slots.keys()}
        inputs |= chosen.inputs(state, _result(chosen, state))
        if missing := slots.keys() - inputs.keys():
            return _ask_for(chosen, missing)
        note = f"{chosen.document.title}: planned from {chosen.runbook.id} version {chosen.cited.version}"
        if self.draft:
            documents = [chosen, *(each for each in known if each is not chosen)]
            return await self._drafted(self.draft, _material(state, documents, inputs), note)
        plan = runbooks.plan(chosen.runbook, candidates.request(state), inputs)
        earlier = await self.recall("", chosen.runbook.id)
        return self._planned(plan, note + _last_time(earlier)) | _recalled(earlier, ["m1"])

    async def _drafted(self, draft: Drafter, material: DraftMaterial, note: str) -> Update:
        document = material.documents[0]
        memory = await self.recall(material.request, document.runbook.id)
        drafted = await draft(replace(material, memory=memory.lines))
        told = {"violations": [violation.as_json() for violation in drafted.violations]}
        if not drafted.plan:
            question = drafted.question or f"no usable plan came for {document.title}; say exactly what should happen"
            return _ask(question) | told | _recalled(memory, drafted.uses)
        return self._planned(drafted.plan, f"{note}, drafted by the model") | told | _recalled(memory, drafted.uses)

    def _planned(self, plan: Plan, note: str) -> Update:
        if plan.source != "model" and (problems := validate(plan, self.cards)):
            raise Permanent("plan_invalid", "; ".join(problems[:5]))
        return {"plan": plan.model_dump(mode="json"), "note": note}


async def _nothing(request: str, runbook: str) -> MemoryExcerpt:
    """Remember nothing."""
    return MemoryExcerpt()


def _recalled(memory: MemoryExcerpt, uses: Sequence[str]) -> Update:
    shown = [each.id for each in memory.memories]
    return {"recalled": {"shown": shown, "cited": [*memory.ids_of(uses)]}} if shown else {}


def _last_time(earlier: MemoryExcerpt) -> str:
    """Return how the last run of the same runbook ended, for people."""
    return f"; last time: {earlier.memories[0].body.partition(';')[0]}" if earlier.memories else ""


def _number(found: Sequence[RunbookCandidate], state: State) -> list[RunbookCandidate]:
    """Give each candidate whose probe can be made a step id that no earlier round used."""
    round = int(state.get("round") or 0) + 1
    return [
        replace(each, probe=f"probe_{round}_{number}") if not _lacks(each, state) else each
        for number, each in enumerate(found, 1)
    ]


def _lacks(candidate: RunbookCandidate, state: State) -> frozenset[str]:
    return runbooks.needs(candidate.runbook) - candidate.inputs(state).keys()


def _result(candidate: RunbookCandidate, state: State) -> Mapping[str, Json] | None:
    results: Mapping[str, Mapping[str, Json]] = state.get("results") or {}
    found = results.get(candidate.probe)
    return None if found is None or found.get("skipped") is True else found


def _saw(candidate: RunbookCandidate, state: State) -> bool | None:
    """Return whether the probe shows the runbook's situation, or None if it leaves that open."""
    result = _result(candidate, state)
    if result is None or _own_question(candidate, state):
        return None
    condition = candidate.runbook.probe.condition
    answer = runbooks.holds(candidate.runbook, condition, candidate.inputs(state, result), result)
    return None if answer.reason else answer.is_true


def _own_question(candidate: RunbookCandidate, state: State) -> str:
    """Return what the runbook wants asked when the probe shows that the request can mean several things."""
    ask, result = candidate.runbook.probe.ask, _result(candidate, state)
    if ask is None or result is None:
        return ""
    several = runbooks.holds(candidate.runbook, ask.when, candidate.inputs(state, result), result)
    return ask.text if several.is_true else ""


def _which(known: Sequence[RunbookCandidate], state: State) -> Update:
    equals = [each for each in known if each.equal]
    if len(equals) == 1 and (question := _own_question(equals[0], state)):
        return _ask(question, runbook=equals[0].runbook.id)
    listed = [{"id": each.runbook.id, "title": each.document.title, "seen": _SEEN[_saw(each, state)]} for each in known]
    lines = [f"{number}. {each['title']} ({each['id']}): {each['seen']}" for number, each in enumerate(listed, 1)]
    return _ask("\n".join(["Which of these is meant? Answer with a number, or say more.", *lines]), listed)


def _ask_for(candidate: RunbookCandidate, missing: Iterable[str]) -> Update:
    slots = [candidate.runbook.slots[name] for name in sorted(missing)]
    wanted = [slot.ask or f"{name} ({slot.type})" for name, slot in zip(sorted(missing), slots, strict=True)]
    question = f"{candidate.document.title} needs more: {'; '.join(wanted)}"
    return _ask(question, runbook=candidate.runbook.id, missing=[slot.type for slot in slots])


def _ask(question: str, listed: Sequence[Mapping[str, str]] = (), **more: object) -> Update:
    clarify = {"question": question, "candidates": [*listed], **more}
    return {"plan": None, "candidates": [], "clarify": clarify, "note": question}


def _material(state: State, documents: Sequence[RunbookCandidate], inputs: Mapping[str, SlotValue]) -> DraftMaterial:
    seen = {each.runbook.id: facts(_result(each, state) or {}) for each in documents}
    return DraftMaterial(candidates.request(state), [each.document for each in documents], seen, inputs)
