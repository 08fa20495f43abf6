"""Effects in the database: claim, settle, reads and holds for the gateway; look-up and resolution for people.

The gateway calls the verbs, the API reads and resolves. Every code and state of SQL is checked against its closed type.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, cast, get_args

from memory.errors import LeaseLost, Permanent
from memory.postgres.codes import member
from memory.postgres.database import Connection, Database
from memory.runs.leases import Lease, call
from memory.scope import Access
from tools import judgement
from tools.action import Cost, Decision, Json, Outcome, OutcomeState
from tools.admission import AdmittedAction

EffectState = Literal["claimed", "done", "failed", "unverified", "in_doubt", "compensated"]
RefusalCode = Literal[
    "killed",
    "stale_policy",
    "stale_knowledge",
    "not_found",
    "lease_lost",
    "forged_authority",
    "cancelled",
    "budget_exceeded",
    "no_progress",
]
"""What SQL answers instead of starting anything: no authority, or no run to act for."""
StopCode = Literal[RefusalCode, "in_doubt", "key_reused", "no_approver_left"]
ClaimCode = Literal[StopCode, "go", "unfinished", "recorded", "replay", "forked", "approval_required", "in_flight"]
SettlementCode = Literal["settled", "already", "superseded", "killed"]
SendRefusal = Literal["killed", "cancelled"]
HoldCode = Literal[RefusalCode, "held", "approved", "approval_rejected", "approval_timeout", "no_approver_left"]

_STATES: tuple[EffectState, ...] = get_args(EffectState)
_READ_STATES: tuple[Literal["done", "failed"], ...] = ("done", "failed")
_CLAIM_CODES: tuple[ClaimCode, ...] = get_args(ClaimCode)
_SEND_CODES: tuple[SendRefusal | Literal["ok", "lease_lost", "not_found"], ...] = (
    *get_args(SendRefusal),
    "ok",
    "lease_lost",
    "not_found",
)
_SETTLEMENT_CODES: tuple[SettlementCode | Literal["not_found"], ...] = (*get_args(SettlementCode), "not_found")
_READ_CODES: tuple[RefusalCode | Literal["go", "replay"], ...] = (*get_args(RefusalCode), "go", "replay")
_RECORD_CODES: tuple[Literal["ok", "replay", "lease_lost"], ...] = ("ok", "replay", "lease_lost")
_HOLD_CODES: tuple[HoldCode, ...] = get_args(HoldCode)
_RESOLUTION_CODES: tuple[Literal["ok", "not_found", "conflict"], ...] = ("ok", "not_found", "conflict")
COLUMNS = """id, run, step, role, tool, user_id, key, generation, digest, args, amount,
  coalesce(currency, accounting_currency()) as currency, plan_hash, policy, approval,
  attempts, state, outcome, cost, claimed, settled, superseded_by, sent, looks,
  event_key_of(key, coalesce(event, generation)) as send_key,
  case state when 'in_doubt' then look_at end as next_look"""

REPEATS = 5
"""How often a run may make the very same call under different plans before it counts as going nowhere."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Answer to a claim: `go` with a permit, or the reason why not."""

    code: ClaimCode
    effect: str | None
    permit: str | None
    send_key: str | None
    """Key towards the service: the natural key and, from the second on, the number of the event."""
    state: EffectState | None
    outcome: Mapping[str, Json] | None

    @property
    def report(self) -> Mapping[str, Json]:
        """Return the result that is on record."""
        return cast(Mapping[str, Json], (self.outcome or {}).get("result", {}))


@dataclass(frozen=True, slots=True)
class Settlement:
    """Answer to a settlement: its code, and the state and outcome that stand recorded."""

    code: SettlementCode
    state: EffectState
    outcome: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class EffectRow:
    """One effect as it stands in the database; field names are those of its columns."""

    id: str
    run: str
    step: str
    role: str
    tool: str
    user_id: str
    key: str
    generation: int
    """Number of earlier effects under the same natural key, all of them failed or compensated."""
    digest: str
    args: Mapping[str, Json]
    amount: int
    """In minor units of its currency."""
    currency: str
    plan_hash: str
    policy: str
    approval: str | None
    attempts: int
    state: EffectState
    outcome: Mapping[str, Json] | None
    cost: Mapping[str, int]
    claimed: datetime
    settled: datetime | None
    superseded_by: str | None
    """The effect that set the same state anew, when this one was so no more."""
    sent: datetime | None
    """When a request for it may last have been sent."""
    looks: int
    """How often it was looked at while in doubt."""
    send_key: str
    """The key under which the service knows it."""
    next_look: datetime | None
    """When it is looked at again, if it is in doubt; in the past if no look is left."""


def request(lease: Lease, admission: AdmittedAction, decision: Decision) -> dict[str, Json]:
    """Return an action as every SQL function of the gateway takes it."""
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
        "per_run": admission.tool.key is None,
        "sets_state": admission.tool.sets_state,
        "amount": admission.facts.amount,
        "currency": admission.amount.currency if admission.amount else None,
        "cost": admission.tool.cost.as_json(),
        "checkpoint": action.checkpoint,
        "judged": judgement.record(admission, decision),
    }


async def claim(database: Database, lease: Lease, body: Mapping[str, Json]) -> Claim:
    """Take key, budget, approval and permit of a write in one commit."""
    row = await call(database, lease, "claim", body)
    state = None if row["state"] is None else member(_STATES, row["state"], "claim")
    code = member(_CLAIM_CODES, row["code"], "claim")
    return Claim(code, row["effect"], row["permit"], row["send_key"], state, row["outcome"])


async def register_send(database: Database, lease: Lease, claim: Claim) -> SendRefusal | None:
    """Register one more send of a claimed effect; returns why it may not be sent, or None. Raises LeaseLost."""
    body = {"effect": claim.effect, "permit": claim.permit, "fence": lease.fence, "checkpoint": lease.checkpoint}
    row = await call(database, lease, "register_send", body)
    match member(_SEND_CODES, row["code"], "register_send"):
        case "ok":
            return None
        case "lease_lost":
            raise LeaseLost(lease.run)
        case "not_found":
            raise unknown(str(claim.effect))
        case refusal:
            return refusal


async def settle(
    database: Database,
    access: Access,
    claim: Claim,
    *,
    state: Literal["done", "failed", "unverified", "in_doubt"],
    outcome: Mapping[str, Json],
    cost: Cost,
    attempt: Mapping[str, Json],
    checkpoint: str = "",
    extra: Mapping[str, Json] | None = None,
) -> Settlement:
    """Record the outcome of an effect; returns what stands recorded, which may come from another worker.

    `settled` and `already` are recorded outcomes. `superseded`: a successor holds the permit now, so that this
    failure is not the last word. `killed`: a stop switch stopped it on its way; it stays claimed for
    whoever resumes, who looks first.
    """
    body = {
        "effect": claim.effect,
        "permit": claim.permit,
        "state": state,
        "outcome": outcome,
        "cost": cost.as_json(),
        "attempt": attempt,
        "checkpoint": checkpoint,
        "extra": extra or {},
    }
    row = await database.call(access, "settle", body)
    code = member(_SETTLEMENT_CODES, row["code"], "settle")
    if code == "not_found":
        raise unknown(str(claim.effect))
    return Settlement(code, member(_STATES, row["state"], "settle"), row["outcome"] or {})


async def begin_read(
    database: Database, lease: Lease, body: Mapping[str, Json]
) -> Outcome | RefusalCode | Literal["go"]:
    """Return `go` if a read may start, the outcome of the same read if it is recorded, or why it may not start."""
    row = await call(database, lease, "begin_read", body)
    code = member(_READ_CODES, row["code"], "begin_read")
    return _read_outcome(row["body"]) if code == "replay" else code


async def end_read(database: Database, lease: Lease, body: Mapping[str, Json]) -> Outcome:
    """Record a read; returns the outcome that stands, the first writer's. Raises LeaseLost."""
    row = await call(database, lease, "end_read", {"run": lease.run, "fence": lease.fence, "body": body})
    if member(_RECORD_CODES, row["code"], "end_read") == "lease_lost":
        raise LeaseLost(lease.run)
    return _read_outcome(row["body"])


async def hold(database: Database, lease: Lease, body: Mapping[str, Json]) -> tuple[HoldCode, str | None]:
    """Open the approval, or find the one that is open; returns a code and the approval's id."""
    row = await call(database, lease, "hold", body)
    return member(_HOLD_CODES, row["code"], "hold"), row["approval"]


async def ls(
    database: Database, access: Access, *, run: str | None = None, state: OutcomeState | None = None, limit: int = 50
) -> list[EffectRow]:
    """Return effects, newest first, at most `limit`; an index has those that were not done, for whoever says so."""
    narrow = f"{'and run = %s' if run else ''} {'and state = %s' if state else ''}"
    rare = "and state <> 'done'" if state not in (None, "done") else ""
    query = f"select {COLUMNS} from effects where true {narrow} {rare} order by claimed desc, id limit %s"
    return [effect_of(row) for row in await database.rows(access, query, *filter(None, (run, state)), limit)]


async def show(database: Database, access: Access, effect: str) -> EffectRow:
    """Return one effect, by its id or by its natural key; raises Permanent("not_found")."""
    query = f"select {COLUMNS} from effects where id = %s or key = %s order by claimed desc limit 1"
    rows = await database.rows(access, query, effect, effect)
    if not rows:
        raise unknown(effect)
    return effect_of(rows[0])


async def resolve(
    connection: Connection, effect: str, state: Literal["done", "failed"], note: str
) -> tuple[EffectState, str]:
    """Record a person's finding about an effect in doubt; returns its state and its run."""
    cursor = await connection.execute("select * from resolve_effect(%s, %s, %s)", [effect, state, note])
    row = await cursor.fetchone() or {}
    match member(_RESOLUTION_CODES, row["code"], "resolve_effect"):
        case "not_found":
            raise unknown(effect)
        case "conflict":
            message = f"effect {effect!r} is {row['state']}: resolve what is in doubt, or unverified once its run ended"
            raise Permanent("conflict", message)
        case "ok":
            return member(_STATES, row["state"], "resolve_effect"), row["run"]


def outcome(state: EffectState | None, record: Mapping[str, Json], effect: str | None) -> Outcome:
    """Return a recorded effect as the outcome of its action; raises Permanent("internal") if it is not settled."""
    if state is None or state == "claimed":
        raise Permanent("internal", f"effect {effect!r} has no outcome yet; it is {state or 'unknown'}")
    code = {"failed": "tool_failed", "unverified": "unverified"}.get(state)
    result, message = cast(Mapping[str, Json], record.get("result", {})), str(record.get("message", ""))
    return Outcome(state, code, message, result, effect=effect, checked=record.get("checked") is True)


def _read_outcome(entry: Mapping[str, Any]) -> Outcome:
    state = member(_READ_STATES, entry["state"], "end_read")
    code = None if state == "done" else "tool_failed"
    record = entry["outcome"]
    return Outcome(state, code, record["message"], record["result"], cost=Cost(**entry["cost"]))


def effect_of(row: dict[str, Any]) -> EffectRow:
    """Return a row of `COLUMNS` as an effect."""
    state = member(_STATES, row.pop("state"), "effects")
    return EffectRow(**row, state=state)


def unknown(effect: str) -> Permanent:
    """Return the refusal of an effect that is not there."""
    return Permanent("not_found", f"there is no effect {effect!r}; `countersign effects show` takes an id or a key")
