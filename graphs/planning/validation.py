"""Validation of plans against the catalogue: tools, effects, arguments, conditions, and whose words may become what.

Called by the planner, by the API for plans that clients give, and by the tests that try every shipped runbook.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from graphs.planning.json_schema import misfit, part_of
from graphs.planning.mixtures import mixtures
from graphs.planning.plan import Batch, Cut, Plan, Ref, Step, Value, refs
from memory.errors import Permanent
from tools import cel
from tools.action import canonical
from tools.catalog import ToolCard
from tools.cel import ValueType

Literals = frozenset[tuple[str, str, str]]
"""Tool, argument and canonical value of literals that a person wrote into a runbook."""


def validate(plan: Plan, cards: Mapping[str, ToolCard], exceptions: Literals = frozenset()) -> list[str]:
    """Return what is wrong with the plan, one sentence each; an empty list means that it can be run.

    A plan by a model may hold no literal but flags, choices, defaults and those in `exceptions`, and may not pass on
    text that outsiders wrote: ids, amounts and recipients are references to inputs or results.
    """
    problems: list[str] = []
    dirty = taint_of(plan, cards)
    for position, step in enumerate(plan.steps):
        card = cards.get(step.tool)
        if card is None:
            problems.append(f"step {step.id!r}: there is no tool {step.tool!r}; `tools ls` names those there are")
            continue
        sentences = [*_effect(step, card), *_arguments(step, card), *_conditions(plan, position)]
        sentences += _compensation(step, card, cards)
        if plan.source == "model":
            sentences += [*_literals(step, card, exceptions), *_outsiders(step, dirty)]
        problems += [f"step {step.id!r}: {sentence}" for sentence in sentences]
    return [*problems, *mixtures(plan, cards)]


def taint_of(plan: Plan, cards: Mapping[str, ToolCard]) -> frozenset[str]:
    """Return the steps whose results may hold text that an outsider wrote, directly or through their arguments."""
    dirty: set[str] = set()
    for step in plan.steps:
        card = cards.get(step.tool)
        if (card is not None and "untrusted_text" in card.data) or any(ref.step in dirty for ref in refs(step)):
            dirty.add(step.id)
    return frozenset(dirty)


def steps_under_taint(plan: Plan, cards: Mapping[str, ToolCard]) -> frozenset[str]:
    """Return the steps whose arguments may hold text that an outsider wrote."""
    dirty = taint_of(plan, cards)
    return frozenset(step.id for step in plan.steps if any(ref.step in dirty for ref in refs(step)))


def literals(plan: Plan) -> Literals:
    """Return the literal arguments of a plan that a person wrote."""
    return frozenset(
        (step.tool, name, canonical(value))
        for step in plan.steps
        for name, value in step.args.items()
        if not isinstance(value, Ref | Cut)
    )


def variables(plan: Plan, position: int, *extra: str) -> Mapping[str, ValueType]:
    """Return what a condition of the step at this position may look at, by type."""
    types: dict[str, ValueType] = {f"inputs.{name}": cel.value_type(value) for name, value in plan.inputs.items()}
    names = [*(f"steps.{step.id}" for step in plan.steps[:position]), *extra]
    return {**types, **dict.fromkeys(names, "any")}


def _effect(step: Step, card: ToolCard) -> Iterator[str]:
    if step.effect != card.effect:
        yield f"says effect {step.effect!r}, but tool {card.name!r} is a {card.effect}"


def _arguments(step: Step, card: ToolCard) -> Iterator[str]:
    arguments: dict[str, Value | Batch] = {**step.args}
    if step.batch:
        arguments[step.batch.into] = step.batch
    yield from _fit(arguments, card)


def _compensation(step: Step, effect: ToolCard, cards: Mapping[str, ToolCard]) -> Iterator[str]:
    if step.compensate is None:
        return
    card = cards.get(step.compensate.tool)
    if card is None:
        yield f"is compensated by {step.compensate.tool!r}, which is no tool"
        return
    # Whatever counts as taken back may happen again: the tool's author says what takes it back, not the plan.
    if card.name != effect.compensate:
        proper = repr(effect.compensate) if effect.compensate else "nothing"
        yield f"is compensated by {card.name!r}, but {effect.name!r} is taken back by {proper}"
    for problem in _fit({**step.compensate.args}, card):
        yield f"compensation: {problem}"


def _fit(arguments: Mapping[str, Value | Batch], card: ToolCard) -> Iterator[str]:
    properties: Mapping[str, Any] = card.schema.get("properties", {})
    for name in sorted(arguments.keys() - properties.keys()):
        yield f"tool {card.name!r} takes no argument {name!r}; it takes {', '.join(sorted(properties)) or 'none'}"
    for name in sorted(set(card.schema.get("required", ())) - arguments.keys()):
        yield f"argument {name!r} of {card.name!r} is missing"
    for name in sorted(arguments.keys() & properties.keys()):
        problem = _misfit(arguments[name], properties[name], card.schema)
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
    except Permanent as error:
        yield str(error)


def _literals(step: Step, card: ToolCard, exceptions: Literals) -> Iterator[str]:
    schemas: Mapping[str, Mapping[str, Any]] = card.schema.get("properties", {})
    arguments = [(step.tool, name, value, schemas.get(name, {})) for name, value in step.args.items()]
    if step.compensate:
        arguments += [(step.compensate.tool, name, value, {}) for name, value in step.compensate.args.items()]
    for tool, name, value, schema in arguments:
        if not _is_harmless(value, schema) and (tool, name, _text(value)) not in exceptions:
            yield f"argument {name!r} of {tool!r} is a literal; refer to an input or to an earlier result"


def _is_harmless(value: Value, schema: Mapping[str, Any]) -> bool:
    if isinstance(value, Ref | Cut | bool):
        return True
    return "enum" in schema or "const" in schema or ("default" in schema and schema["default"] == value)


def _text(value: Value) -> str:
    return "" if isinstance(value, Ref | Cut) else canonical(value)


def _outsiders(step: Step, dirty: frozenset[str]) -> Iterator[str]:
    for ref in refs(step):
        if step.effect != "read" and ref.step in dirty:
            yield f"{ref.ref!r} may hold text that an outsider wrote; it cannot be an argument of an effect"
