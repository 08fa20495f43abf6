"""Authors of what people are asked, and who is left to decide; the gateway and the API ask, requesters take over."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from psycopg.types.json import Jsonb

from memory.postgres.codes import member
from memory.postgres.database import Connection, Database
from memory.scope import Access

Standing = Literal["ok", "requester_excluded", "author_excluded", "over_limit"]
TakeOverCode = Literal[
    "ok",
    "not_found",
    "forbidden",
    "approval_void",
    "approval_decided",
    "approval_expired",
    "wrong_nonce",
    "no_approver_left",
    "conflict",
]
_STANDINGS: tuple[Standing, ...] = get_args(Standing)
_TAKE_OVER_CODES: tuple[TakeOverCode, ...] = get_args(TakeOverCode)
_OBSTACLES: Mapping[Standing, str] = {
    "requester_excluded": "asked for it",
    "author_excluded": "wrote it",
    "over_limit": "has too low a limit",
}
_REMEDIES: Mapping[Standing, str] = {
    "requester_excluded": "let somebody else ask for it",
    "author_excluded": "let the requester take the edit over (`countersign approvals take-over`)",
    "over_limit": "have a limit raised",
}


@dataclass(frozen=True, slots=True)
class TakeOver:
    """The effect of a take-over; `code` is `ok` or the reason why there is none."""

    code: TakeOverCode
    run: str | None
    status: str | None
    editors: tuple[str, ...]
    """The people whose edit it is, who may decide again."""
    wakes_run: bool
    """True if the run must be woken, in the same transaction."""


async def take_over(
    connection: Connection, *, approval: str, nonce: str, channel: str, credential: str | None = None
) -> TakeOver:
    """Make an edit a request of the entered person's own; only the requester may.

    `nonce` is that of a refused edit, which ends the round as edited, or that of the round after an edit, which goes
    on.
    """
    body = {"approval": approval, "nonce": nonce, "channel": channel, "credential": credential}
    cursor = await connection.execute("select * from take_over(%s)", [Jsonb(body)])
    row = await cursor.fetchone() or {}
    code = member(_TAKE_OVER_CODES, row["code"], "take_over")
    return TakeOver(code, row["run"], row["status"], tuple(row["editors"]), row["woken"])


async def deciders(database: Database, access: Access, question: Mapping[str, Any]) -> dict[str, Standing]:
    """Return how each person of the groups that are asked stands to a round, by name.

    `question` is `{"approval": ID}`, which may name another demand and one more `author`, or the body with which `hold`
    would open the round.
    """
    rows = await database.rows(access, "select person, standing from deciders(%s) order by person", Jsonb(question))
    return {row["person"]: member(_STANDINGS, row["standing"], "deciders") for row in rows}


async def shortage(database: Database, access: Access, question: Mapping[str, Any]) -> str:
    """Return in words why a round could not be decided, and who could be added or asked; `question` as above."""
    people = await deciders(database, access, question)
    return _shortage(question["need"], question["groups"], people)


def _shortage(need: int, groups: Sequence[str], people: Mapping[str, Standing]) -> str:
    able = [repr(person) for person, standing in people.items() if standing == "ok"]
    obstacles = [f"{person!r} {_OBSTACLES[standing]}" for person, standing in people.items() if standing in _OBSTACLES]
    team = f"group {' or '.join(map(repr, groups))}" if groups else "all people"
    reasons = ", ".join(obstacles) or "there is nobody else"
    remedies = dict.fromkeys(_REMEDIES[standing] for standing in people.values() if standing in _REMEDIES)
    remedy = ", or ".join([f"add somebody to {team}" if groups else "add a person", *remedies])
    return f"{need} of {team} must agree and {len(able)} can ({', '.join(able) or 'nobody'}): {reasons}; {remedy}"
