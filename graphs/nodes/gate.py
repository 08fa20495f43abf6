"""The gate node: waits for a person and says what they answered; it only reads rows, since a resumed node starts over.

A wake-up carries nothing: the rows say what was decided. A value sent by `Command(resume=...)` is refused.
"""

from collections.abc import Mapping
from typing import Any, NoReturn

from langgraph.types import interrupt

from graphs.execution import recovery
from graphs.execution.action_names import action_name, contested_name, undo_name
from graphs.execution.capabilities import Invocation, Node, ReadAnswers, ReadStanding
from graphs.execution.plans import plan_of
from graphs.state import Contest, Obstacle, Override, Question, State, Update
from memory.errors import Code, Permanent
from memory.governance.approvals import ApprovalView
from memory.runs.leases import Lease


class ResumeRefused(Permanent):
    """A resume value was sent to a question that is still open; `question` is what the gate waits for."""

    def __init__(self, code: Code, question: Mapping[str, Any], way: str) -> None:
        super().__init__(code, f"Command(resume=...) decides nothing here and the question is still open; {way}")
        self.question = question


def make_gate(standing: ReadStanding, answers: ReadAnswers) -> Node:
    """Return the gate node; while nobody has answered it changes nothing and is entered again."""

    async def gate(state: State, invocation: Invocation) -> Update:
        obstacle = state.get("outcome")
        if obstacle and (approval := obstacle.get("approval")):
            view = await standing(invocation.lease, approval)
            return _after_decision(state, view, approval)
        return await _await_answer(state, invocation.lease, answers)

    return gate


def _after_decision(state: State, view: ApprovalView, approval: str) -> Update:
    contest = state.get("contest")
    if view.status == "open":
        _wait(approval, "audit" if contest else "approval")
    if contest:
        return _after_audit(state, contest, view, approval)
    return _after_approval(state, view, approval)


def _wait(approval: str, kind: str) -> NoReturn:
    question = {"kind": kind, "approval": approval}
    # It returns only with a resume value.
    interrupt(question)
    way = f"decide by `countersign approvals approve {approval}` or POST /api/approvals/{approval}/decisions"
    raise ResumeRefused("approval_required", question, way)


def _after_audit(state: State, contest: Contest, view: ApprovalView, approval: str) -> Update:
    """Accept what was found, have it taken back, or leave it to people; the last is what silence comes to as well."""
    if view.status == "void":
        return {"outcome": Obstacle(state="unverified", message="; ".join(contest["problems"]))}
    if view.status == "approved":
        name = contested_name(state.get("plan_hash", ""), contest["action"], contest["effect"])
        return {"outcome": None, "contest": None, "accepted": [*state.get("accepted", []), *contest["problems"], name]}
    plan, results = plan_of(state), recovery.contested_results(state, plan_of(state), contest)
    message = f"{'; '.join(contest['problems'][:5])} ({view.reason or view.status})"
    if view.status == "taken_back":
        undo = recovery.to_undo({**state, "results": results}, plan)
        manual = recovery.manual_steps({**state, "results": results}, plan, undo)
        failure = Obstacle(state="failed", code="audit_failed", message=message)
        recovered: Update = {"failure": failure, "undo": undo, "undone": [], "manual": manual}
        return {"outcome": None, "contest": None, "results": results, **recovered}
    refusal = Obstacle(state="denied", code="audit_failed", message=message, approval=approval)
    return {"outcome": refusal, "contest": None, "results": results}


def _after_approval(state: State, view: ApprovalView, approval: str) -> Update:
    match view.status:
        case "approved":
            return {"outcome": None}
        case "edited":
            override = Override(step=_action(state), args=dict(view.new_arguments or {}))
            return {"outcome": None, "questions": _other_questions(state), "override": override}
        case "void" if view.reason == "stale_knowledge" and not state.get("undo"):
            return {"outcome": None, "stale": True}
        case "void":
            return {"outcome": None, "questions": _other_questions(state)}
        case _:
            return _after_refusal(state, view, approval)


def _after_refusal(state: State, view: ApprovalView, approval: str) -> Update:
    """Return the end of the run; a compensation that people refuse is theirs to do, and the others go on."""
    if undo := state.get("undo"):
        return {"outcome": None, "undo": undo[1:], "manual": [*state.get("manual", []), undo[0]]}
    if view.status == "expired":
        message = "nobody decided in time; start it again when people are there"
        return {"outcome": Obstacle(state="denied", code="approval_timeout", message=message, approval=approval)}
    message = view.reason or "rejected without a reason"
    return {"outcome": Obstacle(state="denied", code="approval_rejected", message=message, approval=approval)}


def _other_questions(state: State) -> dict[str, Question]:
    """Return the sums of questions without the current one, which is put together anew."""
    questions = state.get("questions", {})
    current = questions.get(_step(state))
    return {step: question for step, question in questions.items() if question != current}


def _step(state: State) -> str:
    """Return the step whose action was held."""
    undo = state.get("undo")
    return undo[0] if undo else plan_of(state).steps[state.get("cursor", 0)].id


def _action(state: State) -> str:
    """Return the name of the action that was held."""
    if state.get("undo"):
        return undo_name(_step(state))
    step = plan_of(state).steps[state.get("cursor", 0)]
    return action_name(step.id, state.get("item", 0) if step.batch else None)


async def _await_answer(state: State, lease: Lease, answers: ReadAnswers) -> Update:
    count, question = state.get("answers", 0), state.get("clarify")
    texts = await answers(lease)
    if len(texts) <= count:
        wait = {"kind": "clarify", "answers": count, "question": question["question"] if question else ""}
        interrupt(wait)
        way = f"answer by `countersign chat --thread {lease.thread} ANSWER` or POST /api/chat"
        raise ResumeRefused("unclear", wait, way)
    request = "\n".join([state.get("request", ""), *texts[count:]])
    update: Update = {"request": request, "answers": len(texts), "answered": True}
    if question and "amount" in question.get("missing", ()):
        update["amount_answer"] = "\n".join(texts[count:])
    return update
