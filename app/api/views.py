"""Response models of runs and approvals, built from rows and journal entries; shared by chat, runs and approvals.

It is no resource: it has no route of its own and reads nothing.
"""

from collections.abc import Iterable, Mapping
from typing import Any, cast

from fastapi.encoders import jsonable_encoder

from app.api.progress import latest
from memory.governance.journal import JournalEntry

_COST_NAMES = ("tokens", "micros", "calls")
_MACHINERY = frozenset({"kind", "key", "status", "reason", "plan", "at"})


def jsonable(value: object) -> Any:
    """Return a value with times and ids as text."""
    return jsonable_encoder(value)


def summary(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run as lists show it."""
    names = ("id", "thread", "requester", "status", "reason", "message", "waits_for", "correlation", "created", "ended")
    return {"run": row["id"], **{name: row[name] for name in names}, "request": row["input"].get("request", "")}


def answer(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the chat says when a run ended or needs a person; `gate` says what it needs."""
    return {**summary(row), "gate": row["gate"], "message": row["message"] or _waiting(row["gate"]), "cost": cost(row)}


def cost(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run spent, reserved and may spend, in integers."""
    costs = {
        n: {"spent": row[f"spent_{n}"], "reserved": row[f"reserved_{n}"], "limit": row[f"limit_{n}"]}
        for n in _COST_NAMES
    }
    return {**costs, "millis": {"spent": row["spent_millis"]}}


def run(row: Mapping[str, Any], entries: Iterable[JournalEntry]) -> dict[str, Any]:
    """Return everything of a run: plan, steps with their roles, progress, cost, results and the manual list."""
    entry_list = list(entries)
    empty: dict[str, Any] = {}
    outcome = next((entry.body for entry in reversed(entry_list) if entry.kind == "ended"), empty)
    result = {name: value for name, value in outcome.items() if name not in _MACHINERY}
    names = ("input", "plan", "plan_hash", "answers", "attempt", "seq")
    return {
        **summary(row),
        **{name: row[name] for name in names},
        "steps": steps(entry_list),
        "memory": _memory(entry_list),
        "progress": latest(entry_list),
        "cost": cost(row),
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


def gate(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return an approval as lists show it."""
    names = ("id", "run", "round", "requester", "status", "reason", "need", "groups", "exposure", "step", "opened")
    decision_names = ("expires", "decided", "decided_by", "rules")
    question: Mapping[str, Any] = row["shown"]
    return {
        **{name: row[name] for name in (*names, *decision_names)},
        "approvals": row.get("approvals"),
        "title": question.get("title"),
    }


def approval(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return everything of an approval, with the nonce for decisions and what changed since the last round."""
    items: list[Mapping[str, Any]] = row["items"]
    names = ("nonce", "plan_hash", "policy", "pins", "edited", "requester_excluded", "valid_until", "shown", "votes")
    return {
        **gate(row),
        **{name: row[name] for name in names},
        "approvals": sum(vote["decision"] == "approve" for vote in row["votes"]),
        "actions": len(items),
        "amount": sum(item["amount"] for item in items),
        "tools": _tally(items),
        "digests": [item["digest"] for item in items],
        "replaces": _changes(row, row["predecessor"]),
    }


def _tally(items: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for item in items:
        counts[item["tool"]] = counts.get(item["tool"], 0) + 1
    return counts


def _changes(row: Mapping[str, Any], old: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the differences from the voided or edited round that this one replaces, or None if it replaces none."""
    if old is None or old["status"] not in ("void", "edited"):
        return None
    names = ("plan_hash", "policy", "pins", "exposure", "step", "need", "shown")
    old_terms, new_terms = ({name: terms_row[name] for name in names} for terms_row in (old, row))
    before, after = _leaves(old_terms), _leaves(new_terms)
    changes = {
        path: {"was": before.get(path), "is": after.get(path)}
        for path in sorted({*before, *after})
        if before.get(path) != after.get(path)
    }
    return {"approval": old["id"], "status": old["status"], "reason": old["reason"], "changed": changes}


def _leaves(value: object, path: str = "") -> dict[str, Any]:
    if isinstance(value, Mapping):
        inner = cast(Mapping[str, object], value).items()
    elif isinstance(value, list):
        inner = [(str(number), item) for number, item in enumerate(cast(list[object], value))]
    else:
        return {path: value}
    leaves: dict[str, Any] = {}
    for name, item in inner:
        leaves |= _leaves(item, f"{path}.{name}" if path else name)
    return leaves


def _waiting(gate: Mapping[str, Any] | None) -> str:
    if gate is None:
        return ""
    if gate["kind"] == "approval":
        return f"waits for people: decide approval {gate['approval']}"
    question: Mapping[str, Any] = gate["question"]
    return str(question.get("question") or question.get("text") or "please say more precisely what you want")
