"""Binding of steps: the one place where a step of the plan becomes arguments, batches, taint and actions.

The researcher and the executor bind the step that a run stands at and pass the value on; the cursor asks here which
step is due, and a question to people is bound from its first action.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import cast

from graphs.execution.action_names import action_name
from graphs.execution.capabilities import Invocation
from graphs.execution.cuts import CutRows, Cuts, cut_ahead
from graphs.execution.plans import plan_of
from graphs.planning.plan import Batch, Cut, Plan, Ref, Step, Value
from graphs.planning.validation import steps_under_taint, variables
from graphs.state import State
from memory.errors import Permanent
from memory.runs.results import ResultSlice
from tools import cel
from tools.action import Action, Json, Role
from tools.catalog import ToolCard
from tools.cel import Evaluation

Results = Mapping[str, Mapping[str, Json]]
"""Summary by step id."""
_LIMIT = 256
"""Plans whose taint is remembered; the oldest makes room."""


class StepValues:
    """What a step of a plan means in the light of the results so far.

    Raises Permanent("plan_invalid") where a reference finds nothing or something of the wrong shape.
    """

    def __init__(self, plan: Plan, step: Step, results: Results) -> None:
        self.plan = plan
        self.step = step
        self.results = results

    def due(self) -> Evaluation:
        """Return whether the step's `when` is true; a step without one is always due."""
        return Evaluation(True) if self.step.when is None else self._evaluate(self.step.when, {})

    def expectation(self, result: Mapping[str, Json], arguments: Mapping[str, Json]) -> Evaluation:
        """Return whether the step's `expect` is true for what the call returned, given its resolved arguments."""
        return self._evaluate(self.step.expect, {"result": result, "args": arguments})

    def batches(self) -> int | None:
        """Return how many batches the step has now, 0 if nothing is left for it, or None if it is not batched."""
        return None if self.step.batch is None else -(-self.rows() // self._number(self.step.batch.size))

    def rows(self) -> int:
        """Return how many rows a batched step goes through in all."""
        batch = self.step.batch
        return 0 if batch is None else max(0, self._slice(batch.of)["count"] - self._number(batch.start))

    async def arguments(self, cut: CutRows, batch: int = 0) -> dict[str, Json]:
        """Return the step's arguments as JSON, for the given batch (from 0) if the step is batched."""
        arguments = {name: await self._value(value, cut) for name, value in self.step.args.items()}
        if self.step.batch:
            arguments[self.step.batch.into] = await self._batch(self.step.batch, batch, cut)
        return arguments

    async def undo_arguments(self, cut: CutRows) -> dict[str, Json]:
        """Return the arguments of the step's compensation; the step's own result may be among the results."""
        if self.step.compensate is None:
            message = f"step {self.step.id!r} names no compensation; a person must take it back"
            raise Permanent("plan_invalid", message)
        return {name: await self._value(value, cut) for name, value in self.step.compensate.args.items()}

    def _evaluate(self, text: str, extra: Mapping[str, Json]) -> Evaluation:
        position = next(index for index, other in enumerate(self.plan.steps) if other.id == self.step.id)
        values: dict[str, Json] = {f"inputs.{name}": value for name, value in self.plan.inputs.items()}
        values |= {f"steps.{step.id}": self.results.get(step.id, {}) for step in self.plan.steps[:position]}
        types = variables(self.plan, position, *extra)
        return cel.compile(text, types).evaluate(values | dict(extra))

    async def _value(self, value: Value, cut: CutRows) -> Json:
        if isinstance(value, Cut):
            return await self._part(self._slice(value.cut), value.start, self._number(value.count), cut)
        return self._look_up(value) if isinstance(value, Ref) else value

    async def _batch(self, batch: Batch, index: int, cut: CutRows) -> Json:
        size = self._number(batch.size)
        return await self._part(self._slice(batch.of), self._number(batch.start) + index * size, size, cut)

    async def _part(self, source: ResultSlice, start: int, count: int, cut: CutRows) -> Json:
        rows = source["count"]
        if start >= rows:
            raise Permanent("plan_invalid", f"step {self.step.id!r} wants row {start} of a result of {rows} rows")
        return cast(Json, await cut(source, start, min(count, rows - start)))

    def _look_up(self, ref: Ref) -> Json:
        root, *path = ref.ref.split(".")
        value: Json = self.plan.inputs if root == "inputs" else self.results
        for name in path:
            if not isinstance(value, Mapping) or name not in value:
                message = f"step {self.step.id!r} refers to {ref.ref!r}, which has no {name!r}"
                raise Permanent("plan_invalid", message)
            value = value[name]
        return value

    def _slice(self, ref: Ref) -> ResultSlice:
        value = self._look_up(ref)
        if isinstance(value, Mapping) and value.keys() >= ResultSlice.__required_keys__:
            self._count(value["count"])
            return cast(ResultSlice, value)
        raise Permanent("plan_invalid", f"step {self.step.id!r} cuts {ref.ref!r}, which is no large result")

    def _number(self, value: int | Ref) -> int:
        return self._count(self._look_up(value) if isinstance(value, Ref) else value)

    def _count(self, value: Json) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
        raise Permanent("plan_invalid", f"step {self.step.id!r} counts with {value!r}, which is no count")


@dataclass(frozen=True, slots=True)
class BoundStep:
    """One action of a step, with everything that it takes from the plan and the results so far."""

    values: StepValues
    plan_hash: str
    taint: frozenset[str]
    """Steps of the plan whose arguments may hold an outsider's words."""
    batches: int | None
    """How many batches the step has; None if it is not batched."""
    batch: int
    """Which of them this is, from 0."""
    arguments: Mapping[str, Json]

    @property
    def plan(self) -> Plan:
        """The plan that the run follows."""
        return self.values.plan

    @property
    def step(self) -> Step:
        """The step as it stands in the plan."""
        return self.values.step

    @property
    def name(self) -> str:
        """The action's name, numbered if the step has several."""
        return action_name(self.step.id, None if self.batches is None else self.batch)

    def action(self, invocation: Invocation, role: Role) -> Action:
        """Return the action as the gateway takes it."""
        return Action(
            run=invocation.lease.run,
            step=self.name,
            role=role,
            tool=self.step.tool,
            args=self.arguments,
            plan_hash=self.plan_hash,
            user=invocation.lease.access.principal.id,
            pins=self.plan.pins,
            is_tainted=self.step.id in self.taint,
            checkpoint=invocation.checkpoint,
            progress=self._progress(),
        )

    async def sibling_actions(self, step: Step, invocation: Invocation, cuts: Cuts) -> list[Action] | None:
        """Return the executor's actions after this one in its own step, or all of another step of the plan.

        None if they cannot be known yet or the step is not due.
        """
        is_current = step.id == self.step.id
        values = StepValues(self.plan, step, self.values.results)
        try:
            if not (is_current or values.due().is_true):
                return None
            count = values.batches()
            cut = cuts.cut if count is None else cut_ahead(cuts)
            siblings = [
                replace(self, values=values, batches=count, batch=batch, arguments=await values.arguments(cut, batch))
                for batch in range(self.batch + 1 if is_current else 0, 1 if count is None else count)
            ]
        except Permanent as error:
            if error.code != "plan_invalid":
                raise
            return None
        return [sibling.action(invocation, "executor") for sibling in siblings]

    def _progress(self) -> dict[str, Json]:
        if self.step.batch is None or self.batches is None:
            return {}
        total = self.values.rows()
        size = _count(self.arguments.get(self.step.batch.into))
        rows = total if self.batch + 1 == self.batches else (self.batch + 1) * size
        return {"step": self.step.id, "batch": self.batch + 1, "of": self.batches, "done": rows, "total": total}


class Binder:
    """Binds steps against one catalogue, which says whose words a tool returns; derives the taint of a plan once."""

    def __init__(self, cards: Mapping[str, ToolCard]) -> None:
        self._cards = cards
        self._taints: dict[str, frozenset[str]] = {}

    async def bind(self, state: State, cut: CutRows) -> BoundStep:
        """Return the action that a state stands at; its arguments are a person's if one edited them."""
        plan, address = plan_of(state), state.get("plan_hash", "")
        values = StepValues(plan, plan.steps[state.get("cursor", 0)], state.get("results", {}))
        batches, batch = values.batches(), state.get("item", 0)
        override = overriding_arguments(state, action_name(values.step.id, None if batches is None else batch))
        arguments = override or await values.arguments(cut, batch)
        return BoundStep(values, address, self._taint(plan, address), batches, batch, arguments)

    def _taint(self, plan: Plan, address: str) -> frozenset[str]:
        if address not in self._taints:
            if len(self._taints) >= _LIMIT:
                self._taints.pop(next(iter(self._taints)))
            self._taints[address] = steps_under_taint(plan, self._cards)
        return self._taints[address]


def overriding_arguments(state: State, action: str) -> dict[str, Json] | None:
    """Return the arguments that a person put in place of the planned ones, if they were for this action."""
    override = state.get("override")
    return override["args"] if override and override["step"] == action else None


def _count(part: Json) -> int:
    count = part.get("count") if isinstance(part, Mapping) else 0
    return count if isinstance(count, int) else 0
