"""Drafting by a language model: a plan that is accepted only under the rules that bind everybody.

Called by the planner when a model is configured and a probe was true. The model adds coverage, never authority.
"""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pydantic import Field, ValidationError

from graphs.planning import runbooks
from graphs.planning.plan import Citation, Part, Plan, Step
from graphs.planning.runbooks import RunbookDocument
from graphs.planning.slots import SlotValue
from graphs.planning.validation import literals, validate
from memory.errors import Permanent
from tools.action import Json
from tools.catalog import ToolCard
from tools.model import PromptMessage, Reply, Violation

PROMPT = Path(__file__).parents[1] / "prompts" / "planner.md"
ATTEMPTS = 2
"""One draft and one repair."""


class Draft(Part):
    """What the model may say: steps, or a question; inputs, citations and budget are never its own."""

    goal: str = Field(default="", max_length=500)
    steps: tuple[Step, ...] = Field(default=(), max_length=50, strict=False)
    backout: str = Field(default="", max_length=2_000)
    question: str = Field(default="", max_length=300)
    uses: tuple[str, ...] = Field(default=(), max_length=50, strict=False)
    """Marks of the memories that the answer rests on."""


class AskModel(Protocol):
    """One metered question to the model on behalf of this run."""

    def __call__(
        self, messages: Sequence[PromptMessage], schema: type[Draft], *, attempt: int
    ) -> Awaitable[Reply[Draft]]:
        """Return the draft or the problems with it."""
        ...


@dataclass(frozen=True, slots=True)
class DraftMaterial:
    """Everything that the model gets to see."""

    request: str
    documents: Sequence[RunbookDocument]
    """The runbooks whose probe was true first, then the other candidates."""
    facts: Mapping[str, Json]
    """What the probes saw, by runbook id: counts and flags, never ids or text."""
    inputs: Mapping[str, SlotValue]
    """Values that the plan may refer to; only their names and types are shown."""
    memory: Sequence[str] = ()
    """Lines that quote what is remembered, each under a mark."""


@dataclass(frozen=True, slots=True)
class DraftResult:
    """A plan that may be run, or a question for people."""

    plan: Plan | None
    question: str = ""
    violations: tuple[Violation, ...] = ()
    uses: tuple[str, ...] = ()
    """Marks, as the model gave them."""


Drafter = Callable[[DraftMaterial], Awaitable[DraftResult]]


def make_drafter(ask: AskModel, cards: Mapping[str, ToolCard]) -> Drafter:
    """Return the strategy that drafts with a model; it can do nothing but ask it."""

    async def draft(material: DraftMaterial) -> DraftResult:
        messages = [
            PromptMessage("system", PROMPT.read_text(encoding="utf-8")),
            PromptMessage("user", _document(material, cards)),
        ]
        violations: list[Violation] = []
        for attempt in range(1, ATTEMPTS + 1):
            reply = await ask(messages, Draft, attempt=attempt)
            violations += reply.violations
            answer = reply.value or Draft()
            if answer.question and not answer.steps:
                return DraftResult(None, answer.question, tuple(violations), answer.uses)
            plan, problems = _accept(reply, material, cards)
            if plan:
                return DraftResult(plan, violations=tuple(violations), uses=answer.uses)
            violations += [Violation("planner", "plan", attempt)] if reply.value else []
            messages = [*messages[:2], PromptMessage("user", _repair(problems))]
        return DraftResult(None, violations=tuple(violations))

    return draft


def facts(result: Mapping[str, Json]) -> dict[str, Json]:
    """Return the counts and flags of a probe's result; text, ids and handles stay behind."""
    values = {name: facts(value) if isinstance(value, Mapping) else value for name, value in result.items()}
    return {
        name: value for name, value in values.items() if isinstance(value, int) or (isinstance(value, dict) and value)
    }


def _accept(
    reply: Reply[Draft], material: DraftMaterial, cards: Mapping[str, ToolCard]
) -> tuple[Plan | None, list[str]]:
    if reply.value is None:
        return None, list(reply.problems)
    runbook = material.documents[0].runbook
    try:
        plan = Plan(
            id=runbook.id,
            source="model",
            goal=reply.value.goal or material.request[:500],
            inputs=dict(material.inputs),
            steps=reply.value.steps,
            cites=tuple(
                Citation(id=document.runbook.id, version=document.runbook.version) for document in material.documents
            ),
            budget=runbook.budget,
            backout=reply.value.backout or runbook.backout,
        )
        examples = [
            runbooks.plan(document.runbook, "", _examples(document, material.inputs)) for document in material.documents
        ]
    except (ValidationError, Permanent) as error:
        return None, [str(error)[:500]]
    problems = validate(plan, cards, frozenset(literal for example in examples for literal in literals(example)))
    return (None, problems) if problems else (plan, [])


def _examples(document: RunbookDocument, inputs: Mapping[str, SlotValue]) -> dict[str, SlotValue]:
    return {**runbooks.examples(document.runbook), **inputs}


def _document(material: DraftMaterial, cards: Mapping[str, ToolCard]) -> str:
    return json.dumps(
        {
            "request": material.request[:4_000],
            "inputs": {name: type(value).__name__ for name, value in sorted(material.inputs.items())},
            "facts": material.facts,
            "memory": [*material.memory],
            "runbooks": [document.text for document in material.documents],
            "tools": [_card(card) for _, card in sorted(cards.items())],
            "answer": Draft.model_json_schema(),
        },
        ensure_ascii=False,
    )


def _card(card: ToolCard) -> dict[str, object]:
    return {"name": card.name, "does": card.summary, "effect": card.effect, "arguments": dict(card.schema)}


def _repair(problems: Sequence[str]) -> str:
    lines = "\n".join(f"- {problem}" for problem in problems[:20])
    return f"Your answer was refused. Write the whole JSON document again, mended:\n{lines}"
