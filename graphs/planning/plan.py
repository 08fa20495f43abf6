"""Plans: typed, versioned, content-addressed sequences of steps that planners make and the executor runs."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tools.action import Effect, Pin, digest

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
Expression = Annotated[str, Field(min_length=1, max_length=500)]
"""CEL over `inputs`, earlier `steps` and, in `expect`, `result` and the resolved `args`; read-only arithmetic."""

Integer = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
"""What conditions, policies and the database can count with; Python alone could hold more."""

Positive = Annotated[int, Field(ge=1)]


class Part(BaseModel):
    """Base of everything in a plan: immutable; unknown fields are errors, and nothing is converted."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Ref(Part):
    """A value that is known only when earlier steps ran: `inputs.NAME` or `steps.ID.FIELD[.FIELD]`."""

    ref: str = Field(pattern=r"^(inputs|steps)(\.[a-z][a-z0-9_]{0,39}){1,3}$")

    @property
    def step(self) -> str:
        """Return the id of the step that it looks at; empty for an input."""
        root, name, *_ = self.ref.split(".")
        return name if root == "steps" else ""


class Cut(Part):
    """A part of an earlier large result: `count` rows from `start`; fewer if the result is shorter."""

    cut: Ref
    start: int = Field(default=0, ge=0)
    count: Positive | Ref


Value = Ref | Cut | bool | Integer | str | Annotated[list[str], Field(max_length=100)]
"""An argument: a reference, a part of a result, or a literal (for ids and amounts only in people's plans)."""


class Batch(Part):
    """Run the step once per slice of a large result; argument `into` receives each slice."""

    of: Ref
    into: Name
    size: Positive | Ref
    start: Annotated[int, Field(ge=0)] | Ref = 0


class Undo(Part):
    """The step that takes this one back, performed when a later step fails for good."""

    tool: str
    args: Mapping[str, Value]


class Step(Part):
    """One tool call, or one per batch, with explicit inputs and what must be true afterwards."""

    id: Name
    tool: str = Field(pattern=r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+$")
    effect: Effect
    args: Mapping[str, Value]
    expect: Expression
    when: Expression | None = None
    batch: Batch | None = None
    gate: Name | None = None
    """Steps that share a name are resolved and put before people together, in one approval."""
    backout: str = ""
    """How people take this back, or why they cannot; demanded of every effect."""
    compensate: Undo | None = None
    on_failure: Literal["compensate", "continue", "stop"] = "compensate"
    audit: bool = False
    """True if the auditor must pass everything so far before the next step."""
    checks: tuple[Name, ...] = Field(default=(), strict=False)
    """For a read: the writes before it that it looks at, where their tools cannot look themselves."""

    @model_validator(mode="after")
    def _effects_name_their_backout(self) -> "Step":
        if self.effect != "read" and not self.backout.strip():
            raise ValueError(f"step {self.id!r} changes something but has no backout text")
        return self


class Budget(Part):
    """Upper bounds on the cost of operation of one run."""

    tokens: int = Field(default=50_000, ge=0)
    micros: int = Field(default=5_000_000, ge=0)
    calls: int = Field(default=1_000, ge=1)


class Citation(Part):
    """A knowledge item that the plan rests on; a newer version makes the plan stale."""

    id: str = Field(min_length=1, max_length=100)
    version: int = Field(ge=1, le=2**31 - 1)


class Plan(Part):
    """Ordered steps with explicit inputs and expected outputs."""

    id: str = Field(min_length=1, max_length=80)
    """The runbook's id, or a name of the giver's choice."""
    kind: Literal["investigation", "repair"] = "repair"
    source: Literal["runbook", "model", "given"]
    goal: str = Field(max_length=500)
    inputs: Mapping[Name, bool | Integer | str] = Field(default_factory=dict[str, bool | int | str])
    steps: tuple[Step, ...] = Field(min_length=1, max_length=50, strict=False)
    cites: tuple[Citation, ...] = Field(default=(), strict=False)
    budget: Budget = Budget()
    backout: str = ""

    @model_validator(mode="after")
    def refs_look_back(self) -> "Plan":
        """Refuse a step that refers to a later one, or to nothing; pydantic calls it once for each parse."""
        earlier: set[str] = set()
        for step in self.steps:
            if step.id in earlier:
                raise ValueError(f"step id {step.id!r} stands twice")
            for ref in refs(step):
                self._check(ref, step.id, earlier)
            self._check_targets(step, earlier)
            earlier.add(step.id)
        if self.kind == "investigation" and any(step.effect != "read" for step in self.steps):
            raise ValueError("an investigation only reads")
        return self

    def _check(self, ref: Ref, step: str, earlier: set[str]) -> None:
        root, name, *_ = ref.ref.split(".")
        if name not in (self.inputs if root == "inputs" else earlier):
            raise ValueError(f"step {step!r} refers to {ref.ref!r}, which nothing before it provides")

    def _check_targets(self, step: Step, earlier: set[str]) -> None:
        if step.checks and step.effect != "read":
            raise ValueError(f"step {step.id!r} checks others, but only a read can")
        for id in step.checks:
            if id not in earlier:
                raise ValueError(f"step {step.id!r} checks {id!r}, which no step before it is")

    @property
    def hash(self) -> str:
        """Return the content address: equal plans have equal hashes in every process."""
        return digest(self.model_dump(mode="json"))

    @property
    def pins(self) -> tuple[Pin, ...]:
        """Return the cited knowledge as the gateway wants it."""
        return tuple(Pin(citation.id, citation.version) for citation in self.cites)


def refs(step: Step) -> Iterator[Ref]:
    """Yield every reference of a step, those of its batch and compensation included."""
    values: list[object] = [*step.args.values()]
    if step.batch:
        values += [step.batch.of, step.batch.size, step.batch.start]
    if step.compensate:
        values += step.compensate.args.values()
    for value in values:
        if isinstance(value, Cut):
            yield value.cut
            if isinstance(value.count, Ref):
                yield value.count
        elif isinstance(value, Ref):
            yield value
