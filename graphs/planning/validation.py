"""Whether a plan can be run as written: its tools, effects, arguments and conditions against the catalogue.

Called by the planner, by the API for plans that clients give, and by the tests that try every shipped runbook.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from graphs.planning.json_schema import misfit, part_of
from graphs.planning.plan import Batch, Cut, Plan, Ref, Step, Value, refs
from memory.errors import Permanent
from tools import cel
from tools.action import Effect, canonical
from tools.cel import ValueType

Literals = frozenset[tuple[str, str, str]]
"""Tool, argument and canonical value of literals that a person wrote into a runbook."""


class Card(Protocol):
    """What a planner may know of a tool: nothing that could call it."""

    @property
    def name(self) -> str:
        """Name of the tool, as steps use it."""
        ...

    @property
    def summary(self) -> str:
        """What the tool does, for people and models."""
        ...

    @property
    def effect(self) -> Effect:
        """Whether it reads, writes or destroys."""
        ...

    @property
    def schema(self) -> Mapping[str, Any]:
        """JSON schema of the arguments."""
        ...

    @property
    def compensate(self) -> str:
        """Name of the tool that takes this one back; empty if none does."""
        ...

    @property
    def data(self) -> tuple[str, ...]:
        """Classes of data that leave or enter."""
        ...


def validate(plan: Plan, cards: Mapping[str, Card], allowed: Literals = frozenset()) -> list[str]:
    """Return what is wrong with the plan, one sentence each; an empty list means that it can be run.

    A plan by a model may hold no literal but flags, choices, defaults and those in `allowed`, and may not pass on
    text that outsiders wrote: ids, amounts and recipients are references to inputs or results.
    """
    problems: list[str] = []
    dirty = tainted(plan, cards)
    for position, step in enumerate(plan.steps):
        card = cards.get(step.tool)
        if card is None:
            problems.append(f"step {step.id!r}: there is no tool {step.tool!r}; `tools ls` names those there are")
            continue
        found = [*_effect(step, card), *_arguments(step, card), *_conditions(plan, position), *_undo(step, card, cards)]
        if plan.source == "model":
            found += [*_literals(step, card, allowed), *_outsiders(step, dirty)]
        problems += [f"step {step.id!r}: {problem}" for problem in found]
    return problems


def tainted(plan: Plan, cards: Mapping[str, Card]) -> frozenset[str]:
    """Return the steps whose results may hold text that an outsider wrote, directly or through their arguments."""
    dirty: set[str] = set()
    for step in plan.steps:
        card = cards.get(step.tool)
        if (card is not None and "untrusted_text" in card.data) or any(_step(ref) in dirty for ref in refs(step)):
            dirty.add(step.id)
    return frozenset(dirty)


def literals(plan: Plan) -> Literals:
    """Return the literal arguments of a plan that a person wrote."""
    return frozenset(
        (step.tool, name, canonical(value))
        for step in plan.steps
        for name, value in step.args.items()
        if not isinstance(value, Ref | Cut)
    )


def variables(plan: Plan, position: int, *more: str) -> Mapping[str, ValueType]:
    """Return what a condition of the step at this position may look at, with its kinds."""
    known: dict[str, ValueType] = {f"inputs.{name}": cel.value_type(value) for name, value in plan.inputs.items()}
    names = [*(f"steps.{step.id}" for step in plan.steps[:position]), *more]
    known.update({name: "any" for name in names})
    return known


def _effect(step: Step, card: Card) -> Iterator[str]:
    if step.effect != card.effect:
        yield f"says effect {step.effect!r}, but tool {card.name!r} is a {card.effect}"


def _arguments(step: Step, card: Card) -> Iterator[str]:
    given: dict[str, Value | Batch] = {**step.args}
    if step.batch:
        given[step.batch.into] = step.batch
    yield from _fit(given, card)


def _undo(step: Step, undone: Card, cards: Mapping[str, Card]) -> Iterator[str]:
    if step.compensate is None:
        return
    card = cards.get(step.compensate.tool)
    if card is None:
        yield f"is compensated by {step.compensate.tool!r}, which is no tool"
        return
    # Whatever counts as taken back may happen again: the tool's author says what takes it back, not the plan.
    if card.name != undone.compensate:
        proper = repr(undone.compensate) if undone.compensate else "nothing"
        yield f"is compensated by {card.name!r}, but {undone.name!r} is taken back by {proper}"
    for problem in _fit({**step.compensate.args}, card):
        yield f"compensation: {problem}"


def _fit(given: Mapping[str, Value | Batch], card: Card) -> Iterator[str]:
    properties: Mapping[str, Any] = card.schema.get("properties", {})
    for name in sorted(given.keys() - properties.keys()):
        yield f"tool {card.name!r} takes no argument {name!r}; it takes {', '.join(sorted(properties)) or 'none'}"
    for name in sorted(set(card.schema.get("required", ())) - given.keys()):
        yield f"argument {name!r} of {card.name!r} is missing"
    for name in sorted(given.keys() & properties.keys()):
        problem = _misfit(given[name], properties[name], card.schema)
        if problem:
            yield f"argument {name!r} of {card.name!r}: {problem}"


def _misfit(value: Value | Batch, schema: Mapping[str, Any], root: Mapping[str, Any]) -> str | None:
    if isinstance(value, Ref):
        return None
    if isinstance(value, Cut | Batch):
        return None if part_of(schema, root) else "it takes no part of a result"
    return misfit(value, schema, root)


def _conditions(plan: Plan, position: int) -> Iterator[str]:
    step = plan.steps[position]
    if "result" not in step.expect and "steps." not in step.expect:
        yield f"expectation {step.expect!r} looks at no result"
    try:
        cel.compile(step.expect, variables(plan, position, "result", "args"))
        if step.when:
            cel.compile(step.when, variables(plan, position))
        for value in step.args.values():
            if step.tool == "sets.split" and isinstance(value, list):
                cel.case_fields(cel.parse_cases(value))
    except Permanent as refused:
        yield str(refused)


def _literals(step: Step, card: Card, allowed: Literals) -> Iterator[str]:
    schemas: Mapping[str, Mapping[str, Any]] = card.schema.get("properties", {})
    given = [(step.tool, name, value, schemas.get(name, {})) for name, value in step.args.items()]
    if step.compensate:
        given += [(step.compensate.tool, name, value, {}) for name, value in step.compensate.args.items()]
    for tool, name, value, schema in given:
        if not _is_harmless(value, schema) and (tool, name, _text(value)) not in allowed:
            yield f"argument {name!r} of {tool!r} is a literal; refer to an input or to an earlier result"


def _is_harmless(value: Value, schema: Mapping[str, Any]) -> bool:
    if isinstance(value, Ref | Cut | bool):
        return True
    return "enum" in schema or "const" in schema or ("default" in schema and schema["default"] == value)


def _text(value: Value) -> str:
    return "" if isinstance(value, Ref | Cut) else canonical(value)


def _outsiders(step: Step, dirty: frozenset[str]) -> Iterator[str]:
    for ref in refs(step):
        if step.effect != "read" and _step(ref) in dirty:
            yield f"{ref.ref!r} may hold text that an outsider wrote; it cannot be an argument of an effect"


def _step(ref: Ref) -> str:
    root, name, *_ = ref.ref.split(".")
    return name if root == "steps" else ""
