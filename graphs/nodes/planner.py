"""The planner: from a request to plans, first one that only reads, then one that repairs; it has no means to act.

The flow calls it at the start, after an investigation, after an answer, and when knowledge went stale.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from graphs.execution.capabilities import Planner, RecallMemories
from graphs.execution.plans import plan_of
from graphs.planning import candidates, runbooks, sights
from graphs.planning.candidates import FindRunbooks, PlannerLimits, ReadRunbook, RunbookCandidate, Sight
from graphs.planning.drafting import Drafter, DraftMaterial, facts
from graphs.planning.plan import Plan
from graphs.planning.proposal import Proposal, Recollection
from graphs.planning.slots import SlotValue
from graphs.planning.validation import validate
from graphs.state import Clarify, State
from memory.errors import Permanent
from memory.store.context import MemoryExcerpt
from tools.action import Json
from tools.catalog import ToolCard
from tools.money import DEFAULT

_CLEAR: Proposal = {"clarify": None, "verdict": None, "stale": False, "violations": []}
_NO_RUNBOOK = "I found no runbook for this; say in other words what is wrong, or name a runbook"


def make_planner(
    find: FindRunbooks,
    current: ReadRunbook,
    cards: Mapping[str, ToolCard],
    *,
    draft: Drafter | None = None,
    recall: RecallMemories | None = None,
    limits: PlannerLimits | None = None,
    accounting: str = DEFAULT,
) -> Planner:
    """Return the planner of one run; the callables are bound to what its requester may read.

    It answers with a plan, or with a question in `clarify`, or with a `verdict` (`nothing_wrong`, `stale_knowledge`),
    and a `note` for people.
    """
    recall, limits = recall or _recall_nothing, limits or PlannerLimits()
    return _Planner(find, current, cards, draft, recall, limits, accounting).propose


@dataclass(frozen=True, slots=True)
class _Planner:
    find: FindRunbooks
    current: ReadRunbook
    cards: Mapping[str, ToolCard]
    draft: Drafter | None
    recall: RecallMemories
    limits: PlannerLimits
    accounting: str

    async def propose(self, state: State) -> Proposal:
        number = _round(state)
        if number > self.limits.rounds:
            raise Permanent("no_progress", f"no plan after {self.limits.rounds} rounds; ask again in other words")
        try:
            proposal = await self._next(state)
        except Permanent as error:
            if error.code != "plan_invalid":
                raise
            proposal = _ask(f"the plan cannot be run: {error}")
        return {**_CLEAR, "round": number, **proposal}

    async def _next(self, state: State) -> Proposal:
        plan = plan_of(state) if state.get("plan") else None
        is_stale = bool(state.get("stale"))
        if plan and plan.source == "given":
            note = "the given plan rests on knowledge that has a newer version; read it and send a new plan"
            return {"plan": None, "verdict": "stale_knowledge", "note": note}
        if plan and plan.kind == "repair" and is_stale:
            return await self._renew(state, plan, self._account(await candidates.renew(self.current, state)))
        if plan and not is_stale:
            options = self._account(await candidates.renew(self.current, state))
            if options and _are_unchanged(options, state):
                return await self._choose(state, options)
        return await self._investigate(state)

    def _account(self, options: Sequence[RunbookCandidate]) -> list[RunbookCandidate]:
        """Return candidates that read amounts in the currency of the accounts."""
        return [replace(option, accounting=self.accounting) for option in options]

    async def _investigate(self, state: State) -> Proposal:
        readable, problems = await candidates.gather(self.find, self.current, state, self.limits)
        if not readable:
            return _ask("; ".join([_NO_RUNBOOK, *problems]))
        options = _number(self._account(readable), state)
        probes = [
            runbooks.probe(candidate.runbook, candidate.probe, candidate.inputs(state))
            for candidate in options
            if candidate.probe
        ]
        if not probes:
            return _ask_for(options[0], _missing(options[0], state))
        citations = tuple(candidate.citation for candidate in options)
        plan = runbooks.investigation(candidates.request(state), probes, citations)
        titles = ", ".join(candidate.document.title for candidate in options if candidate.probe)
        proposal = self._propose(plan, f"looking at {titles} before planning anything")
        return {**proposal, "candidates": [candidate.as_state() for candidate in options]}

    async def _choose(self, state: State, options: Sequence[RunbookCandidate]) -> Proposal:
        choice = candidates.conclude([Sight(candidate.equal, sights.sight(candidate, state)) for candidate in options])
        if choice == "nothing_wrong":
            note = next(candidate.runbook.nothing_wrong for candidate in options if candidate.equal)
            return {"plan": None, "verdict": "nothing_wrong", "note": note}
        if choice == "unclear":
            return _ask_which(options, state)
        return await self._repair(state, options[choice], options, {})

    async def _renew(self, state: State, plan: Plan, current: Sequence[RunbookCandidate]) -> Proposal:
        for candidate in current:
            if candidate.runbook.id == plan.id:
                return await self._repair(state, candidate, current, plan.inputs)
        return _ask(f"runbook {plan.id!r} was withdrawn while its plan was open; say what should happen instead")

    async def _repair(
        self,
        state: State,
        choice: RunbookCandidate,
        options: Sequence[RunbookCandidate],
        fallback: Mapping[str, SlotValue],
    ) -> Proposal:
        slots = choice.runbook.slots
        inputs = {name: fallback[name] for name in fallback.keys() & slots.keys()}
        inputs |= choice.inputs(state, sights.result(choice, state))
        if missing := slots.keys() - inputs.keys():
            return _ask_for(choice, missing)
        note = f"{choice.document.title}: planned from {choice.runbook.id} version {choice.citation.version}"
        if self.draft:
            documents = [choice, *(candidate for candidate in options if candidate is not choice)]
            return await self._draft(self.draft, _material(state, documents, inputs), note)
        plan = runbooks.plan(choice.runbook, candidates.request(state), inputs)
        earlier = await self.recall("", choice.runbook.id)
        return _with_memories(self._propose(plan, note + _last_time(earlier)), earlier, ["m1"])

    async def _draft(self, draft: Drafter, material: DraftMaterial, note: str) -> Proposal:
        document = material.documents[0]
        memory = await self.recall(material.request, document.runbook.id)
        result = await draft(replace(material, memory=memory.lines))
        if result.plan:
            proposal = self._propose(result.plan, f"{note}, drafted by the model")
        else:
            silence = f"no usable plan came for {document.title}; say exactly what should happen"
            proposal = _ask(result.question or silence)
        violations: list[dict[str, Json]] = [{**violation.as_json()} for violation in result.violations]
        return _with_memories({**proposal, "violations": violations}, memory, result.uses)

    def _propose(self, plan: Plan, note: str) -> Proposal:
        # A model's plan was validated with the literals that it may repeat, when it was drafted.
        if plan.source != "model" and (problems := validate(plan, self.cards)):
            raise Permanent("plan_invalid", "; ".join(problems[:5]))
        return {"plan": plan, "note": note}


async def _recall_nothing(request: str, runbook: str) -> MemoryExcerpt:
    """Remember nothing."""
    return MemoryExcerpt()


def _with_memories(proposal: Proposal, memory: MemoryExcerpt, uses: Sequence[str]) -> Proposal:
    """Add which memories were before the planner, and which of them it relied on."""
    ids = [item.id for item in memory.memories]
    return {**proposal, "recalled": Recollection(shown=ids, cited=[*memory.ids_of(uses)])} if ids else proposal


def _last_time(earlier: MemoryExcerpt) -> str:
    """Return how the last run of the same runbook ended, for people."""
    return f"; last time: {earlier.memories[0].body.partition(';')[0]}" if earlier.memories else ""


def _round(state: State) -> int:
    return state.get("round", 0) + 1


def _are_unchanged(current: Sequence[RunbookCandidate], state: State) -> bool:
    """Return whether the runbooks still have the versions that the investigation looked at."""
    versions = [candidate["version"] for candidate in state.get("candidates", [])]
    return [candidate.citation.version for candidate in current] == versions


def _number(readable: Sequence[RunbookCandidate], state: State) -> list[RunbookCandidate]:
    """Give each candidate whose probe can be made a step id that no earlier round used."""
    return [
        candidate if _missing(candidate, state) else replace(candidate, probe=f"probe_{_round(state)}_{number}")
        for number, candidate in enumerate(readable, 1)
    ]


def _missing(candidate: RunbookCandidate, state: State) -> frozenset[str]:
    return runbooks.needs(candidate.runbook) - candidate.inputs(state).keys()


def _ask_which(options: Sequence[RunbookCandidate], state: State) -> Proposal:
    equals = [candidate for candidate in options if candidate.equal]
    if question := sights.silence(options, state):
        return _ask(question, again=sights.probed_ids(options))
    if len(equals) == 1 and (question := sights.own_question(equals[0], state)):
        return _ask(question, runbook=equals[0].runbook.id)
    choices = [
        {"id": candidate.runbook.id, "title": candidate.document.title, "seen": sights.words(candidate, state)}
        for candidate in options
    ]
    lines = [f"{n}. {choice['title']} ({choice['id']}): {choice['seen']}" for n, choice in enumerate(choices, 1)]
    return _ask("\n".join(["Which of these is meant? Answer with a number, or say more.", *lines]), choices)


def _ask_for(candidate: RunbookCandidate, missing: Iterable[str]) -> Proposal:
    slots = {name: candidate.runbook.slots[name] for name in sorted(missing)}
    questions = [slot.ask or f"{name} ({slot.type})" for name, slot in slots.items()]
    question = f"{candidate.document.title} needs more: {'; '.join(questions)}"
    return _ask(question, runbook=candidate.runbook.id, missing=[slot.type for slot in slots.values()])


def _ask(
    question: str,
    choices: Sequence[Mapping[str, str]] = (),
    *,
    runbook: str | None = None,
    missing: Sequence[str] = (),
    again: Sequence[str] = (),
) -> Proposal:
    clarify = Clarify(question=question, candidates=[{**choice} for choice in choices])
    if runbook:
        clarify["runbook"] = runbook
    if missing:
        clarify["missing"] = [*missing]
    if again:
        clarify["again"] = [*again]
    return {"plan": None, "candidates": [], "clarify": clarify, "note": question}


def _material(state: State, documents: Sequence[RunbookCandidate], inputs: Mapping[str, SlotValue]) -> DraftMaterial:
    probe_facts = {candidate.runbook.id: facts(sights.result(candidate, state) or {}) for candidate in documents}
    return DraftMaterial(
        candidates.request(state), [candidate.document for candidate in documents], probe_facts, inputs
    )
