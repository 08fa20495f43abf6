"""Currencies that a plan puts before people in one question, as far as they are known before it runs.

Called by validation.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping

from graphs.planning.plan import Plan, Ref, Step
from tools.catalog import ToolCard
from tools.money import code

_ARGUMENT = "args."


def mixtures(plan: Plan, cards: Mapping[str, ToolCard]) -> Iterator[str]:
    """Yield a sentence for each gate whose amounts have no sum, and for each step that names no currency of ISO 4217.

    What comes from a result is known only later; the question is refused then.
    """
    gates: dict[str, dict[str, str]] = defaultdict(dict)
    for step in plan.steps:
        currency = _currency(plan, step, cards.get(step.tool))
        if currency is not None:
            yield from _unknown(step, currency)
            gates[step.gate or ""].setdefault(currency, step.id)
    yield from (_sentence(gate, steps) for gate, steps in gates.items() if gate and len(steps) > 1)


def _unknown(step: Step, currency: str) -> Iterator[str]:
    try:
        code(currency)
    except ValueError as error:
        yield f"step {step.id!r}: {error}"


def _sentence(gate: str, steps: Mapping[str, str]) -> str:
    parts = " and ".join(f"{currency} (step {step!r})" for currency, step in steps.items())
    return (
        f"gate {gate!r} puts {parts} before people in one question: amounts of different currencies have no sum; "
        "give the steps of each currency a gate of their own"
    )


def _currency(plan: Plan, step: Step, card: ToolCard | None) -> str | None:
    """Return the currency of a step's amount, or None if it has none or its results must say."""
    source = card.currency if card else ""
    if card is None or not source.startswith(_ARGUMENT):
        return source or None
    name = source.removeprefix(_ARGUMENT)
    return _literal(plan, step.args.get(name, card.schema.get("properties", {}).get(name, {}).get("default")))


def _literal(plan: Plan, value: object) -> str | None:
    """Return a text that stands in the plan, as an argument or as an input."""
    if isinstance(value, Ref):
        root, name, *_ = value.ref.split(".")
        value = plan.inputs.get(name) if root == "inputs" else None
    return value if isinstance(value, str) else None
