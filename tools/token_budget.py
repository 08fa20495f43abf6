"""Token budget of a run: reserved before each model call, settled after it; called by `tools.model`."""

from typing import Literal, get_args

from memory.errors import Halt, LeaseLost
from memory.postgres.codes import member
from memory.postgres.database import Database
from memory.runs import leases
from memory.runs.leases import Lease
from tools.action import Role
from tools.model import ModelCost

ReservationCode = Literal[
    "go", "killed", "not_found", "lease_lost", "forged_authority", "cancelled", "budget_exceeded", "no_progress"
]
_CODES: tuple[ReservationCode, ...] = get_args(ReservationCode)


class TokenMeter:
    """The token budget in the run row, and the record of prompts beside it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def reserve(self, lease: Lease, role: Role, tokens: int) -> None:
        """Set tokens aside; raises Halt or LeaseLost, and then nothing is asked."""
        body = {
            "run": lease.run,
            "fence": lease.fence,
            "role": role,
            "user": lease.access.principal.id,
            "tokens": tokens,
        }
        row = await leases.call(self._database, lease, "reserve_tokens", body)
        match member(_CODES, row["code"], "reserve_tokens"):
            case "go":
                return
            case "lease_lost":
                raise LeaseLost(lease.run)
            case code:
                raise Halt(code, f"the {role} was not asked: {code}, {tokens} tokens wanted")

    async def settle(self, lease: Lease, role: Role, cost: ModelCost) -> None:
        """Book what the call took, release the rest and keep prompt and answer."""
        body = {
            "run": lease.run,
            "checkpoint": lease.checkpoint,
            "used": cost.usage,
            "prompt_digest": cost.prompt_digest,
            "prompt": cost.prompt,
            "answer": cost.answer,
        }
        await leases.call(self._database, lease, "spend_tokens", body)
        # It was paid for: no successor is to ask it again.
        lease.hurry()
