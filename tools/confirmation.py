"""Confirmation of writes: a look at the target after the answer, and before a step is skipped; made by the calls.

A look-up asks a service what it remembers of our request and confirms nothing; this asks how the world stands.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, cast

from memory.clock import Clock
from memory.errors import ControlError, Temporary
from tools import answers
from tools.action import Json, Outcome, canonical, digest
from tools.resilience import backoff, bounded
from tools.tool import Call, Observation, Tool

_LONGEST = 60.0
"""Seconds that a call waits at most for the world to show a write."""
_FIRST_PAUSE = 0.1
_LARGEST_FACTS = 4_000
"""Bytes of an observation's facts in canonical JSON."""

Verdict = Literal["confirmed", "contradicted", "unchecked"]


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What the world says of a write that was reported done."""

    verdict: Verdict
    facts: Mapping[str, Json] = field(default_factory=dict[str, Json])
    message: str = ""

    @property
    def is_checked(self) -> bool:
        """Return whether the world was seen to be as reported."""
        return self.verdict == "confirmed"

    @property
    def observed(self) -> Mapping[str, Json] | None:
        """Return what is to be seen, if the world was seen to be as reported."""
        return self.facts if self.is_checked else None

    def backs(self, tool: Tool, *, is_done: bool) -> bool:
        """Return whether a step may be skipped for an earlier effect; only what has no read is taken on trust."""
        return self.is_checked or (tool.observe is None and is_done)

    def skip(self, outcome: Outcome) -> Outcome:
        """Return the outcome of a step that was done before and is still so, with what is to be seen of it now."""
        result = {**outcome.result, **(self.observed or {})}
        return replace(
            outcome, state="skipped", code=None, message="already done", result=result, observed=self.observed,
            checked=self.is_checked,
        )  # fmt: skip

    def contest(self, outcome: Outcome) -> Outcome:
        """Return the outcome of a step that was done before and is not to be seen any more."""
        message = f"done before as effect {outcome.effect!r}, which cannot be confirmed now: {self.message}"
        result = {**outcome.result, "already_done": 1}
        return replace(outcome, state="unverified", code="unverified", message=answers.plain(message), result=result)

    def as_json(self) -> dict[str, Json]:
        """Return the confirmation as it stands in the settled entry: the facts by their digest."""
        facts: dict[str, Json] = {"digest": digest(self.facts)} if self.facts else {}
        return {"verdict": self.verdict, **facts}


async def confirm(tool: Tool, arguments: object, call: Call, clock: Clock, report: Mapping[str, Json]) -> Confirmation:
    """Look at a write's target until it shows what was report, or should have by now.

    Within `settles_within` of the card absence is no contradiction yet. What cannot be looked at is unchecked.
    """
    if tool.observe is None:
        return Confirmation("unchecked", message=f"{tool.name!r} says no way to look at its target")
    began, looks, failures = clock.monotonic(), 0, 0
    while True:
        try:
            observation = await observe(tool, arguments, call, report)
        except ControlError as error:
            failures += 1
            if failures >= tool.attempts:
                return Confirmation("unchecked", message=f"the target could not be looked at: {error}")
        else:
            looks, failures = looks + 1, 0
            if conclusion := _conclude(tool, observation, looks, clock.monotonic() - began):
                return conclusion
        await clock.sleep(backoff(looks + failures, _FIRST_PAUSE))


async def observe(tool: Tool, arguments: object, call: Call, report: Mapping[str, Json]) -> Observation:
    """Look once at a write's target; raises Temporary or Permanent, whatever goes wrong."""
    look = tool.observe
    assert look
    observation = await bounded(tool, lambda: look(arguments, call, report))
    if not (isinstance(cast(object, observation), Observation) and answers.is_small(observation.facts, _LARGEST_FACTS)):
        raise Temporary("tool_failed", f"{tool.name!r} answered no small Observation")
    return observation


def _conclude(tool: Tool, observation: Observation, looks: int, seconds: float) -> Confirmation | None:
    """Conclude from a look; None means that the write may still come to be seen."""
    if observation.holds is True:
        return Confirmation("confirmed", observation.facts)
    settles_within = tool.settles_within or 0.0
    if looks < tool.attempts or seconds < min(settles_within, _LONGEST):
        return None
    if settles_within > _LONGEST:
        return Confirmation(
            "unchecked", observation.facts, f"not to be seen after {seconds:.0f} s, which may be too early"
        )
    return Confirmation("contradicted", observation.facts, contradiction(tool, observation))


def contradiction(tool: Tool, observation: Observation) -> str:
    """Return what people are told when the world does not show what was reported."""
    return f"{tool.name!r} reported success, but its target shows {canonical(observation.facts)[:300]}"
