"""Plans of runs as typed values, parsed once per content address.

Routers and nodes ask here for the plan that a state holds; one process parses it once, however many steps it takes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from graphs.planning.plan import Plan, Step
from graphs.state import State
from memory.errors import Permanent
from tools.action import Json, digest

_LIMIT = 256
"""Plans that a process remembers; far more than it leads runs at once."""


@dataclass(frozen=True, slots=True)
class _StoredPlan:
    """A plan as state holds it. Equal addresses mean equal plans, so the body takes no part in comparisons."""

    address: str
    body: Mapping[str, Json] = field(compare=False)


def plan_of(state: State) -> Plan:
    """Return the plan that the run follows; only for states that have one.

    Raises Permanent("plan_invalid") if the state's plan is not the one that its hash names.
    """
    body = state.get("plan")
    if body is None:
        raise Permanent("plan_invalid", "the run has no plan here; its flow leads to a node that needs one")
    return _parse(_StoredPlan(state.get("plan_hash", ""), body))


def step_of(state: State) -> Step | None:
    """Return the step that the run stands at, or None after the last one."""
    plan, cursor = plan_of(state), state.get("cursor", 0)
    return plan.steps[cursor] if cursor < len(plan.steps) else None


@lru_cache(maxsize=_LIMIT)
def _parse(plan: _StoredPlan) -> Plan:
    # The stored text is compared, not the parsed plan: a newer release may know fields that an older plan lacks.
    if digest(plan.body) != plan.address:
        message = f"the run's plan is not the one named {plan.address[:16]!r}; start the run anew"
        raise Permanent("plan_invalid", message)
    return Plan.model_validate(plan.body)
