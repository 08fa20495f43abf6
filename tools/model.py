"""Metered chat model that answers with one JSON document of a given shape and never acts.

Called by the model planner. Anything else that a model answers, tool calls above all, is reported and goes nowhere.
"""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from pydantic import BaseModel, ValidationError

from memory import json_text
from memory.errors import Halt, Permanent
from memory.runs.leases import Lease
from tools.action import Role, digest

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import AIMessage

ModelAnswer = TypeVar("ModelAnswer", bound=BaseModel)

ANSWER_TOKENS = 4_000
"""Reserved for one answer, on top of the prompt."""
LONGEST = 100_000
"""Characters of an answer that are looked at; anything longer is a breach."""


class Meter(Protocol):
    """The run's token budget and its record of prompts."""

    async def reserve(self, lease: Lease, role: Role, tokens: int) -> None:
        """Set tokens aside before the call; raises Permanent `budget_exceeded`, and then no call is made."""
        ...

    async def settle(self, lease: Lease, role: Role, cost: "ModelCost") -> None:
        """Book what a call took, release the rest, and keep the prompt and the answer for people."""
        ...


@dataclass(frozen=True, slots=True)
class PromptMessage:
    """One message of a prompt."""

    role: str
    """`system` for our own words, `user` for everything that is quoted."""
    text: str


@dataclass(frozen=True, slots=True)
class ModelCost:
    """Tokens, prompt and answer of one call to the model."""

    reservation: int
    usage: int
    """Tokens by the provider's count, or the estimate if it gives none; 0 if the call failed."""
    prompt_digest: str
    prompt: str
    answer: str


@dataclass(frozen=True, slots=True)
class Violation:
    """An answer that broke the contract of its role; it is journaled and never reaches state."""

    role: Role
    field: str
    attempt: int

    def as_json(self) -> dict[str, str | int]:
        """Return the violation as it stands in the journal."""
        return {"role": self.role, "field": self.field, "attempt": self.attempt}


@dataclass(frozen=True, slots=True)
class Reply(Generic[ModelAnswer]):
    """An answer of the right shape, or none, with the problems of the text that came."""

    value: ModelAnswer | None
    problems: tuple[str, ...] = ()
    violations: tuple[Violation, ...] = ()


class Model:
    """Any LangChain chat model, metered; it is never given tools to call."""

    def __init__(self, chat: "BaseChatModel", meter: Meter, *, timeout: float = 60.0) -> None:
        self._chat = chat
        self._meter = meter
        self._timeout = timeout

    async def ask(
        self,
        lease: Lease,
        role: Role,
        messages: Sequence[PromptMessage],
        schema: type[ModelAnswer],
        *,
        attempt: int = 1,
    ) -> Reply[ModelAnswer]:
        """Return the answer as `schema`, or the problems with it; one call, no repair.

        Raises Halt `budget_exceeded` before the call, Halt `unavailable` if the model does not answer: the run stops
        and can be resumed, the worker and its other runs go on.
        """
        prompt = "\n\n".join(f"[{message.role}]\n{message.text}" for message in messages)
        reservation = estimate(prompt) + ANSWER_TOKENS
        await self._meter.reserve(lease, role, reservation)
        usage, text = 0, ""
        try:
            answer = await self._call(messages)
            text = _storable(answer.text)
            usage = max(answer.usage_metadata["total_tokens"] if answer.usage_metadata else estimate(prompt + text), 0)
        finally:
            await self._meter.settle(lease, role, ModelCost(reservation, usage, digest(prompt), prompt, text))
        calls = bool(answer.tool_calls or answer.invalid_tool_calls)
        return _parse(text, schema, calls, role=role, attempt=attempt)

    async def _call(self, messages: Sequence[PromptMessage]) -> "AIMessage":
        try:
            async with asyncio.timeout(self._timeout):
                return await self._chat.ainvoke([(message.role, message.text) for message in messages])
        except TimeoutError:
            message = f"the model did not answer within {self._timeout:g} s; resume the run when it does"
            raise Halt("unavailable", message) from None
        except Exception as error:  # providers share no family of errors
            raise Halt("unavailable", f"the model failed: {type(error).__name__}: {str(error)[:200]}") from error


def estimate(text: str) -> int:
    """Return a deterministic token count for a text: four bytes each, rounded up."""
    return -(-len(text.encode()) // 4)


def open_model(name: str, base_url: str | None = None, **options: Any) -> "BaseChatModel":
    """Return the chat model that LangChain's `init_chat_model` knows by this name, without retries of its own.

    Raises Permanent `configuration` if the extra is not installed or the name unknown.
    """
    try:
        chat_models = import_module("langchain.chat_models")
        endpoint = {"base_url": base_url} if base_url else {}
        return chat_models.init_chat_model(
            name, temperature=0, max_retries=0, max_tokens=ANSWER_TOKENS, **endpoint, **options
        )
    except ImportError as error:
        raise Permanent("configuration", f"model {name!r} needs {error.name!r}; install the extra `models`") from None
    except ValueError as error:
        raise Permanent("configuration", f"model {name!r} cannot be opened: {error}; check COUNTERSIGN_MODEL") from None


def _parse(text: str, schema: type[ModelAnswer], calls: bool, *, role: Role, attempt: int) -> Reply[ModelAnswer]:
    violations = [Violation(role, "tool_calls", attempt)] if calls else []
    problems = ["tool calls are not answered; write the JSON document alone"] if calls else []
    try:
        if len(text) > LONGEST:
            raise ValueError(f"the answer has {len(text)} characters; the limit is {LONGEST}")
        document = json_text.read(_strip_fence(text))
        # Escapes can still spell what the database cannot keep; an encoding error is a ValueError too.
        if "\\u0000" in json.dumps(document, ensure_ascii=False).encode().decode():
            raise ValueError("it holds a NUL character")
        value = schema.model_validate(document)
        return Reply(value, tuple(problems), tuple(violations))
    except ValidationError as error:
        for part in error.errors()[:10]:
            path = ".".join(str(step) for step in part["loc"]) or "document"
            problems.append(f"{path}: {part['msg']}")
            violations.append(Violation(role, path[:100], attempt))
    except (ValueError, RecursionError) as error:
        problems.append(f"the answer is no JSON document: {str(error)[:200]}")
        violations.append(Violation(role, "json", attempt))
    return Reply(None, tuple(problems), tuple(violations))


def _storable(text: str) -> str:
    """Return the text as the database can keep it: bad characters replaced, cut after the longest legal answer."""
    return text[: LONGEST + 1].replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()


def _strip_fence(text: str) -> str:
    inner = text.strip()
    if inner.startswith("```") and inner.endswith("```"):
        inner = inner.removeprefix("```json").removeprefix("```").removesuffix("```")
    return inner
