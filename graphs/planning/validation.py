"""Validation of plans against the catalogue: tools, effects, arguments, conditions, and whose words may become what.

Called by the planner, by the API for plans that clients give, and by the tests that try every shipped runbook.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from graphs.planning.mixtures import mixtures
from graphs.planning.plan import Batch, Cut, Plan, Ref, Step, Value, refs
from memory.errors import Permanent
from tools import arguments, cel
from tools.action import Json, canonical
from tools.catalog import ToolCard
from tools.cel import ValueType

_INPUT = re.compile(r"\binputs\s*\.\s*(\w+)")
Inputs = Mapping[str, bool | int | str]
Literals = frozenset[tuple[str, str, str]]
"""Tool, argument and canonical value of literals that a person wrote into a runbook."""


def validate(
    plan: Plan, cards: Mapping[str, ToolCard], exceptions: Literals = frozenset(), *, inputs_are_examples: bool = False
) -> list[str]:
    """Return what is wrong with the plan, one sentence each; an empty list means that it can be run.

    Inputs are judged as the arguments that they become, unless they only stand for others that come later.

    A plan by a model may hold no literal but flags, choices, defaults and those in `exceptions`, and may not pass on
    text that outsiders wrote: ids, amounts and recipients are references to inputs or results.
    """
    problems: list[str] = []
    dirty = taint_of(plan, cards)
    inputs: Inputs = {} if inputs_are_examples else plan.inputs
    for position, step in enumerate(plan.steps):
        card = cards.get(step.tool)
        if card is None:
            problems.append(f"step {step.id!r}: there is no tool {step.tool!r}; `tools ls` names those there are")
            continue
        sentences = [*_effect(step, card), *_arguments(step, card, inputs), *_conditions(plan, position)]
        sentences += _compensation(step, card, cards, inputs)
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


def unused_inputs(plan: Plan) -> frozenset[str]:
    """Return the inputs at which no step looks, in an argument or in a condition."""
    looks = " ".join(" ".join([*(ref.ref for ref in refs(step)), step.expect, step.when or ""]) for step in plan.steps)
    return frozenset(plan.inputs) - input_names(looks)


def input_names(text: str) -> frozenset[str]:
    """Return the inputs that references and conditions in a text name."""
    return frozenset(_INPUT.findall(text))


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


def _arguments(step: Step, card: ToolCard, inputs: Inputs) -> Iterator[str]:
    values: dict[str, Value | Batch] = {**step.args}
    if step.batch:
        values[step.batch.into] = step.batch
    yield from _fit(values, card, inputs)


def _compensation(step: Step, effect: ToolCard, cards: Mapping[str, ToolCard], inputs: Inputs) -> Iterator[str]:
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
    for problem in _fit({**step.compensate.args}, card, inputs):
        yield f"compensation: {problem}"


def _fit(values: Mapping[str, Value | Batch], card: ToolCard, inputs: Inputs) -> Iterator[str]:
    properties: Mapping[str, Any] = card.schema.get("properties", {})
    for name in sorted(values.keys() - properties.keys()):
        yield f"tool {card.name!r} takes no argument {name!r}; it takes {', '.join(sorted(properties)) or 'none'}"
    for name in sorted(set(card.schema.get("required", ())) - values.keys()):
        yield f"argument {name!r} of {card.name!r} is missing"
    yield from _misfits({name: values[name] for name in values if name in properties}, card, inputs)


def _misfits(values: Mapping[str, Value | Batch], card: ToolCard, inputs: Inputs) -> Iterator[str]:
    """Yield what is wrong with the values that stand there already; results are known when the step runs."""
    for name in (name for name, value in values.items() if isinstance(value, Cut | Batch)):
        if not arguments.part_of(card.schema["properties"][name], card.schema):
            yield f"argument {name!r} of {card.name!r}: it takes no part of a result"
    present = present_arguments(values, inputs)
    # What is missing has been said, and what stays out has its default.
    later = (values.keys() | card.schema.get("required", ())) - present.keys()
    for place, sentence in arguments.problems(card.arguments, present, later):
        yield f"argument {place!r} of {card.name!r}: {sentence}"


def present_arguments(values: Mapping[str, Value | Batch], inputs: Inputs) -> dict[str, Json]:
    """Return the arguments that are known before anything runs: what is written out, and inputs."""
    by_reference = {f"inputs.{name}": value for name, value in inputs.items()}
    present = {name: by_reference.get(value.ref) if isinstance(value, Ref) else value for name, value in values.items()}
    return {name: value for name, value in present.items() if value is not None and not isinstance(value, Cut | Batch)}


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
    values = [(step.tool, name, value, schemas.get(name, {})) for name, value in step.args.items()]
    if step.compensate:
        values += [(step.compensate.tool, name, value, {}) for name, value in step.compensate.args.items()]
    for tool, name, value, schema in values:
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
