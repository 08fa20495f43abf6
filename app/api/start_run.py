"""Start of a run from a message, a runbook with inputs, or a plan, checked before any write."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import Field, StrictBool, StrictInt, StrictStr, ValidationError

from app.api.dependencies import Caller, NotBlank, RequestBody, Services
from app.api.problems import Refusal
from graphs.planning import runbooks, slots
from graphs.planning.plan import Budget, Plan
from graphs.planning.validation import present_arguments, unused_inputs, validate
from memory.clock import new_id
from memory.errors import Permanent
from memory.knowledge import versions
from memory.postgres.database import Connection
from memory.runs import records
from memory.runs.idempotency import IdempotentRequest
from memory.runs.models import ThreadState
from memory.runs.queue import RunStart
from tools import admission
from tools.action import canonical
from tools.catalog import Catalog

ThreadId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
ChatMessage = Annotated[str, NotBlank, Field(max_length=8000)]
InputValue = StrictBool | StrictInt | StrictStr
FlowName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]


class Start(RequestBody):
    """Exactly one of message, runbook or plan."""

    message: ChatMessage | None = None
    runbook: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    inputs: Mapping[str, InputValue] = Field(default_factory=dict[str, InputValue])
    """Values of those of the runbook's slots that are taken from the request; any other is refused."""
    plan: Mapping[str, Any] | None = None
    thread: ThreadId | None = None
    flow: FlowName | None = None
    """Flow that leads the run; unset means the governed one."""


@dataclass(frozen=True, slots=True)
class RunRequest:
    """Input of a new run: a text, and a plan or a runbook with inputs."""

    text: str
    plan: Mapping[str, Any] | None = None
    runbook: str | None = None
    inputs: Mapping[str, bool | int | str] = field(default_factory=dict[str, bool | int | str])
    tool_call: bool = False
    """True if a person called one tool; the plan is then that call."""

    def as_json(self) -> dict[str, Any]:
        """Return the request as the run row and the journal keep it."""
        origin = {"tool_call": True} if self.tool_call else {}
        return {
            "request": self.text,
            "inputs": dict(self.inputs),
            "runbook": self.runbook,
            "given": self.plan,
            **origin,
        }


async def understand(services: Services, caller: Caller, start: Start) -> RunRequest:
    """Return the run request of an HTTP body; raises Refusal `plan_invalid` or Permanent `bad_request`."""
    if [start.message, start.runbook, start.plan].count(None) != 2:
        raise Permanent("bad_request", "send exactly one of: message, runbook, plan")
    if start.inputs and not start.runbook:
        raise Permanent("bad_request", "inputs belong to a runbook; a plan carries its own")
    check_flow(services, start.flow)
    if start.message is not None:
        return RunRequest(start.message)
    if start.plan is not None:
        return from_plan(services, read(start.plan))
    return await _from_runbook(services, caller, str(start.runbook), start.inputs)


def read(raw: Mapping[str, Any]) -> Plan:
    """Return a complete plan as a person sent it; raises Refusal `plan_invalid`."""
    try:
        return Plan.model_validate({**raw, "source": "given"})
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, item['loc'])) or 'plan'}: {item['msg']}" for item in error.errors()]
        raise invalid(problems) from None


def from_plan(services: Services, plan: Plan) -> RunRequest:
    """Return the run request of a complete plan; raises Refusal `plan_invalid`.

    A plan may lower the installation's bounds for itself, never raise them: whoever asks does not set the limit.
    """
    problems = intake_problems(services.catalog, plan)
    if plan.kind != "repair":
        problems.append("kind: an investigation is a planner's; leave kind out, a plan may hold nothing but reads")
    bounds = plan.budget.model_dump(include=plan.budget.model_fields_set)
    problems += [
        f"budget.{name}: at most {services.budget[name]} here"
        for name in bounds
        if bounds[name] > services.budget[name]
    ]
    plan = plan.model_copy(update={"budget": Budget(**{**services.budget, **bounds})})
    # What has no canonical form could not be hashed, and a plan is approved by its hash.
    try:
        canonical(plan.model_dump(mode="json"))
    except TypeError as error:
        problems.append(str(error))
    if problems:
        raise invalid(problems)
    return RunRequest(plan.goal, plan.model_dump(mode="json"), inputs=dict(plan.inputs))


def intake_problems(catalog: Catalog, plan: Plan) -> list[str]:
    """Return why a plan of a person cannot be run, down to what admission would say of a step that is written out."""
    problems = [f"inputs.{name}: no step looks at it; leave it out" for name in sorted(unused_inputs(plan))]
    misfits = validate(plan, catalog.cards)
    return [*problems, *misfits] if misfits else [*problems, *_refusals(catalog, plan)]


def _refusals(catalog: Catalog, plan: Plan) -> Iterator[str]:
    for step in plan.steps:
        args = present_arguments(step.args, plan.inputs)
        # What refers to a result is judged when the step runs.
        is_whole = step.args.keys() == args.keys() and step.batch is None
        for problem in admission.refusals(catalog.get(step.tool), args) if is_whole else ():
            yield f"step {step.id!r}: {step.tool!r} refuses its arguments: {problem}"


def invalid(problems: list[str]) -> Refusal:
    """Return the refusal of a plan, with all its problems."""
    return Refusal("plan_invalid", "the plan cannot be run: " + "; ".join(problems[:5]), problems=problems[:50])


def check_flow(services: Services, flow: str | None) -> None:
    """Raise Permanent("bad_request") for a flow that this installation does not have."""
    if flow is not None and flow not in services.flows:
        raise Permanent("bad_request", f"there is no flow {flow!r}; there are {', '.join(services.flows)}")


async def begin(  # one run has this many facts
    connection: Connection,
    services: Services,
    request: RunRequest,
    *,
    thread: str | None,
    correlation: str,
    flow: str | None = None,
) -> dict[str, Any]:
    """Start a run and wake a worker, in the caller's transaction; returns `run`, `thread` and `after`."""
    run = str(new_id(services.clock))
    # A run that continues no thread opens one that bears its own id.
    thread = thread or run
    await records.start(
        connection,
        id=run,
        thread=thread,
        input=request.as_json(),
        correlation=correlation,
        budget=_budget(services, request),
        flow=flow or records.DEFAULT_FLOW,
    )
    await services.queue.defer(connection, run)
    return {"run": run, "thread": thread, "after": 0}


async def accept(  # one run has this many facts
    services: Services,
    caller: Caller,
    request: RunRequest,
    *,
    key: IdempotentRequest | None,
    correlation: str,
    flow: str | None = None,
) -> tuple[Mapping[str, Any], bool]:
    """Start a run on a thread of its own and wake a worker, at once; returns the receipt, and whether it is a replay.

    Raises as `begin` and `idempotency.perform` do.
    """
    run = str(new_id(services.clock))
    receipt = {"run": run, "thread": run, "after": 0}
    start = RunStart(
        run,
        request.as_json(),
        correlation,
        _budget(services, request),
        answer=receipt,
        request=key,
        flow=flow or records.DEFAULT_FLOW,
    )
    earlier = await services.queue.accept(services.database, caller.access, start)
    return earlier or receipt, earlier is not None


async def own(connection: Connection, caller: Caller, thread: str) -> ThreadState | None:
    """Return the state of the caller's thread, or None; raises Permanent("forbidden") for somebody else's."""
    standing = await records.thread_state(connection, thread)
    if standing and standing.owner != caller.principal.id:
        raise Permanent("forbidden", f"thread {thread!r} belongs to {standing.owner!r}; start one of your own")
    return standing


def _budget(services: Services, request: RunRequest) -> dict[str, int]:
    own: Mapping[str, int] = (request.plan or {}).get("budget", {})
    return {**services.budget, **own}


async def _from_runbook(
    services: Services, caller: Caller, id: str, inputs: Mapping[str, bool | int | str]
) -> RunRequest:
    item = await versions.current(services.database, caller.access, id)
    if item.kind != "runbook":
        raise Permanent("not_found", f"{id!r} is no runbook; `countersign knowledge ls` lists those there are")
    problems = slots.misfits(runbooks.parse(item.body, version=item.version).runbook.slots, inputs)
    if problems:
        raise invalid(problems)
    return RunRequest(f"runbook {id}", runbook=id, inputs=dict(inputs))
