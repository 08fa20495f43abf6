"""What agents did: the SQL side of the gateway (claim, settle, reads, holds), and reading and resolving effects."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from memory.errors import Permanent
from memory.governance import journal
from memory.postgres.database import Connection, Database
from memory.runs.records import Lease
from memory.scope import Access
from tools.action import Cost, Decision, Json
from tools.admission import AdmittedAction

_COLUMNS = """id, run, step, role, tool, user_id, key, generation, digest, args, amount, plan_hash, policy, approval,
  attempts, state, outcome, cost, claimed, settled"""

REPEATS = 5
"""How often a run may make the very same call under different plans before it counts as going nowhere."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The answer to a claim: `go`, or why not."""

    code: str
    effect: str | None
    permit: str | None
    send_key: str | None
    state: str | None
    outcome: Mapping[str, Json] | None


def request(lease: Lease, admission: AdmittedAction, decision: Decision) -> dict[str, Any]:
    """Return what every gateway function of the database wants to know of an action."""
    action = admission.action
    return {
        "run": lease.run,
        "fence": lease.fence,
        "step": action.step,
        "role": action.role,
        "tool": action.tool,
        "user": action.user,
        "plan": action.plan_hash,
        "pins": [{"id": pin.id, "version": pin.version} for pin in action.pins],
        "policy": decision.policy,
        "rules": list(decision.rules),
        "need": decision.need,
        "digest": admission.digest(decision.policy),
        "args": admission.args,
        "args_hash": admission.args_hash,
        "call": admission.call_hash,
        "repeats": REPEATS,
        "key": admission.key,
        "amount": admission.facts.amount,
        "cost": admission.tool.cost.as_json(),
        "checkpoint": action.checkpoint,
    }


async def claim(database: Database, lease: Lease, body: Mapping[str, Any]) -> Claim:
    """Take key, budget, approval and permit of a write in one commit."""
    return Claim(**await database.call(lease.access, "claim", body))


async def settle(
    database: Database,
    access: Access,
    claim: Claim,
    *,
    state: str,
    outcome: Mapping[str, Json],
    cost: Cost,
    attempt: Mapping[str, Json],
    extra: Mapping[str, Json] | None = None,
    compensates: str | None = None,
) -> tuple[str, str, Mapping[str, Json]]:
    """Record what came of an effect; returns a code and what stands recorded, which may be somebody else's.

    `settled` and `already` are recorded outcomes. `superseded`: a successor holds the permit now, so that this
    failure is not the last word. `killed`: a stop switch refused it on its way; it stays claimed for whoever resumes.
    """
    body = {
        "effect": claim.effect,
        "permit": claim.permit,
        "state": state,
        "outcome": outcome,
        "cost": cost.as_json(),
        "attempt": attempt,
        "extra": extra or {},
        "compensates": compensates,
    }
    row = await database.call(access, "settle", body)
    if row["code"] == "not_found":
        raise _unknown(str(claim.effect))
    return row["code"], row["state"], row["outcome"] or {}


async def begin_read(database: Database, lease: Lease, body: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Ask whether a read may start; `replay` comes with the entry recorded before."""
    row = await database.call(lease.access, "begin_read", body)
    return row["code"], row["body"] or {}


async def end_read(database: Database, lease: Lease, body: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Record a read; returns the entry that stands, the first writer's."""
    row = await database.call(lease.access, "end_read", {"run": lease.run, "fence": lease.fence, "body": body})
    return row["code"], row["body"] or {}


async def hold(database: Database, lease: Lease, body: Mapping[str, Any]) -> tuple[str, str | None]:
    """Open the question to people, or find the one that is open; returns a code and the approval's id."""
    row = await database.call(lease.access, "hold", body)
    return row["code"], row["approval"]


async def ls(
    database: Database, access: Access, *, run: str | None = None, state: str | None = None, limit: int = 50
) -> list[dict[str, Any]]:
    """Return effects, newest first, at most `limit`."""
    return await database.rows(
        access,
        f"select {_COLUMNS} from effects where run = coalesce(%s, run) and state = coalesce(%s, state) "
        "order by claimed desc, id limit %s",
        run,
        state,
        limit,
    )


async def show(database: Database, access: Access, effect: str) -> dict[str, Any]:
    """Return one effect, by its id or by its natural key; raises Permanent("not_found")."""
    query = f"select {_COLUMNS} from effects where id = %s or key = %s order by claimed desc limit 1"
    rows = await database.rows(access, query, effect, effect)
    if not rows:
        raise _unknown(effect)
    return rows[0]


async def explain(database: Database, access: Access, effect: str) -> dict[str, Any]:
    """Return the whole chain of one effect: request, person, plan, verdict, approvals, permit, response."""
    row = await show(database, access, effect)
    entries = await journal.of_effect(database, access, row["id"])
    story = [entry for entry in await _of_run(database, access, row["run"]) if _concerns(entry.body, row)]
    async with database.transaction(access) as connection:
        cursor = await connection.execute(
            "select id, requester, thread, correlation, input, plan_hash, created from runs where id = %s", [row["run"]]
        )
        run = await cursor.fetchone() or {}
        cursor = await connection.execute(
            "select a.id, a.round, a.status, a.need, a.exposure, a.opened, a.decided, "
            "(select jsonb_agg(jsonb_build_object('by', v.approver, 'decision', v.decision, 'channel', v.channel, "
            "'reason', v.reason, 'at', v.at) order by v.at) from votes v where v.approval = a.id) as votes "
            "from approvals a where a.id = %s",
            [row["approval"]],
        )
        approval = await cursor.fetchone()
    empty: dict[str, Any] = {}
    permission = next((entry.body for entry in entries if entry.kind == "permitted"), empty)
    return {
        "effect": row,
        "request": run,
        "plan": {"hash": row["plan_hash"], "step": row["step"], "pins": permission.get("pins", [])},
        "memory": _memory(story),
        "verdict": {"policy": row["policy"], "rules": permission.get("rules", [])},
        "approval": approval,
        "permit": permission.get("permit"),
        "response": row["outcome"],
        "entries": [{"run": e.run, "seq": e.seq, "kind": e.kind, "at": e.body["at"]} for e in (*story, *entries)],
    }


def _memory(story: list[journal.JournalEntry]) -> dict[str, list[str]]:
    """Return the ids of the memories that were before the planner, and of those that the plan rests on."""
    recalls = [entry.body for entry in story if entry.kind == "recalled"]
    return {name: recalls[-1].get(name, []) if recalls else [] for name in ("shown", "cited")}


async def resolve(connection: Connection, effect: str, state: Literal["done", "failed"], note: str) -> tuple[str, str]:
    """Record a person's finding about an effect in doubt; returns its state and its run."""
    cursor = await connection.execute("select * from resolve_effect(%s, %s, %s)", [effect, state, note])
    row = await cursor.fetchone() or {}
    if row["code"] == "not_found":
        raise _unknown(effect)
    if row["code"] != "ok":
        raise Permanent("conflict", f"effect {effect!r} is {row['state']}; only effects in doubt can be resolved")
    return row["state"], row["run"]


async def _of_run(database: Database, access: Access, run: str) -> list[journal.JournalEntry]:
    async with database.transaction(access) as connection:
        return [entry async for entry in journal.export(connection, run)]


def _concerns(body: Mapping[str, Any], effect: Mapping[str, Any]) -> bool:
    """Tell whether an entry that names no effect still belongs to this one's story."""
    if body.get("effect"):
        return False
    named = effect["approval"] is not None and body.get("approval") == effect["approval"]
    proposed = body.get("kind") == "proposed" and body.get("digest") == effect["digest"]
    planned = body.get("kind") in ("planned", "recalled") and body.get("plan") == effect["plan_hash"]
    return named or proposed or planned or body.get("kind") == "requested"


def _unknown(effect: str) -> Permanent:
    return Permanent("not_found", f"there is no effect {effect!r}; `countersign effects show` takes an id or a key")
