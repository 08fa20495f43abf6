"""Tool declarations: a function with its effect, cost, key and safety net; adapters use the decorator."""

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, TypedDict, Unpack

from pydantic import BaseModel, ConfigDict, Field

from memory.errors import Code, Permanent
from memory.runs.rows import MIXED
from tools import facts
from tools.action import Cost, Effect, Json, Role, digest
from tools.amounts import AmountOf, currency_source
from tools.facts import Fact
from tools.money import Money

FINAL = frozenset({400, 404, 405, 410, 413, 415, 422})
"""HTTP statuses that refuse a request for good, unless a card says otherwise; sources: RFC 9110, RFC 4918 (422)."""


class ServiceRefusal(Permanent):
    """A service's answer that is no success; what it proves depends on its status and on what was sent before.

    `is_key_dead` says that the service will never do anything under this key any more: another attempt needs another.
    """

    def __init__(self, code: Code, message: str, status: int, *, is_key_dead: bool = False) -> None:
        super().__init__(code, message)
        self.status = status
        self.is_key_dead = is_key_dead


class SliceArgument(BaseModel):
    """A part of a large result, by reference: agents pass this on and never see the rows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    handle: str = Field(pattern=r"^h_[a-z0-9_]{4,80}$")
    start: int = Field(default=0, ge=0)
    count: int = Field(ge=0)
    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    """SHA-256 over the canonical rows of this slice, joined by newlines."""
    total: int = 0
    """Sum of the rows' `amount`, minor units."""
    currency: str = Field(default="", pattern=r"^([A-Z]{3}|\*)?$")
    """What these are in: empty if no row has an amount, `*` if they do not all name the same `currency`."""

    @property
    def money(self) -> Money | None:
        """The sum of the rows, or None if there are none; raises ValueError unless all name the same currency."""
        if not self.count:
            return None
        if self.currency in ("", MIXED):
            raise ValueError(
                f"the rows of {self.handle!r} have no common currency: whoever keeps rows with an `amount` adds its "
                "`currency` to each, and rows of several currencies are split by it first"
            )
        return Money(self.total, self.currency)


class BusinessServices(Protocol):
    """Business services as one call reaches them; carries the service key, correlation id and permit."""

    async def get(self, service: str, path: str, params: Mapping[str, str | int] | None = None) -> Any:
        """Return the JSON answer of a read; raises Temporary or Permanent."""
        ...

    async def post(self, service: str, path: str, body: Mapping[str, Any]) -> Any:
        """Return the JSON answer of a write or query by body; raises Temporary or Permanent."""
        ...

    async def find_operation(self, service: str, key: str) -> Mapping[str, Any]:
        """Return the operation under an idempotency key, empty if there is none; raises Temporary or Permanent."""
        ...


class ResultRows(Protocol):
    """Large results of this run; only the gateway's call verb hands this out."""

    def read(self, part: SliceArgument) -> AsyncIterator[Mapping[str, Json]]:
        """Yield the rows of a slice in order."""
        ...

    async def keep(self, name: str, rows: AsyncIterator[Mapping[str, Json]]) -> SliceArgument:
        """Store rows under this step and return the slice that covers them all; first writer wins."""
        ...

    async def split(self, part: SliceArgument, cases: Mapping[str, str], otherwise: str) -> Mapping[str, SliceArgument]:
        """Partition a slice by CEL conditions over row fields, first match wins; returns one slice per case name."""
        ...

    async def recall(self, query: str, limit: int) -> Mapping[str, Json]:
        """Keep the memories that match in this run's scopes; returns their slice as `found`, and omission counts."""
        ...

    async def remember(self, text: str) -> str:
        """Put a text into the run's working memory; returns its id. Raises Permanent `tainted` for what it recalled."""
        ...


class ServiceBinder(Protocol):
    """Source of services for one call, with the role's key and, for a write, its permit."""

    def bind(self, role: Role, run: str, *, permit: str | None = None, key: str | None = None) -> BusinessServices:
        """Return the services as this call may use them."""
        ...


@dataclass(frozen=True, slots=True)
class Call:
    """Everything that a tool may use while it runs."""

    key: str
    """Idempotency key of the effect; the same for every attempt."""
    run: str
    step: str
    user: str
    role: Role
    services: BusinessServices
    rows: ResultRows


@dataclass(frozen=True, slots=True)
class Observation:
    """The target of a write as the world shows it now, whoever brought that about."""

    holds: bool
    """True if what the write was to bring about, and what it report, is so."""
    facts: Mapping[str, Json] = field(default_factory=dict[str, Json])
    """What is to be seen, in the fields of the tool's own result: a skipped step's expectation is judged by them."""


Function = Callable[[Any, Call], Awaitable[Mapping[str, Json]]]
Observe = Callable[[Any, Call, Mapping[str, Json]], Awaitable[Observation]]
"""Looks at the target: takes the arguments, the call and the result that was reported for it."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A declared tool; the catalogue shows everything but the functions."""

    name: str
    summary: str
    effect: Effect
    arguments: type[BaseModel]
    run: Function
    roles: frozenset[Role]
    key: Callable[[Any], str] | None = None
    """Natural key of the effect; without one the key is tool, target, arguments and the run's request."""
    lookup: Function | None = None
    """Read back by key what the service recorded; returns an empty mapping if it has nothing."""
    observe: Observe | None = None
    """Look at the target, not at our request: how the world stands now. It confirms a write and backs a skip."""
    sets_state: bool = False
    """True if the key names a state to be set, not an event: the state is set anew when it is not so any more."""
    looks: int = 16
    """How often a doubt is looked at again: after 2 seconds, 4, 8, up to an hour. After that people find out."""
    keyed: bool = False
    """True if the service itself de-duplicates by our key, so that re-sending is safe."""
    settles_within: float | None = None
    """Seconds after a send in which the service may still be at it; a look-up that finds nothing later is a proof."""
    final: frozenset[int] = FINAL
    """HTTP statuses that prove, as answers to the only send, that nothing happened and nothing will."""
    final_repeats: frozenset[int] = frozenset()
    """The same for answers to a repetition, while an earlier send may still be at work."""
    amount: AmountOf | None = None
    """Business amount of one call, as `Money` with its currency, for policies, limits and whoever is asked."""
    target: Callable[[Any], str] | None = None
    """The resource that is touched, for policies: `kind/name`."""
    facts: tuple[Fact, ...] = ()
    """Further facts for policies, such as the environment, each with the values that it can have."""
    inapplicable: tuple[str, ...] = ()
    """Facts that this tool has none of; said aloud, so that a rule on one may pass it by."""
    reversible: bool = True
    compensate: str = ""
    """Name of the tool that undoes this one, with the same arguments; empty if nothing does."""
    playbook: str = ""
    """Runbook id that people follow when this tool fails for good; demanded of every write."""
    data: tuple[str, ...] = ()
    """Classes of data that leave or enter: `payment`, `personal`, `untrusted_text`."""
    failures: tuple[str, ...] = ()
    """Known ways to fail, for people who read the catalogue."""
    cost: Cost = field(default_factory=lambda: Cost(calls=1))
    timeout: float = 10.0
    """Seconds of silence after which one attempt is given up; each page of a large result counts them anew."""
    attempts: int = 3
    """How often a temporary failure is tried in all."""

    def __post_init__(self) -> None:
        """Raise TypeError for facts in another form or twice, and functions that would still the worker's runs."""
        facts.check(self.name, self.facts, self.inapplicable, self.built_in_facts)
        for part, function in (("", self.run), ("lookup of ", self.lookup), ("observation of ", self.observe)):
            if function and not _is_async(function):
                what = f"{part}tool {self.name!r}"
                raise TypeError(
                    f"{what}: make it an `async def`; a synchronous one would still the worker's other runs"
                )

    @property
    def built_in_facts(self) -> tuple[str, ...]:
        """Return the facts that options of their own state."""
        return tuple(name for name, option in (("amount", self.amount), ("target", self.target)) if option)

    @property
    def is_reversible(self) -> bool:
        """Return whether another tool takes this one back; without one nobody can promise it."""
        return self.reversible and bool(self.compensate)

    @property
    def schema_hash(self) -> str:
        """Return the hash of the argument schema, which an approval binds."""
        return digest(self.arguments.model_json_schema())

    @property
    def currency(self) -> str:
        """The currency of its amounts, or the argument that names it as `args.NAME`; empty if that is open."""
        return currency_source(self.name, self.amount, self.arguments)


class ToolOptions(TypedDict, total=False):
    """Declarations of a tool besides name and effect; `Tool` documents them."""

    key: Callable[[Any], str]
    lookup: Function
    observe: Observe
    sets_state: bool
    looks: int
    keyed: bool
    settles_within: float
    final: frozenset[int]
    final_repeats: frozenset[int]
    amount: AmountOf
    target: Callable[[Any], str]
    facts: tuple[Fact, ...]
    inapplicable: tuple[str, ...]
    reversible: bool
    compensate: str
    playbook: str
    data: tuple[str, ...]
    failures: tuple[str, ...]
    cost: Cost
    timeout: float
    attempts: int


def tool(
    name: str, *, effect: Effect, roles: tuple[Role, ...] = (), **options: Unpack[ToolOptions]
) -> Callable[[Function], Tool]:
    """Declare the decorated async function `(args, call) -> result` as a tool; its docstring is the summary.

    The first parameter's annotation must be a pydantic model: it is the argument schema. Reads default to the
    researcher and executor roles, everything else to the executor alone.
    """

    def declare(function: Function) -> Tool:
        arguments = inspect.get_annotations(_target(function)).get("args")
        if not (isinstance(arguments, type) and issubclass(arguments, BaseModel)):
            raise TypeError(f"tool {name!r}: annotate the first parameter `args` with its pydantic model")
        tool_roles: tuple[Role, ...] = roles or (("researcher", "executor") if effect == "read" else ("executor",))
        summary = (_target(function).__doc__ or "").strip()
        if not summary:
            raise TypeError(f"tool {name!r}: say in the docstring what it does")
        if options.get("sets_state") and not options.get("observe"):
            raise TypeError(f"tool {name!r}: a tool that sets a state needs `observe`, which looks whether it is so")
        currency_source(name, options.get("amount"), arguments)
        return Tool(name, summary, effect, arguments, function, frozenset(tool_roles), **options)

    return declare


def _is_async(function: Callable[..., object]) -> bool:
    """Return whether a call gives way while it waits: an `async def`, part of one applied, or an object called so."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def _target(function: Any) -> Any:
    """Return where a function was written: behind applied arguments, or the call of an object."""
    while isinstance(function, partial):
        function = function.func
    return function if inspect.isroutine(function) else type(function).__call__
