"""What people see of runs and approvals: rows turned into answers, without anything that only machinery needs."""

from collections.abc import Iterable, Mapping
from typing import Any, cast

from fastapi.encoders import jsonable_encoder

from app.api.progress import latest
from memory.governance.journal import JournalEntry

_SPENT = ("tokens", "micros", "calls")
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
    named = {
        n: {"spent": row[f"spent_{n}"], "reserved": row[f"reserved_{n}"], "limit": row[f"limit_{n}"]} for n in _SPENT
    }
    return {**named, "millis": {"spent": row["spent_millis"]}}


def run(row: Mapping[str, Any], entries: Iterable[JournalEntry]) -> dict[str, Any]:
    """Return everything of a run: plan, steps with their roles, progress, cost, results and the manual list."""
    found = list(entries)
    nothing: dict[str, Any] = {}
    ended = next((entry.body for entry in reversed(found) if entry.kind == "ended"), nothing)
    result = {name: value for name, value in ended.items() if name not in _MACHINERY}
    names = ("input", "plan", "plan_hash", "answers", "attempt", "seq")
    return {
        **summary(row),
        **{name: row[name] for name in names},
        "steps": steps(found),
        "memory": _memory(found),
        "progress": latest(found),
        "cost": cost(row),
        "result": result,
        "manual": result.get("manual", []),
    }


def _memory(entries: Iterable[JournalEntry]) -> dict[str, list[str]]:
    """Return the ids of memories that were before its planner, and of those that its plans rest on."""
    told = [entry.body for entry in entries if entry.kind == "recalled"]
    return {name: list(dict.fromkeys(id for body in told for id in body.get(name, ()))) for name in ("shown", "cited")}


def steps(entries: Iterable[JournalEntry]) -> list[dict[str, Any]]:
    """Return what became of each plan step so far, in the order in which they began; batches are counted together."""
    found: dict[str, dict[str, Any]] = {}
    for body in (entry.body for entry in entries if "step" in entry.body):
        name = str(body["step"]).partition("#")[0]
        step = found.setdefault(name, {"step": name, "tool": None, "role": None, "state": "proposed", "calls": 0})
        step |= {part: body[part] for part in ("tool", "role") if body.get(part)}
        step["state"] = _state(body, step["state"])
        step["calls"] += body["kind"] in ("outcome", "read")
    return list(found.values())


def _state(body: Mapping[str, Any], before: str) -> str:
    if body["kind"] in ("outcome", "read", "resolved"):
        return str(body["state"])
    return str(body["kind"]) if body["kind"] in ("held", "skipped", "denied") else before


def gate(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return an approval as lists show it."""
    names = ("id", "run", "round", "requester", "status", "reason", "need", "groups", "exposure", "step", "opened")
    more = ("expires", "decided", "decided_by", "rules")
    shown: Mapping[str, Any] = row["shown"]
    return {
        **{name: row[name] for name in (*names, *more)},
        "approvals": row.get("approvals"),
        "title": shown.get("title"),
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
    """Tell what is different from the round that this one stands for; an answered round is not replaced by the next."""
    if old is None or old["status"] not in ("void", "edited"):
        return None
    names = ("plan_hash", "policy", "pins", "exposure", "step", "need", "shown")
    was, now = ({name: each[name] for name in names} for each in (old, row))
    before, after = _leaves(was), _leaves(now)
    changed = {
        place: {"was": before.get(place), "is": after.get(place)}
        for place in sorted({*before, *after})
        if before.get(place) != after.get(place)
    }
    return {"approval": old["id"], "status": old["status"], "reason": old["reason"], "changed": changed}


def _leaves(value: object, place: str = "") -> dict[str, Any]:
    if isinstance(value, Mapping):
        inner = cast(Mapping[str, object], value).items()
    elif isinstance(value, list):
        inner = [(str(number), item) for number, item in enumerate(cast(list[object], value))]
    else:
        return {place: value}
    found: dict[str, Any] = {}
    for name, item in inner:
        found |= _leaves(item, f"{place}.{name}" if place else name)
    return found


def _waiting(gate: Mapping[str, Any] | None) -> str:
    if gate is None:
        return ""
    if gate["kind"] == "approval":
        return f"waits for people: decide approval {gate['approval']}"
    asked: Mapping[str, Any] = gate["question"]
    return str(asked.get("question") or asked.get("text") or "please say more precisely what you want")
