"""Retries of one tool call: time-outs, back-off, read-back before a write is repeated; called by the gateway."""

import asyncio
import logging
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from memory.clock import Clock
from memory.errors import ControlError, Temporary
from tools.action import Json
from tools.tool import Call, Function, Tool

_LOG = logging.getLogger(__name__)
_MAX_DELAY = 5.0
_LEVELS = (logging.INFO, logging.WARNING, logging.ERROR)

Result = Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Attempt:
    """Result of all attempts of one call; `unknown` means that the effect may or may not have happened."""

    state: Literal["done", "failed", "unknown"]
    result: Result = field(default_factory=dict[str, Json])
    message: str = ""
    attempts: int = 0
    read_back: bool = False
    """True if a look-up showed that the service had done it already, so that no further attempt was made."""


async def call_tool(tool: Tool, arguments: object, call: Call, clock: Clock, *, first_look: bool = False) -> Attempt:
    """Perform one call, retrying what is temporary.

    A write whose reply was lost is looked up by its key before any retry; if the service cannot be asked, only a
    service that de-duplicates by our key is tried again. `first_look` starts with the look-up, for a successor of
    a process that died.
    """
    if first_look and (conclusion := await _after_loss(tool, arguments, call, clock, 0)):
        return conclusion
    failure, may_have_acted = Temporary("tool_failed", f"{tool.name!r} allows no attempt"), False
    for number in range(1, tool.attempts + 1):
        try:
            return Attempt("done", await _once(tool.run, tool, arguments, call), attempts=number)
        except Temporary as error:
            failure = error
            _LOG.log(_LEVELS[min(number, 3) - 1], "%s failed, attempt %d: %s", tool.name, number, error)
        except ControlError as error:
            # A refusal of the repetition says nothing of the one before, which may have got through meanwhile.
            conclusion = await _after_loss(tool, arguments, call, clock, number) if may_have_acted else None
            return conclusion or Attempt("failed", message=str(error), attempts=number)
        may_have_acted = may_have_acted or not failure.is_refusal
        if conclusion := await _after_loss(tool, arguments, call, clock, number, was_refused=failure.is_refusal):
            return conclusion
        if number < tool.attempts:
            await clock.sleep(backoff(number, failure.delay))
    is_silent = tool.effect != "read" and not failure.is_refusal
    return Attempt("unknown" if is_silent else "failed", message=str(failure), attempts=tool.attempts)


def backoff(number: int, base: float) -> float:
    """Return the seconds to wait after attempt `number`: doubling from `base`, capped, with a fifth of jitter."""
    jitter = random.uniform(0.8, 1.2)  # noqa: S311  # spreads retries, protects nothing
    return min(base * 2 ** (number - 1), _MAX_DELAY) * jitter


async def _after_loss(
    tool: Tool, arguments: object, call: Call, clock: Clock, number: int, *, was_refused: bool = False
) -> Attempt | None:
    """Decide after a lost reply: None means that trying again is safe, as it is once the service said `not now`."""
    if tool.effect == "read" or (was_refused and tool.lookup is None):
        return None
    record = await _look(tool, arguments, call, clock)
    if record:
        return Attempt("done", record, attempts=number, read_back=True)
    if record is None or not (tool.keyed or was_refused):
        return Attempt("unknown", message="the reply was lost and cannot be found out", attempts=number)
    return None


async def _look(tool: Tool, arguments: object, call: Call, clock: Clock) -> Result | None:
    """Return what the service recorded under our key, empty if nothing, None if it cannot be asked.

    A tool without look-up whose service de-duplicates counts as `nothing`: repeating it is safe.
    """
    if tool.lookup is None:
        return {} if tool.keyed else None
    for number in range(1, tool.attempts + 1):
        try:
            return await _once(tool.lookup, tool, arguments, call)
        except Temporary as error:
            _LOG.warning("read-back of %s failed, attempt %d: %s", tool.name, number, error)
            await clock.sleep(backoff(number, error.delay))
        except ControlError as error:
            _LOG.warning("read-back of %s refused: %s", tool.name, error)
            return None
    return None


async def _once(function: Function, tool: Tool, arguments: object, call: Call) -> Result:
    try:
        async with asyncio.timeout(tool.timeout):
            return await function(arguments, call)
    except TimeoutError:
        raise Temporary("tool_failed", f"{tool.name!r} gave no answer within {tool.timeout} s") from None
    except ControlError:
        raise
    except Exception as error:
        # An adapter's own mistake after it may have acted: treated like a lost reply, never as a refusal.
        _LOG.exception("tool %s raised", tool.name)
        raise Temporary("tool_failed", f"{tool.name!r} broke down: {type(error).__name__}") from error
