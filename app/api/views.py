"""Response models of runs and approvals, built from rows and journal entries; shared by chat, runs and approvals.

It is no resource: it has no route of its own and reads nothing.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, cast

from fastapi.encoders import jsonable_encoder

from app.api.progress import latest
from memory.governance.approvals import Approval, ApprovalRecord
from memory.governance.authors import Standing
from memory.governance.journal import JournalEntry
from memory.governance.principals import Key
from memory.runs.models import Run
from memory.runs.transcripts import Transcript, TranscriptContent

_WAITS = {
    "approval": "waits for people: decide",
    "audit": "the audit failed: accept it, take it back or leave it to people, as",
}
_MACHINERY = frozenset({"kind", "key", "status", "reason", "plan", "at"})


def jsonable(value: object) -> Any:
    """Return a value with times and ids as text."""
    return jsonable_encoder(value)


def trust(differs: Sequence[str], row_only: Sequence[str]) -> dict[str, Any]:
    """Return in which fields journal and tables disagree, what to do then, and which fields only a table holds."""
    return {"differs": differs, "warning": warning(differs), "unprotected": row_only}


def warning(differs: Sequence[str]) -> str:
    """Return what to do where journal and tables disagree; empty where they do not."""
    if not differs:
        return ""
    return (
        f"journal and tables disagree about {', '.join(map(repr, differs))}: what is shown is what the journal says; "
        "run `countersign journal verify` and find out who changed what"
    )


def summary(run: Run) -> dict[str, Any]:
    """Return a run as lists show it."""
    return {
        "run": run.id,
        "id": run.id,
        "thread": run.thread,
        "flow": run.flow,
        "requester": run.requester,
        "status": run.status,
        "reason": run.reason,
        "message": run.message,
        "waits_for": run.waits_for,
        "correlation": run.correlation,
        "created": run.created_at,
        "ended": run.ended_at,
        "request": run.input.get("request", ""),
    }


def answer(run: Run, gate: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what the chat says when a run ended or needs a person; `gate` says what it needs."""
    return {**summary(run), "gate": gate, "message": run.message or _waiting(gate), "cost": cost(run)}


def cost(run: Run) -> dict[str, Any]:
    """Return what a run spent, reserved and may spend, in integers."""
    usages = {"tokens": run.tokens, "micros": run.micros, "calls": run.calls}
    costs = {
        unit: {"spent": usage.spent, "reserved": usage.reserved, "limit": usage.limit} for unit, usage in usages.items()
    }
    return {**costs, "millis": {"spent": run.spent_millis}}


def run_view(run: Run, entries: Iterable[JournalEntry]) -> dict[str, Any]:
    """Return everything of a run: plan, steps with their roles, progress, cost, results and the manual list."""
    entry_list = list(entries)
    empty: dict[str, Any] = {}
    outcome = next((entry.body for entry in reversed(entry_list) if entry.kind == "ended"), empty)
    result = {name: value for name, value in outcome.items() if name not in _MACHINERY}
    return {
        **summary(run),
        "input": run.input,
        "plan": run.plan,
        "plan_hash": run.plan_hash,
        "answers": run.answers,
        "attempt": run.attempt,
        "seq": run.seq,
        "steps": steps(entry_list),
        "memory": _memory(entry_list),
        "progress": latest(entry_list),
        "cost": cost(run),
        "result": result,
        "manual": result.get("manual", []),
    }


def _memory(entries: Iterable[JournalEntry]) -> dict[str, list[str]]:
    """Return the ids of memories in the planner's prompts, and of those that its plans cite."""
    bodies = [entry.body for entry in entries if entry.kind == "recalled"]
    return {
        name: list(dict.fromkeys(id for body in bodies for id in body.get(name, ()))) for name in ("shown", "cited")
    }


def steps(entries: Iterable[JournalEntry]) -> list[dict[str, Any]]:
    """Return the state of each plan step in order of start; the batches of a step are counted together."""
    step_views: dict[str, dict[str, Any]] = {}
    for body in (entry.body for entry in entries if "step" in entry.body):
        name = str(body["step"]).partition("#")[0]
        step = step_views.setdefault(name, {"step": name, "tool": None, "role": None, "state": "proposed", "calls": 0})
        step |= {part: body[part] for part in ("tool", "role") if body.get(part)}
        step["state"] = _state(body, step["state"])
        step["calls"] += body["kind"] in ("outcome", "read")
    return list(step_views.values())


def _state(body: Mapping[str, Any], before: str) -> str:
    if body["kind"] in ("outcome", "read", "resolved"):
        return str(body["state"])
    return str(body["kind"]) if body["kind"] in ("held", "skipped", "denied") else before


def approval_summary(approval: Approval) -> dict[str, Any]:
    """Return an approval as lists show it."""
    return {
        "id": approval.id,
        "kind": approval.kind,
        "run": approval.run,
        "round": approval.round,
        "requester": approval.requester,
        "status": approval.status,
        "reason": approval.reason,
        "need": approval.need,
        "groups": approval.groups,
        "exposure": approval.exposure,
        "currency": approval.currency,
        "step": approval.step,
        "opened": approval.opened_at,
        "expires": approval.expires_at,
        "decided": approval.decided_at,
        "decided_by": approval.decider,
        "rules": approval.rules,
        "approvals": approval.approvals,
        "title": approval.question.get("title"),
    }


def approval_view(record: ApprovalRecord, people: Mapping[str, Standing]) -> dict[str, Any]:
    """Return everything of an approval, with the nonce for decisions, who changed what, and who may still decide."""
    approval, items = record.approval, record.items
    replaces = _replacement(approval, record.predecessor)
    return {
        **approval_summary(approval),
        "nonce": approval.nonce,
        "plan_hash": approval.plan_hash,
        "policy": approval.policy,
        "pins": approval.pins,
        "edited": approval.new_arguments,
        "proposal": _proposal(approval),
        "taken_over_by": approval.taken_over_by,
        "requester_excluded": approval.requester_excluded,
        "authors": approval.authors,
        "voters": _voters(record, people),
        "valid_until": approval.valid_until,
        "shown": approval.question,
        "votes": list(map(asdict, record.votes)),
        "actions": len(items),
        "amount": sum(item.amount for item in items),
        "tools": dict(Counter(item.tool for item in items)),
        "digests": [item.digest for item in items],
        "replaces": replaces,
        "changed": replaces["changed"] if replaces else {},
        "edits": list(map(_past_edit, record.edits)),
    }


def _voters(record: ApprovalRecord, people: Mapping[str, Standing]) -> list[str]:
    voters = {vote.approver for vote in record.votes}
    return [name for name, standing in people.items() if standing == "ok" and name not in voters]


def _proposal(approval: Approval) -> Mapping[str, Any] | None:
    proposal = approval.proposal
    return proposal and {**proposal, "changed": _edit(approval, proposal["edited"])}


def _past_edit(edit: Approval) -> dict[str, Any]:
    return {"approval": edit.id, "round": edit.round, **_editing(edit), "changed": _edit(edit, edit.new_arguments)}


def _replacement(approval: Approval, old: Approval | None) -> dict[str, Any] | None:
    """Return the differences from the voided or edited round that this one replaces, or None if it replaces none."""
    if old is None or old.status not in ("void", "edited"):
        return None
    changes = _differences(_terms(old), _terms(approval))
    return {"approval": old.id, "status": old.status, **_editing(old), "changed": changes}


def _editing(old: Approval) -> dict[str, Any]:
    """Return who ended a round by an edit or otherwise, when and why, and whether its requester took the edit over."""
    editor = old.proposal["by"] if old.proposal and old.decider == old.taken_over_by else old.decider
    return {"by": editor, "at": old.decided_at, "reason": old.reason, "taken_over_by": old.taken_over_by}


def _edit(approval: Approval, new_arguments: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the arguments that an edit changes; of a question that was forgotten, none."""
    return _differences(approval.question.get("args") or {}, new_arguments) if new_arguments else {}


def _differences(before: object, after: object) -> dict[str, Any]:
    """Return each value that differs, by its path, as it was and as it is."""
    old, new = _leaves(before), _leaves(after)
    return {
        path: {"was": old.get(path), "is": new.get(path)}
        for path in sorted({*old, *new})
        if old.get(path) != new.get(path)
    }


def _terms(approval: Approval) -> dict[str, Any]:
    """Return what people agree to when they approve."""
    return {
        "plan_hash": approval.plan_hash,
        "policy": approval.policy,
        "pins": list(approval.pins),
        "exposure": approval.exposure,
        "currency": approval.currency,
        "step": approval.step,
        "need": approval.need,
        "shown": approval.question,
    }


def transcript(transcript: Transcript) -> dict[str, Any]:
    """Return a transcript as lists show it."""
    return {
        "thread": transcript.thread,
        "size": transcript.size,
        "packed": transcript.packed_size,
        "archived": transcript.archived_at,
        "retained_until": transcript.retained_until,
        "hold": transcript.legal_hold,
        "restored": transcript.restored_at,
    }


def transcript_content(content: TranscriptContent) -> dict[str, Any]:
    """Return a transcript with everything that is in it."""
    return {
        **transcript(content.transcript),
        "moments": [asdict(moment) for moment in content.moments],
        "state": content.state,
        "calls": [{"id": call.id, "answer": call.answer, "prompt": call.prompt} for call in content.calls],
        "rows": content.rows,
    }


def key(key: Key) -> dict[str, Any]:
    """Return a key as administrators see it."""
    return {
        "id": key.id,
        "person": key.person,
        "label": key.label,
        "created": key.created_at,
        "expires": key.expires_at,
        "revoked": key.revoked_at,
        "made_by": key.maker,
        "claim_until": key.claim_until,
        "claimed": key.claimed_at,
        "refused_claims": key.refusals,
    }


def _leaves(value: object, path: str = "") -> dict[str, Any]:
    if isinstance(value, list):
        value = dict(enumerate(cast(list[object], value)))
    if not isinstance(value, Mapping):
        return {path: value}
    leaves: dict[str, Any] = {}
    prefix = f"{path}." if path else ""
    for name, item in cast(Mapping[object, object], value).items():
        leaves |= _leaves(item, f"{prefix}{name}")
    return leaves


def _waiting(gate: Mapping[str, Any] | None) -> str:
    if gate is None:
        return ""
    if gate["kind"] in _WAITS:
        return f"{_WAITS[gate['kind']]} approval {gate['approval']}"
    question: Mapping[str, Any] = gate["question"]
    return str(question.get("question") or question.get("text") or "please say more precisely what you want")
