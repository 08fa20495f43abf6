"""Position of a run in its plan: the first step that is due, and where the outcome of an action leads.

Adoption enters a plan; the researcher and the executor conclude an action with the gateway's outcome.
"""

from collections.abc import Mapping

from graphs.execution.action_names import contested_name
from graphs.execution.binding import BoundStep, StepValues
from graphs.execution.recovery import manual_steps, to_undo
from graphs.planning.plan import Plan
from graphs.state import Contest, Obstacle, State, Update
from tools.action import Json, Outcome

_MESSAGE = 200
"""Characters that stay of the message of a failure that the plan goes on after."""


def enter(plan: Plan) -> Update:
    """Return the state at the first step of a plan; what earlier plans found is not carried over."""
    cursor, results = _next_due(plan, 0, {})
    return {
        "plan": plan.model_dump(mode="json"),
        "plan_hash": plan.hash,
        "results": results,
        "cursor": cursor,
        "item": 0,
        "tally": {},
        "outcome": None,
        "questions": {},
        "accepted": [],
        "stale": False,
    }


def conclude(state: State, current: BoundStep, outcome: Outcome) -> Update:
    """Return the state after an action's outcome."""
    match outcome.state:
        case "done" | "skipped":
            return _accept(state, current, outcome)
        case "unverified":
            return _contest(state, current, outcome, outcome.message)
        case "denied" if outcome.code == "stale_knowledge":
            return {"stale": True, "outcome": None, "override": None}
        case "failed":
            return _fail(state, current, outcome)
        case other:
            return {
                "outcome": Obstacle(state=other, code=outcome.code, message=outcome.message, approval=outcome.approval)
            }


def _accept(state: State, current: BoundStep, outcome: Outcome) -> Update:
    """Go on if what the plan expects is true of the result; otherwise the auditor must look."""
    seen = outcome.result if outcome.observed is None else outcome.observed
    expectation = current.values.expectation(seen, current.arguments)
    if not expectation.is_true:
        reason = expectation.reason or f"expected {current.step.expect!r}, which does not hold"
        return _contest(state, current, outcome, reason)
    return _pass(state, current, _summary(current, outcome))


def _contest(state: State, current: BoundStep, outcome: Outcome, reason: str) -> Update:
    """Leave what is not as expected to the auditor, unless people have accepted it as it is."""
    result = _summary(current, outcome)
    name = contested_name(current.plan_hash, current.name, outcome.effect or "")
    if name in state.get("accepted", []):
        return _pass(state, current, result)
    message = f"step {current.name!r}: {reason}"
    contest = Contest(problems=[message], action=current.name, effect=outcome.effect or "", result=result)
    return {"outcome": Obstacle(state="unverified", code="unverified", message=message), "contest": contest}


def _summary(current: BoundStep, outcome: Outcome) -> dict[str, Json]:
    """Return what stays of an action; the effect's id only of single ones, since batches have many."""
    result = dict(outcome.result)
    if outcome.state == "skipped":
        result["already_done"] = 1
    if outcome.effect and current.batches is None:
        result["effect"] = outcome.effect
    return result


def _fail(state: State, current: BoundStep, outcome: Outcome) -> Update:
    step, plan = current.step, current.plan
    if step.on_failure == "continue":
        return _pass(state, current, {"failed": 1, "message": outcome.message[:_MESSAGE]})
    message = f"step {current.name!r}: {outcome.message}"
    failure = Obstacle(state="failed", code=outcome.code, message=message)
    undo = to_undo(state, plan) if step.on_failure == "compensate" else []
    return {"failure": failure, "undo": undo, "undone": [], "manual": manual_steps(state, plan, undo)}


def _pass(state: State, current: BoundStep, result: dict[str, Json]) -> Update:
    """Return the state after one action of the step: at its next batch, or at the next step."""
    override: Update = {"override": None} if state.get("override") else {}
    if current.batches is None:
        return {**_advance(state, current.plan, result), **override}
    tally = _add(state.get("tally", {}), result)
    if current.batch + 1 < current.batches:
        return {"item": current.batch + 1, "tally": tally, **override}
    return {**_advance(state, current.plan, {**tally, "batches": current.batches}), **override}


def _add(tally: Mapping[str, Json], result: Mapping[str, Json]) -> dict[str, Json]:
    """Return sums over batches: numbers add up, flags must all hold, of texts the last stays; the rest is dropped."""
    plain = {name: value for name, value in result.items() if isinstance(value, int | str)}
    return {**tally, **{name: _sum(tally.get(name), value) for name, value in plain.items()}}


def _sum(old: Json, new: int | str) -> Json:
    if isinstance(new, bool):
        return new and old is not False
    return new + old if isinstance(new, int) and isinstance(old, int) else new


def _advance(state: State, plan: Plan, result: dict[str, Json]) -> Update:
    """Return the state after the current step, with its result; steps that are not due are passed as well."""
    position = state.get("cursor", 0)
    step = plan.steps[position]
    cursor, results = _next_due(plan, position + 1, {**state.get("results", {}), step.id: result})
    update: Update = {"results": results, "cursor": cursor}
    if step.batch is not None:
        update |= {"item": 0, "tally": {}}
    return {**update, "audit": True} if step.audit else update


def _next_due(plan: Plan, cursor: int, results: dict[str, dict[str, Json]]) -> tuple[int, dict[str, dict[str, Json]]]:
    """Return the next step that is due, noting those before it as skipped."""
    while cursor < len(plan.steps):
        values = StepValues(plan, plan.steps[cursor], results)
        due = values.due()
        if due.is_true and values.batches() != 0:
            break
        reason: dict[str, Json] = {"reason": due.reason} if due.reason else {}
        results = {**results, values.step.id: {"skipped": True, **reason}}
        cursor += 1
    return cursor, results
