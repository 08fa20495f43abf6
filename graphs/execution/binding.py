"""What a step means now: its references, cuts and batches resolved to values, and its conditions answered.

Called by the executor and the researcher for each action, and when all actions of a gate are put before people.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import cast

from graphs.planning.plan import Batch, Cut, Plan, Ref, Step, Value
from graphs.planning.validation import variables
from memory.errors import Permanent
from tools import cel
from tools.action import Json
from tools.cel import Evaluation

Slice = Mapping[str, Json]
"""A part of a large result: handle, start, count, digest, total."""
CutOut = Callable[[Slice, int, int], Awaitable[Slice]]
"""Returns the part of a slice that begins `start` rows into it and has `count` rows; the store knows the digest."""
Results = Mapping[str, Mapping[str, Json]]


async def resolve(
    step: Step, inputs: Mapping[str, Json], results: Results, *, cut: CutOut, batch: int | None = None
) -> dict[str, Json]:
    """Return the step's arguments as JSON, for the given batch (from 0) if the step is batched.

    Raises Permanent `plan_invalid` when a reference finds nothing or something of the wrong shape.
    """
    known = _Known(step, inputs, results, cut)
    args = {name: await known.value(value) for name, value in step.args.items()}
    if step.batch:
        args[step.batch.into] = await known.part(step.batch, batch or 0)
    return args


async def undo(step: Step, inputs: Mapping[str, Json], results: Results, *, cut: CutOut) -> dict[str, Json]:
    """Return the arguments of the step's compensation; the step's own result may be among `results`."""
    if step.compensate is None:
        raise Permanent("plan_invalid", f"step {step.id!r} names no compensation; a person must take it back")
    known = _Known(step, inputs, results, cut)
    return {name: await known.value(value) for name, value in step.compensate.args.items()}


def batches(step: Step, inputs: Mapping[str, Json], results: Results) -> int | None:
    """Return how many batches the step has now, 0 if nothing is left for it, or None if it is not batched."""
    if step.batch is None:
        return None
    known = _Known(step, inputs, results)
    rows = known.integer(known.slice(step.batch.of)["count"]) - known.number(step.batch.start)
    return max(0, -(-rows // known.number(step.batch.size)))


def is_due(plan: Plan, step: Step, results: Results) -> Evaluation:
    """Return whether the step's `when` holds; a step without one is always due."""
    if step.when is None:
        return Evaluation(True)
    return _answer(plan, step, step.when, results, {})


def is_met(
    plan: Plan, step: Step, results: Results, result: Mapping[str, Json], args: Mapping[str, Json]
) -> Evaluation:
    """Return whether the step's `expect` holds for what the call returned, given its resolved arguments."""
    return _answer(plan, step, step.expect, results, {"result": result, "args": args})


def _answer(plan: Plan, step: Step, text: str, results: Results, more: Mapping[str, Json]) -> Evaluation:
    position = next(index for index, other in enumerate(plan.steps) if other.id == step.id)
    values: dict[str, Json] = {f"inputs.{name}": value for name, value in plan.inputs.items()}
    values |= {f"steps.{earlier.id}": results.get(earlier.id, {}) for earlier in plan.steps[:position]}
    return cel.compile(text, variables(plan, position, *more)).evaluate(values | dict(more))


async def _no_cut(part: Slice, start: int, count: int) -> Slice:
    raise Permanent("plan_invalid", f"rows {start} to {start + count} of {part!r} are not needed here")


class _Known:
    """The values that one step can refer to."""

    def __init__(self, step: Step, inputs: Mapping[str, Json], results: Results, cut: CutOut = _no_cut) -> None:
        self._step = step
        self._roots: Mapping[str, Mapping[str, Json]] = {"inputs": inputs, "steps": results}
        self._cut = cut

    async def value(self, value: Value) -> Json:
        if isinstance(value, Cut):
            return await self._slice_of(self.slice(value.cut), value.start, self.number(value.count))
        return self.look_up(value) if isinstance(value, Ref) else value

    async def part(self, batch: Batch, index: int) -> Json:
        size = self.number(batch.size)
        return await self._slice_of(self.slice(batch.of), self.number(batch.start) + index * size, size)

    async def _slice_of(self, whole: Slice, start: int, count: int) -> Slice:
        rows = self.integer(whole["count"])
        if start >= rows:
            raise Permanent("plan_invalid", f"step {self._step.id!r} wants row {start} of a result of {rows} rows")
        return await self._cut(whole, start, min(count, rows - start))

    def look_up(self, ref: Ref) -> Json:
        root, *path = ref.ref.split(".")
        found: Json = self._roots[root]
        for name in path:
            if not isinstance(found, Mapping) or name not in found:
                raise Permanent("plan_invalid", f"step {self._step.id!r} refers to {ref.ref!r}, which has no {name!r}")
            found = found[name]
        return found

    def slice(self, ref: Ref) -> Slice:
        found = self.look_up(ref)
        if isinstance(found, Mapping) and {"handle", "count"} <= found.keys():
            return cast(Slice, found)
        raise Permanent("plan_invalid", f"step {self._step.id!r} cuts {ref.ref!r}, which is no large result")

    def number(self, value: int | Ref) -> int:
        return self.integer(self.look_up(value) if isinstance(value, Ref) else value)

    def integer(self, value: Json) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
        raise Permanent("plan_invalid", f"step {self._step.id!r} counts with {value!r}, which is no count")
