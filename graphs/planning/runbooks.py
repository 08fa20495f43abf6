"""Runbooks: plans that people write as Markdown, with the plan as front matter and a text for people as body.

`migrate` imports the folder into knowledge; the planner parses the text that knowledge holds, never the folder.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from graphs.planning import slots
from graphs.planning.plan import Budget, Citation, Expression, Name, Part, Plan, Ref, Step, Value
from graphs.planning.slots import Slot, SlotValue
from graphs.planning.validation import input_names, unused_inputs, validate
from memory.errors import Permanent
from memory.knowledge import frontmatter
from memory.knowledge.models import Day, KnowledgeItem
from tools import cel
from tools.action import Json
from tools.catalog import ToolCard
from tools.discovery import files_of, text_of

FOLDER = Path(__file__).parents[1] / "runbooks"
SETTING = "COUNTERSIGN_RUNBOOK_DIR"


class SlotQuestion(Part):
    """What to ask people when the probe shows that the request can mean several things."""

    when: Expression
    text: str = Field(min_length=5, max_length=300)


class Probe(Part):
    """The cheap read that shows whether the runbook's situation is there at all."""

    tool: str
    args: Mapping[str, Value] = Field(default_factory=dict[str, Value])
    expect: Expression = "size(result) > 0"
    condition: Expression
    """CEL over `result` and `inputs`."""
    ask: SlotQuestion | None = None


class Runbook(Part):
    """The front matter of a runbook."""

    id: str = Field(pattern=r"^[a-z][a-z0-9]*(\.[a-z0-9]+(-[a-z0-9]+)*)+$", max_length=80)
    version: int = Field(ge=1)
    severity: Literal["low", "medium", "high", "critical"]
    owner: str = Field(min_length=1)
    review_by: Day = Field(strict=False)
    utterances: tuple[str, ...] = Field(min_length=5, strict=False)
    slots: Mapping[Name, Slot] = Field(default_factory=dict[str, Slot])
    probe: Probe
    nothing_wrong: str = Field(min_length=5)
    steps: tuple[Step, ...] = Field(min_length=1, max_length=50, strict=False)
    backout: str = Field(min_length=5)
    budget: Budget = Budget()


@dataclass(frozen=True, slots=True)
class RunbookDocument:
    """A runbook with the text that people read."""

    runbook: Runbook
    title: str
    text: str
    """The whole file."""


def parse(text: str, *, version: int | None = None) -> RunbookDocument:
    """Read a runbook from its text; `version` is the one under which knowledge holds it.

    Raises Permanent `plan_invalid` that names the first thing wrong.
    """
    front, body = split(text)
    if version is not None:
        front["version"] = version
    try:
        runbook = Runbook.model_validate(front)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(part) for part in first["loc"])
        raise Permanent("plan_invalid", f"runbook {front.get('id')!r}, {path or 'plan'}: {first['msg']}") from None
    title = next((line[2:].strip() for line in body.splitlines() if line.startswith("# ")), runbook.id)
    return RunbookDocument(runbook, title, text)


def split(text: str) -> tuple[dict[str, Any], str]:
    """Return front matter and body; raises Permanent `plan_invalid` if the text has none."""
    try:
        front, body = frontmatter.split(text)
    except Permanent as error:
        raise Permanent("plan_invalid", str(error)) from None
    if not front:
        raise Permanent("plan_invalid", "a runbook begins with a line `---`, its front matter, and a second line `---`")
    return front, body


def load(*folders: Path) -> list[RunbookDocument]:
    """Return every runbook of these folders, by default the shipped one, in their order.

    Raises Permanent("configuration") naming the folder that does not exist, or the file that cannot be read or repeats
    an id.
    """
    documents: dict[str, RunbookDocument] = {}
    for path in (path for folder in folders or (FOLDER,) for path in files_of(folder, "*.md", SETTING)):
        try:
            document = parse(text_of(path))
        except Permanent as error:
            raise Permanent("configuration", f"runbook file {path.name!r}: {error}; mend or remove it") from None
        if document.runbook.id in documents:
            raise Permanent("configuration", f"runbook file {path.name!r} repeats id {document.runbook.id!r}")
        documents[document.runbook.id] = document
    return list(documents.values())


def item(document: RunbookDocument) -> KnowledgeItem:
    """Return the runbook as knowledge publishes it, under its own version."""
    runbook = document.runbook
    return KnowledgeItem(
        id=runbook.id,
        kind="runbook",
        title=document.title,
        body=document.text,
        owner=runbook.owner,
        review_by=runbook.review_by,
        version=runbook.version,
    )


def problems(runbook: Runbook, cards: Mapping[str, ToolCard]) -> list[str]:
    """Return what is wrong with a runbook before anyone asks for it, tried with an example for every slot."""
    example = examples(runbook)
    card = cards.get(runbook.probe.tool)
    sentences: list[str] = []
    if card and "untrusted_text" in card.data and any(slot.source == "probe" for slot in runbook.slots.values()):
        sentences.append(f"probe {card.name!r} returns text that outsiders wrote; no slot can come from it")
    try:
        _condition(runbook, runbook.probe.condition)
        for text in [runbook.probe.ask.when] if runbook.probe.ask else []:
            _condition(runbook, text)
        for slot in runbook.slots.values():
            slots.compile_value(slot)
        sentences += validate(plan(runbook, "try", example), cards, inputs_are_examples=True)
        sentences += [f"slot {name!r} is used by nothing; leave it out" for name in sorted(_unused(runbook, example))]
        sentences += validate(investigation("try", [probe(runbook, "probe_1", example)], ()), cards)
    except Permanent as error:
        sentences.append(str(error))
    return sentences


def _unused(runbook: Runbook, example: Mapping[str, SlotValue]) -> frozenset[str]:
    """Return the slots at which neither a step nor the probe looks: what is said about them would be ignored."""
    probe = runbook.probe
    texts = [probe.expect, probe.condition, probe.ask.when if probe.ask else "", *map(str, probe.args.values())]
    return unused_inputs(plan(runbook, "try", example)) - input_names(" ".join(texts))


def examples(runbook: Runbook) -> dict[str, SlotValue]:
    """Return a value for every slot, with which a runbook is tried before any request exists."""
    return {name: slots.EXAMPLES[slot.type] for name, slot in runbook.slots.items()}


def plan(runbook: Runbook, goal: str, inputs: Mapping[str, SlotValue]) -> Plan:
    """Return the repair plan with these inputs, resting on this version; Permanent `plan_invalid` if it is none."""
    return _build(
        id=runbook.id,
        source="runbook",
        goal=goal[:500],
        inputs=dict(inputs),
        steps=runbook.steps,
        cites=(Citation(id=runbook.id, version=runbook.version),),
        budget=runbook.budget,
        backout=runbook.backout,
    )


def probe(runbook: Runbook, id: str, inputs: Mapping[str, SlotValue]) -> Step:
    """Return the probe as a step of an investigation, with the inputs written in."""
    args = {name: _literal(runbook, value, inputs) for name, value in runbook.probe.args.items()}
    return Step(
        id=id, tool=runbook.probe.tool, effect="read", args=args, expect=runbook.probe.expect, on_failure="continue"
    )


def needs(runbook: Runbook) -> frozenset[str]:
    """Return the slots without which the probe cannot be made."""
    refs = [value.ref for value in runbook.probe.args.values() if isinstance(value, Ref)]
    return frozenset(ref.partition(".")[2] for ref in refs)


def investigation(goal: str, steps: list[Step], cites: tuple[Citation, ...]) -> Plan:
    """Return the plan that only reads: one probe per candidate."""
    return _build(
        id="investigation", kind="investigation", source="runbook", goal=goal[:500], steps=tuple(steps), cites=cites
    )


def evaluate(
    runbook: Runbook, text: str, inputs: Mapping[str, SlotValue], result: Mapping[str, Json]
) -> cel.Evaluation:
    """Return whether a condition of the runbook's probe is true of what the probe returned."""
    values: dict[str, Json] = {f"inputs.{name}": value for name, value in inputs.items()}
    return _condition(runbook, text).evaluate(values | {"result": result})


def _condition(runbook: Runbook, text: str) -> cel.CompiledExpression:
    variables: dict[str, cel.ValueType] = {"result": "any"}
    variables |= {f"inputs.{name}": cel.value_type(value) for name, value in examples(runbook).items()}
    return cel.compile(text, variables)


def _literal(runbook: Runbook, value: Value, inputs: Mapping[str, SlotValue]) -> Value:
    if not isinstance(value, Ref):
        return value
    root, _, name = value.ref.partition(".")
    if root == "inputs" and name in inputs:
        return inputs[name]
    raise Permanent("plan_invalid", f"the probe of {runbook.id!r} needs {value.ref!r}, which is not known before it")


def _build(**fields: Any) -> Plan:
    try:
        return Plan(**fields)
    except ValidationError as error:
        raise Permanent("plan_invalid", f"plan {fields['id']!r}: {error.errors()[0]['msg']}") from None
