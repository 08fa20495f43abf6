"""The auditor node: compares what was expected with what the journal recorded, and ends the run; it cannot act."""

from collections.abc import Mapping, Sequence

from graphs.execution import recovery
from graphs.execution.action_names import step_name
from graphs.execution.audit import AuditFinding, compare
from graphs.execution.capabilities import Invocation, Node, ReadEntries, Record
from graphs.execution.plans import plan_of
from graphs.planning.plan import Plan
from graphs.state import End, Obstacle, State, Update
from memory.governance.journal import JournalEntry
from tools.action import Json
from tools.money import text

# People may resume a run that stopped; what they refused ends as denied.
_STOPS = frozenset({"approval_timeout", "in_doubt"})
_MONEY = frozenset({"amount", "price"})


def make_auditor(entries: ReadEntries, record: Record) -> Node:
    """Return the auditor node: it reads the journal, and adds its own finding to it."""

    async def auditor(state: State, invocation: Invocation) -> Update:
        if not state.get("plan"):
            return {"end": _end_without_plan(state)}
        plan = plan_of(state)
        story = await entries(invocation.lease)
        finding = compare(plan, state, story)
        await record(invocation.lease, _entry(state, finding))
        if finding.ok and _is_on_the_way(state, plan):
            return {"audit": False}
        return {"audit": False, "end": _end(state, plan, finding, _currencies(story))}

    return auditor


def _is_on_the_way(state: State, plan: Plan) -> bool:
    """Return whether steps are left and nothing stands against them."""
    return state.get("cursor", 0) < len(plan.steps) and not (state.get("outcome") or state.get("failure"))


def _entry(state: State, finding: AuditFinding) -> dict[str, Json]:
    key = f"audited:{state.get('plan_hash', '')[:16]}:{state.get('cursor', 0)}:{len(state.get('undone', []))}"
    return {"kind": "audited", "key": key, "role": "auditor", "plan": state.get("plan_hash"), **finding.as_json()}


def _end_without_plan(state: State) -> End:
    note, verdict = state.get("note", ""), state.get("verdict")
    if verdict == "nothing_wrong":
        return End(status="done", reason=None, message=note, body={"verdict": verdict})
    return End(status="denied", reason=verdict, message=note, body={"verdict": verdict})


def _currencies(story: Sequence[JournalEntry]) -> Mapping[str, str]:
    """Return the currency in which each step was permitted, which is not the service's to say afterwards."""
    bodies = [entry.body for entry in story if entry.kind == "permitted" and entry.body.get("currency")]
    return {step_name(str(body["step"])): str(body["currency"]) for body in bodies}


def _end(state: State, plan: Plan, finding: AuditFinding, currencies: Mapping[str, str]) -> End:
    outcome, failure = state.get("outcome"), state.get("failure")
    body = _body(state, plan, finding)
    if outcome and outcome.get("state") != "unverified":
        return _refusal(outcome, body)
    if failure:
        return End(status="failed", reason="step_failed", message=failure.get("message", ""), body=body)
    if not finding.ok:
        message = "; ".join(finding.problems[:5])
        return End(status="failed", reason="audit_failed", message=message, body=body)
    return End(status="done", reason=None, message=_summary(state, plan, currencies), body=body)


def _refusal(outcome: Obstacle, body: dict[str, Json]) -> End:
    code = outcome.get("code") or outcome.get("state")
    status = "stopped" if code in _STOPS else "denied"
    return End(status=status, reason=code, message=outcome.get("message", ""), body=body)


def _body(state: State, plan: Plan, finding: AuditFinding) -> dict[str, Json]:
    """Return what stays on record of the run; whatever ended badly lists what people may have to take back."""
    is_well = finding.ok and not state.get("outcome") and not state.get("failure")
    manual = state.get("manual", []) if state.get("failure") else recovery.manual_steps(state, plan)
    return {
        "id": plan.id,
        "results": state.get("results", {}),
        "approvals": list(finding.approvals),
        "compensated": list(state.get("undone", [])),
        "manual": [] if is_well else recovery.checklist(plan, manual),
    }


def _summary(state: State, plan: Plan, currencies: Mapping[str, str]) -> str:
    """Return what was done, one line per step that did something."""
    lines = [f"{plan.goal}: done and checked."]
    results: Mapping[str, Mapping[str, Json]] = state.get("results", {})
    for step in plan.steps:
        result = results.get(step.id, {})
        numbers = _in_words(result, currencies.get(step.id) or str(result.get("currency", "")))
        if step.effect != "read" and numbers:
            lines.append(f"{step.id}: {numbers}")
    return "\n".join(lines)


def _in_words(result: Mapping[str, Json], currency: str) -> str:
    """Return the numbers of a result in words, and how much of it had been done before this run."""
    numbers = {name: value for name, value in result.items() if type(value) is int}
    earlier = numbers.pop("already_done", 0)
    words = ", ".join(f"{name} {_amount(name, value, currency)}" for name, value in numbers.items())
    return f"{words} {_earlier_share(earlier, numbers.get('batches', 1))}".strip() if earlier else words


def _earlier_share(earlier: int, batches: int) -> str:
    share = "all of it" if earlier == batches else f"{earlier} of {batches} batches"
    return f"({share} done before, not again)"


def _amount(name: str, value: int, currency: str) -> str:
    """Return a number as people read it: money is stored in minor units."""
    return text(value, currency) if name in _MONEY else f"{value:,}"
