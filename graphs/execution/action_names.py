"""Names of actions within a run: a step, one batch of it, or what takes it back.

Binding gives them; the gate and the audit read them. They stand in the journal and in approvals.
"""

_UNDO = "#undo"


def action_name(step: str, batch: int | None = None) -> str:
    """Return the name of a step's action; batches are counted from 0 here and named from 1."""
    return step if batch is None else f"{step}#{batch + 1}"


def undo_name(step: str) -> str:
    """Return the name of the action that takes a step back."""
    return step + _UNDO


def contested_name(plan_hash: str, action: str, effect: str) -> str:
    """Return the name under which people accept an outcome: of this action of this plan, with this effect."""
    return f"{plan_hash[:16]}:{action}:{effect}"


def step_name(action: str) -> str:
    """Return the step of an action; what takes a step back counts as a step of its own."""
    return action if action.endswith(_UNDO) else action.partition("#")[0]
