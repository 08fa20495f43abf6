"""Scripted chat model that refuses to improvise, and a meter that counts in memory; used by tests of planning."""

from dataclasses import dataclass, field
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from pydantic import Field

from memory.errors import Permanent
from memory.runs.leases import Lease
from tools.action import Role
from tools.model import ModelCost


class ScriptedModel(BaseChatModel):
    """Plays its script; an exception in the script is raised in its turn."""

    script: list[Any]
    """Answers as text or message, or errors to raise."""
    prompts: list[str] = Field(default_factory=list[str])
    """Prompts so far, one text per call."""

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _generate(self, messages: list[BaseMessage], *args: Any, **options: Any) -> ChatResult:
        self.prompts.append("\n\n".join(message.text for message in messages))
        if not self.script:
            raise LookupError("the script has ended; a scripted model says nothing of its own")
        turn = self.script.pop(0)
        if isinstance(turn, Exception):
            raise turn
        answer = AIMessage(turn) if isinstance(turn, str) else turn
        return ChatResult(generations=[ChatGeneration(message=answer)])


@dataclass
class CountingMeter:
    """Counts tokens in memory and stops at a limit."""

    limit: int = 1_000_000
    reservation: int = 0
    usage: int = 0
    costs: list[ModelCost] = field(default_factory=list[ModelCost])

    async def reserve(self, lease: Lease, role: Role, tokens: int) -> None:
        """Set tokens aside or stop the run."""
        if self.usage + self.reservation + tokens > self.limit:
            raise Permanent("budget_exceeded", f"run {lease.run!r} has no tokens left for the {role}")
        self.reservation += tokens

    async def settle(self, lease: Lease, role: Role, cost: ModelCost) -> None:
        """Book what was used and release the rest."""
        self.reservation -= cost.reservation
        self.usage += cost.usage
        self.costs.append(cost)


def tool_call(name: str, arguments: dict[str, Any], text: str = "") -> AIMessage:
    """Return an answer that tries to call a tool."""
    return AIMessage(text, tool_calls=[{"name": name, "args": arguments, "id": "call_1", "type": "tool_call"}])


def script_model(*script: str | AIMessage | Exception) -> ScriptedModel:
    """Return a model that plays this script."""
    return ScriptedModel(script=list(script))
