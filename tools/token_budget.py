"""Token budget of a run: reserved before each model call, settled after it; called by `tools.model`."""

from typing import cast

from memory.errors import Code, Halt, LeaseLost
from memory.postgres.database import Database
from memory.runs.records import Lease
from tools.action import Role
from tools.model import ModelCost


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
        row = await self._database.call(lease.access, "reserve_tokens", body)
        if row["code"] == "lease_lost":
            raise LeaseLost(lease.run)
        if row["code"] != "go":
            raise Halt(cast(Code, row["code"]), f"the {role} was not asked: {row['code']}, {tokens} tokens wanted")

    async def settle(self, lease: Lease, role: Role, cost: ModelCost) -> None:
        """Book what the call took, release the rest and keep prompt and answer."""
        body = {
            "run": lease.run,
            "used": cost.usage,
            "prompt_digest": cost.prompt_digest,
            "prompt": cost.prompt,
            "answer": cost.answer,
        }
        await self._database.call(lease.access, "spend_tokens", body)
