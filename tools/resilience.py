"""Retries of one tool call: time-outs, back-off, read-back before a write is repeated; called by the gateway."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar

from memory.clock import Clock
from memory.errors import ControlError, Temporary
from tools.action import NO_ANSWER, Json, as_object
from tools.deadline import deadline
from tools.tool import Call, ServiceRefusal, Tool

_LOG = logging.getLogger(__name__)
_MAX_DELAY = 5.0
_FIRST_DELAY = 0.1
_MARGIN = 0.05
"""Seconds that a wait for a proof is longer than it must be, so that no rounding spoils it."""
_PATIENCE = 5.0
"""Seconds that a call waits for a proof; what takes longer is left in doubt, and looked at again by a duty."""
_AWAY = 20.0
"""Seconds that a call waits for a service that cannot be reached; its attempts never left, so they do not count."""
_LEVELS = (logging.INFO, logging.WARNING, logging.ERROR)

Result = Mapping[str, Json]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Attempt:
    """Result of all attempts of one call; `unknown` means that the effect may or may not have happened."""

    state: Literal["done", "failed", "unknown"]
    result: Result = field(default_factory=dict[str, Json])
    message: str = ""
    attempts: int = 0
    read_back: bool = False
    """True if a look-up showed that the service had done it already, so that no further attempt was made."""
    stopped_by: str = ""
    """Why it was not sent again, if something stood against that."""
    is_key_dead: bool = False
    """True if the service will do nothing under this key any more."""


LookBeforeSend = Callable[[], Awaitable[str | None]]
"""Looks whether one more send is still allowed and registers it; answers why not, or None."""


async def call_tool(
    tool: Tool,
    arguments: object,
    call: Call,
    clock: Clock,
    *,
    first_look: bool = False,
    may_send: LookBeforeSend | None = None,
) -> Attempt:
    """Perform one call, retrying what is temporary.

    A write failed only by proof: it was never sent, or the service refused the only send for good, or a look-up after
    `settles_within` found nothing. Anything else after a send that may have arrived is `unknown`. `first_look` starts
    with the look-up, for a successor of a process that died. The claim covers the first send; `may_send` is asked
    before every later one.
    """
    if tool.effect == "read":
        return await _read(tool, arguments, call, clock)
    return await _Write(tool, arguments, call, clock, may_send or _always).perform(took_over=first_look)


async def _read(tool: Tool, arguments: object, call: Call, clock: Clock) -> Attempt:
    tries = _Tries(tool, clock)
    while True:
        try:
            return Attempt("done", await bounded(tool, lambda: tool.run(arguments, call)), attempts=tries.made + 1)
        except ControlError as error:
            tries.note(error)
            if not isinstance(error, Temporary):
                return Attempt("failed", message=str(error), attempts=tries.made)
            if not await tries.wait(error):
                return Attempt("failed", message=f"{NO_ANSWER} ({tries.made} tried): {error}", attempts=tries.made)


@dataclass(slots=True)
class _Tries:
    """Attempts of one call: those that left are counted, those that never left are bounded by time."""

    tool: Tool
    clock: Clock
    made: int = 0
    left: int = 0
    away_since: float | None = None

    def note(self, error: ControlError) -> None:
        """Count and log an attempt that failed."""
        self.made += 1
        _LOG.log(_LEVELS[min(self.made, 3) - 1], "%s failed, attempt %d: %s", self.tool.name, self.made, error)

    async def wait(self, error: ControlError) -> bool:
        """Wait until the next attempt is due; answers False if there is none."""
        if not self._allows_another(error):
            return False
        await self.clock.sleep(backoff(self.made, getattr(error, "delay", _FIRST_DELAY)))
        return True

    def _allows_another(self, error: ControlError) -> bool:
        if isinstance(error, Temporary) and error.is_unsent:
            now = self.clock.monotonic()
            self.away_since = now if self.away_since is None else self.away_since
            return now - self.away_since < _AWAY
        self.left, self.away_since = self.left + 1, None
        return self.left < self.tool.attempts


async def _always() -> str | None:
    return None


@dataclass(slots=True)
class _Write:
    """One write until its outcome is proven or cannot be."""

    tool: Tool
    arguments: object
    call: Call
    clock: Clock
    may_send: LookBeforeSend
    open_sends: int = 0
    """Sends that may have arrived and of which nothing is known."""
    last_send: float | None = None
    last_look: float = 0.0
    """When the last look-up that was answered began: what it did not see may have come since."""
    message: str = "the reply was lost and cannot be found out"

    async def perform(self, *, took_over: bool) -> Attempt:
        if took_over:
            self._note_send()
            if conclusion := await self._find_out(0):
                return conclusion
        tries = _Tries(self.tool, self.clock)
        while True:
            if (tries.made or took_over) and (refusal := await self.may_send()):
                return await self._stop(refusal, tries.made)
            try:
                return Attempt("done", await self._send(), attempts=tries.made + 1)
            except ControlError as error:
                tries.note(error)
                self.message = str(error)
                if conclusion := await self._after(error, tries.made):
                    return conclusion
                if not await tries.wait(error):
                    return await self._conclude(tries.made)

    async def _send(self) -> Result:
        return await bounded(self.tool, lambda: self.tool.run(self.arguments, self.call))

    async def _after(self, error: ControlError, number: int) -> Attempt | None:
        """Conclude from an answer, or from silence; None means that one more send is safe."""
        if isinstance(error, Temporary) and error.is_unsent:
            return None
        if self._is_final(error):
            is_key_dead = isinstance(error, ServiceRefusal) and error.is_key_dead
            return Attempt("failed", message=str(error), attempts=number, is_key_dead=is_key_dead)
        self._note_send()
        return await self._find_out(number)

    def _is_final(self, error: ControlError) -> bool:
        """Return whether a refusal proves that nothing happened under this key."""
        if isinstance(error, Temporary):
            return False
        status = error.status if isinstance(error, ServiceRefusal) else None
        if self.open_sends:
            return status in self.tool.final_repeats
        return status is None or status in self.tool.final

    def _note_send(self) -> None:
        self.open_sends += 1
        self.last_send = self.clock.monotonic()

    async def _find_out(self, number: int) -> Attempt | None:
        """Look the effect up; None means that one more send is safe: the service de-duplicates, or nothing arrived."""
        if self.tool.lookup is None:
            return None if self.tool.keyed else self._unknown(number)
        record = await self._look()
        if record == {} and not self.tool.keyed and self._remaining() is not None:
            record = await self._look_when_settled()
        if record:
            return Attempt("done", record, attempts=number, read_back=True)
        if record is None or not (self._is_proven_absent() or self.tool.keyed):
            return self._unknown(number)
        return None

    async def _look_when_settled(self) -> Result | None:
        """Wait until an earlier send cannot be at work any more, if that is soon, and look again."""
        remaining = self._remaining()
        if remaining is None or remaining > _PATIENCE:
            return {}
        await self.clock.sleep(remaining + _MARGIN)
        return await self._look()

    def _remaining(self) -> float | None:
        """Return the seconds until the last send is settled, None if nobody knows how long that takes."""
        if self.tool.settles_within is None or self.last_send is None:
            return None
        return max(0.0, self.last_send + self.tool.settles_within - self.clock.monotonic())

    def _is_proven_absent(self) -> bool:
        """Return whether the look-up that found nothing began late enough to be a proof; if so, nothing is open."""
        if self.tool.settles_within is None or self.last_send is None:
            return False
        if self.last_look - self.last_send < self.tool.settles_within:
            return False
        self.open_sends = 0
        return True

    async def _conclude(self, number: int) -> Attempt:
        """Conclude after the last send: what was never sent or is proven absent has failed, the rest nobody knows."""
        if self.open_sends and self.tool.lookup and self._remaining() is not None:
            record = await self._look_when_settled()
            if record:
                return Attempt("done", record, attempts=number, read_back=True)
            if record is None or not self._is_proven_absent():
                return self._unknown(number)
        if self.open_sends:
            return self._unknown(number)
        return Attempt("failed", message=self.message, attempts=number)

    async def _stop(self, refusal: str, number: int) -> Attempt:
        """Send no more: look once what came of the earlier sends, since reading goes on when acting is stopped."""
        self.message = f"not sent again: {refusal}"
        if self.open_sends and self.tool.lookup and (record := await self._look()):
            return Attempt("done", record, attempts=number, read_back=True)
        conclusion = (
            self._unknown(number) if self.open_sends else Attempt("failed", message=self.message, attempts=number)
        )
        return replace(conclusion, stopped_by=refusal)

    def _unknown(self, number: int) -> Attempt:
        return Attempt("unknown", message=self.message, attempts=number)

    async def _look(self) -> Result | None:
        """Return what the service recorded under our key, empty if nothing, None if it cannot be asked."""
        tries = _Tries(self.tool, self.clock)
        while True:
            self.last_look = self.clock.monotonic()
            try:
                return await look_up(self.tool, self.arguments, self.call)
            except ControlError as error:
                tries.note(error)
                if not (isinstance(error, Temporary) and await tries.wait(error)):
                    return None


def backoff(number: int, base: float) -> float:
    """Return the seconds to wait after attempt `number`: doubling from `base`, capped, with a fifth of jitter."""
    jitter = random.uniform(0.8, 1.2)  # noqa: S311  # spreads retries, protects nothing
    return min(base * 2 ** (number - 1), _MAX_DELAY) * jitter


async def look_up(tool: Tool, arguments: object, call: Call) -> Result | None:
    """Ask once what the service recorded under the call's key; empty if nothing, None for an answer of another shape.

    Raises Temporary or Permanent, whatever goes wrong.
    """
    lookup = tool.lookup
    assert lookup
    return as_object(await bounded(tool, lambda: lookup(arguments, call)))


async def bounded(tool: Tool, work: Callable[[], Awaitable[T]]) -> T:
    """Return what one attempt comes to, within the tool's time.

    Raises Temporary or Permanent, whatever goes wrong.
    """
    try:
        async with deadline(tool.timeout):
            return await work()
    except TimeoutError:
        raise Temporary("tool_failed", f"{tool.name!r} gave no answer within {tool.timeout} s") from None
    except ControlError:
        raise
    except asyncio.CancelledError:
        # A task of the tool's own that was cancelled is its breakdown; this one may be told to stop.
        if (task := asyncio.current_task()) and task.cancelling():
            raise
        raise Temporary("tool_failed", f"{tool.name!r} broke down: something in it was cancelled") from None
    except Exception as error:
        # An adapter's own mistake after it may have acted: treated like a lost reply, never as a refusal.
        _LOG.exception("tool %s raised", tool.name)
        raise Temporary("tool_failed", f"{tool.name!r} broke down: {type(error).__name__}") from error
