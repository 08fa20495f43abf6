"""One turn of those who act: from the current step to one action, and from its outcome to the new state."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from graphs.execution import binding
from graphs.execution.binding import CutOut
from graphs.execution.capabilities import Invocation
from graphs.execution.cursor import Results, passed, plan_of, remaining_rows
from graphs.planning.plan import Plan, Step, refs
from graphs.planning.validation import Card, tainted
from graphs.state import Obstacle, State, Update
from tools.action import Action, Json, Outcome, Role


@dataclass(frozen=True, slots=True)
class BoundStep:
    """What is to be done now: a step of the plan, and which batch of it."""

    plan: Plan
    step: Step
    item: int
    of: int | None
    """How many batches the step has; None if it is not batched."""
    results: Results
    hash: str
    tainted: bool
    """True if an argument may stem from an outsider's words."""

    @classmethod
    def at(cls, state: State, cards: Mapping[str, Card]) -> "BoundStep":
        """Return the step that a state stands at."""
        plan = plan_of(state)
        step, results = plan.steps[state.get("cursor", 0)], state.get("results", {})
        of = binding.batches(step, plan.inputs, results)
        return cls(plan, step, state.get("item", 0), of, results, state.get("plan_hash", ""), _dirty(plan, step, cards))

    def name(self, item: int) -> str:
        """Return the step id of an action, numbered from 1 if there are several."""
        return self.step.id if self.of is None else f"{self.step.id}#{item + 1}"

    async def arguments(self, cut: CutOut, item: int) -> dict[str, Json]:
        """Return the resolved arguments of one of the step's actions."""
        return await binding.resolve(
            self.step, self.plan.inputs, self.results, cut=cut, batch=None if self.of is None else item
        )

    def action(self, turn: Invocation, role: Role, item: int, args: Mapping[str, Json], exposure: int = 0) -> Action:
        """Return one of the step's actions."""
        return Action(
            run=turn.lease.run,
            step=self.name(item),
            role=role,
            tool=self.step.tool,
            args=args,
            plan_hash=self.hash,
            user=turn.lease.access.principal.id,
            pins=self.plan.pins,
            exposure=exposure,
            is_tainted=self.tainted,
            checkpoint=turn.checkpoint,
            progress=self._progress(item, args),
        )

    def _progress(self, item: int, args: Mapping[str, Json]) -> dict[str, Json]:
        if self.step.batch is None or self.of is None:
            return {}
        total = remaining_rows(self.plan, self.step, self.results)
        done = total if item + 1 == self.of else (item + 1) * _count(args.get(self.step.batch.into))
        return {"step": self.step.id, "batch": item + 1, "of": self.of, "done": done, "total": total}


def concluded(state: State, current: BoundStep, outcome: Outcome, args: Mapping[str, Json]) -> Update:
    """Return the state after an action's outcome."""
    match outcome.state:
        case "done" | "skipped":
            return _done(state, current, outcome, args)
        case "denied" if outcome.code == "stale_knowledge":
            return {"stale": True, "outcome": None, "override": None}
        case "failed":
            return _failed(state, current, outcome)
        case other:
            held = Obstacle(state=other, code=outcome.code, message=outcome.message, approval=outcome.approval)
            return {"outcome": held}


def _done(state: State, current: BoundStep, outcome: Outcome, args: Mapping[str, Json]) -> Update:
    met = binding.is_met(current.plan, current.step, current.results, outcome.result, args)
    if not met.is_true:
        why = met.reason or f"expected {current.step.expect!r}, which does not hold"
        message = f"step {current.name(current.item)!r}: {why}"
        return {"outcome": Obstacle(state="unverified", code="unverified", message=message)}
    return _without_override(state, _passed(state, current, _result(current, outcome)))


def _result(current: BoundStep, outcome: Outcome) -> dict[str, Json]:
    """Return what stays of an action; the effect's id only of single ones, since batches have many."""
    result = dict(outcome.result)
    if outcome.state == "skipped":
        result["already_done"] = 1
    if outcome.effect and current.of is None:
        result["effect"] = outcome.effect
    return result


def _failed(state: State, current: BoundStep, outcome: Outcome) -> Update:
    step = current.step
    if step.on_failure == "continue":
        failed: dict[str, Json] = {"failed": 1, "message": outcome.message[:200]}
        return _without_override(state, _passed(state, current, failed))
    failure = Obstacle(
        state="failed", code=outcome.code, message=f"step {current.name(current.item)!r}: {outcome.message}"
    )
    undo = to_undo(state, current.plan) if step.on_failure == "compensate" else []
    return {"failure": failure, "undo": undo, "undone": [], "manual": by_hand(state, current.plan, undo)}


def _passed(state: State, current: BoundStep, result: dict[str, Json]) -> Update:
    """Return the state after one action of the step: at its next batch, or at the next step."""
    if current.of is None:
        return passed(state, current.plan, result)
    tally = added(state.get("tally", {}), result)
    if current.item + 1 < current.of:
        return {"item": current.item + 1, "tally": tally}
    return passed({**state, "item": 1}, current.plan, {**tally, "batches": current.of})


def added(tally: Mapping[str, Json], result: Mapping[str, Json]) -> dict[str, Json]:
    """Return sums over batches: numbers add up, flags must all hold, of texts the last stays; the rest is dropped."""
    told = {name: value for name, value in result.items() if isinstance(value, int | str)}
    return {**tally, **{name: _sum(tally.get(name), value) for name, value in told.items()}}


def _sum(old: Json, new: int | str) -> Json:
    if isinstance(new, bool):
        return new and old is not False
    return new + old if isinstance(new, int) and isinstance(old, int) else new


def _count(part: Json) -> int:
    count = part.get("count") if isinstance(part, Mapping) else 0
    return count if isinstance(count, int) else 0


def _without_override(state: State, update: Update) -> Update:
    return {**update, "override": None} if state.get("override") else update


def _dirty(plan: Plan, step: Step, cards: Mapping[str, Card]) -> bool:
    dirty = tainted(plan, cards)
    return any(ref.ref.split(".")[0] == "steps" and ref.ref.split(".")[1] in dirty for ref in refs(step))


_NOTHING = {"skipped", "reason", "failed", "message"}
"""What the result of a step may hold although nothing was changed."""


def done_effects(state: State, plan: Plan) -> list[Step]:
    """Return the steps that changed something, in order; the current one too if some of its batches did."""
    changed = {id for id, result in state.get("results", {}).items() if result.keys() - _NOTHING}
    if state.get("item", 0) > 0:
        changed.add(plan.steps[state.get("cursor", 0)].id)
    return [step for step in plan.steps if step.effect != "read" and step.id in changed]


def to_undo(state: State, plan: Plan) -> list[str]:
    """Return the steps that a tool can take back, the last one first."""
    return [step.id for step in reversed(done_effects(state, plan)) if step.compensate]


def by_hand(state: State, plan: Plan, undo: Iterable[str]) -> list[str]:
    """Return the steps that only people can take back, the last one first."""
    covered = set(undo)
    return [step.id for step in reversed(done_effects(state, plan)) if step.id not in covered]


def checklist(plan: Plan, steps: Iterable[str]) -> list[Json]:
    """Return what people have to do, in the words of the plan."""
    by_id = {step.id: step for step in plan.steps}
    return [{"step": id, "tool": by_id[id].tool, "do": by_id[id].backout} for id in steps]
