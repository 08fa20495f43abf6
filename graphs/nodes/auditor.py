"""The auditor node: compares what was expected with what the journal recorded, and ends the run; it cannot act.

What is not as expected it puts before people first: they accept it, have it taken back, or leave it to themselves.
"""

from collections.abc import Mapping, Sequence

from graphs.execution import recovery
from graphs.execution.action_names import step_name
from graphs.execution.audit import AuditFinding, compare
from graphs.execution.capabilities import AskAboutAudit, Invocation, Node, ReadEntries, Record
from graphs.execution.plans import plan_of
from graphs.planning.plan import Plan
from graphs.state import Contest, End, Obstacle, State, Update
from memory.governance.journal import JournalEntry
from tools.action import Json
from tools.money import text

# People may resume a run that stopped; what they refused ends as denied.
_STOPS = frozenset({"approval_timeout", "in_doubt"})
Currencies = Mapping[str, str]
"""The currency of each step that is about money."""

_MONEY = frozenset({"amount", "price"})
_NO_CONTEST = Contest(problems=[], action="", effect="", result={})


def make_auditor(entries: ReadEntries, record: Record, ask: AskAboutAudit | None = None) -> Node:
    """Return the auditor node: it reads the journal and adds its own finding to it.

    With `ask` it puts what is wrong before people, and a router must lead from it to the gate; without it the run ends.
    """

    async def auditor(state: State, invocation: Invocation) -> Update:
        if not state.get("plan"):
            return {"end": _end_of(_end_without_plan(state), invocation)}
        plan = plan_of(state)
        story = await entries(invocation.lease)
        finding = compare(plan, state, story)
        await record(invocation.lease, _entry(state, finding))
        problems = _open_problems(state, finding)
        if not (problems and ask):
            update = _conclude(state, plan, finding, problems, _currencies(story))
            end = update.get("end")
            return {**update, "end": _end_of(end, invocation)} if end else update
        contest: Contest = {**(state.get("contest") or _NO_CONTEST), "problems": problems}
        approval = await ask(invocation.lease, _question(state, plan, contest))
        return {"audit": False, "contest": contest, "outcome": _wait(problems, approval)}

    return auditor


def _end_of(end: End, invocation: Invocation) -> End:
    """Return an end whose entry names the checkpoint that it was found from."""
    return {**end, "body": {**end["body"], **invocation.lease.step_facts}}


def _open_problems(state: State, finding: AuditFinding) -> list[str]:
    """Return what people have to decide about; once they have, or a failure leads to the end anyway, nothing."""
    if state.get("failure") or (state.get("outcome") or {}).get("state", "unverified") != "unverified":
        return []
    # An outcome in question now is another one than any that was accepted, also if its words are the same.
    accepted = [] if state.get("outcome") else state.get("accepted", [])
    return [problem for problem in finding.problems if problem not in accepted]


def _wait(problems: list[str], approval: str) -> Obstacle:
    return Obstacle(state="held", code="audit_failed", message="; ".join(problems[:5]), approval=approval)


def _question(state: State, plan: Plan, contest: Contest) -> dict[str, Json]:
    """Return what people are asked about a failed audit, and what each answer would lead to."""
    seen: State = {**state, "results": recovery.contested_results(state, plan, contest)}
    undo = recovery.to_undo(seen, plan)
    return {
        "title": f"The audit of {plan.goal!r} failed",
        "goal": plan.goal,
        "plan": state.get("plan_hash", ""),
        "step": contest["action"],
        "effect": contest["effect"],
        "problems": contest["problems"],
        "reported": contest["result"],
        "accept": "go on as if it were as expected",
        "take_back": list[Json](undo),
        "leave": recovery.checklist(plan, recovery.manual_steps(seen, plan)),
    }


def _conclude(state: State, plan: Plan, finding: AuditFinding, problems: list[str], currencies: Currencies) -> Update:
    """Return the way on, if steps are left and nothing stands against them, else the end."""
    if any((problems, state.get("outcome"), state.get("failure"), state.get("cursor", 0) == len(plan.steps))):
        return {"audit": False, "end": _end(state, plan, finding, problems, currencies)}
    return {"audit": False}


def _entry(state: State, finding: AuditFinding) -> dict[str, Json]:
    place = (state.get("cursor", 0), len(state.get("undone", [])), len(state.get("accepted", [])))
    key = f"audited:{state.get('plan_hash', '')[:16]}:{':'.join(map(str, place))}"
    return {"kind": "audited", "key": key, "role": "auditor", "plan": state.get("plan_hash"), **finding.as_json()}


def _end_without_plan(state: State) -> End:
    note, verdict = state.get("note", ""), state.get("verdict")
    if verdict == "nothing_wrong":
        return End(status="done", reason=None, message=note, body={"verdict": verdict})
    return End(status="denied", reason=verdict, message=note, body={"verdict": verdict})


def _currencies(story: Sequence[JournalEntry]) -> Currencies:
    """Return the currency in which each step was permitted, which is not the service's to say afterwards."""
    bodies = [entry.body for entry in story if entry.kind == "permitted" and entry.body.get("currency")]
    return {step_name(str(body["step"])): str(body["currency"]) for body in bodies}


def _end(state: State, plan: Plan, finding: AuditFinding, problems: list[str], currencies: Currencies) -> End:
    outcome, failure = state.get("outcome"), state.get("failure")
    body = _body(state, plan, finding, is_well=not (problems or outcome or failure))
    if problems:
        return End(status="failed", reason="audit_failed", message="; ".join(problems[:5]), body=body)
    if outcome:
        return _refusal(outcome, body)
    if failure:
        reason = "audit_failed" if failure.get("code") == "audit_failed" else "step_failed"
        return End(status="failed", reason=reason, message=failure.get("message", ""), body=body)
    return End(status="done", reason=None, message=_summary(state, plan, finding.unchecked, currencies), body=body)


def _refusal(outcome: Obstacle, body: dict[str, Json]) -> End:
    code = outcome.get("code") or outcome.get("state")
    status = "failed" if code == "audit_failed" else "stopped" if code in _STOPS else "denied"
    return End(status=status, reason=code, message=outcome.get("message", ""), body=body)


def _body(state: State, plan: Plan, finding: AuditFinding, *, is_well: bool) -> dict[str, Json]:
    """Return what stays on record of the run; whatever ended badly lists what people may have to take back."""
    manual = state.get("manual", []) if state.get("failure") else recovery.manual_steps(state, plan)
    return {
        "id": plan.id,
        "results": state.get("results", {}),
        "approvals": list(finding.approvals),
        "unchecked": finding.unchecked,
        "accepted": list(state.get("accepted", [])),
        "compensated": list(state.get("undone", [])),
        "manual": [] if is_well else recovery.checklist(plan, manual),
    }


def _summary(state: State, plan: Plan, unchecked: int, currencies: Currencies) -> str:
    """Return what was done, one line per step that did something; what nobody looked at is never called checked."""
    lines = [f"{plan.goal}: {_verdict(state.get('accepted', []), unchecked)}"]
    results: Mapping[str, Mapping[str, Json]] = state.get("results", {})
    for step in plan.steps:
        result = results.get(step.id, {})
        numbers = _in_words(result, currencies.get(step.id) or str(result.get("currency", "")))
        if step.effect != "read" and numbers:
            lines.append(f"{step.id}: {numbers}")
    return "\n".join(lines)


def _verdict(accepted: list[str], unchecked: int) -> str:
    if accepted:
        return f"done, accepted by people: {accepted[0]}"
    return f"done, not checked: {unchecked}." if unchecked else "done and checked."


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
