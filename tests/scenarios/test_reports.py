"""Cases from public reports about other products: odd answers of tools, late replies, questions out of order."""

import asyncio
import datetime
import decimal
import enum
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, TypedDict
from uuid import UUID

import pytest
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt
from pydantic import BaseModel

from memory.clock import SystemClock
from memory.postgres.database import Database
from memory.runs.checkpoints import Checkpoints, leading
from memory.scope import Access, Principal
from memory.store.langgraph_store import MemoryStore
from tests.graphs.stage import Stage, Stages, pay, plan
from tools.action import Json
from tools.catalog import Catalog
from tools.policy import PolicySet
from tools.tool import Call, tool

pytestmark = pytest.mark.anyio


class Kind(BaseModel, extra="forbid"):
    """Which answer."""

    kind: str


class Colour(enum.Enum):
    """Something that is no JSON."""

    RED = 1


def nested(levels: int) -> dict[str, Any]:
    """Return a mapping deeper than anybody can read."""
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"a": value}
    return value


ANSWERS: Mapping[str, Callable[[], Any]] = {
    "nan": lambda: {"x": math.nan},
    "float": lambda: {"x": 1.5},
    "nul": lambda: {"x": "a\0b"},
    "surrogate": lambda: {"x": "\ud83d"},
    "decimal": lambda: {"x": decimal.Decimal("1.10")},
    "date": lambda: {"x": datetime.date(2026, 3, 29)},
    "bytes": lambda: {"x": b"\xff"},
    "uuid": lambda: {"x": UUID(int=1)},
    "set": lambda: {"x": {1}},
    "enum": lambda: {"x": Colour.RED},
    "none": lambda: None,
    "list": lambda: [1],
    "text": lambda: "ok",
    "big": lambda: {"x": "y" * 9000},
    "deep": lambda: nested(3000),
    "number as key": lambda: {1: "a"},
    "huge number": lambda: {"x": 10**400},
    "nul in a key": lambda: {"a\0": 1},
    "model": lambda: {"x": Kind(kind="q")},
    "empty": lambda: {},
}


@dataclass
class Odd:
    """A tool that acts and then answers as it is told; another that says nothing about repeating and answers late."""

    acts: list[str] = field(default_factory=list[str])

    def over(self, stage: Stage) -> Stage:
        """Put these tools into a stage."""

        @tool("rep.odd", effect="write", playbook="none")
        async def odd(args: Kind, call: Call) -> Mapping[str, Json]:
            """Act, then answer."""
            self.acts.append(args.kind)
            return ANSWERS[args.kind]()

        @tool("rep.append", effect="write", timeout=0.05, playbook="none")
        async def append(args: Kind, call: Call) -> Mapping[str, Json]:
            """Act, and answer too late."""
            self.acts.append(args.kind)
            await asyncio.Event().wait()
            return {}

        stage.catalog = Catalog([odd, append])
        stage.rules = PolicySet({"test.cedar": stage.policy}, stage.catalog.cards)
        return stage


def act(name: str, kind: str) -> dict[str, Any]:
    """Return a step that acts."""
    return pay("x") | {"id": "act", "tool": name, "args": {"kind": kind}, "expect": "size(result) >= 0"}


@pytest.mark.parametrize("kind", ANSWERS)
async def test_whatever_a_tool_answers_after_it_acted_is_settled_once(stages: Stages, kind: str) -> None:
    odd = Odd()
    stage = odd.over(stages())
    row = await stage.run(plan(act("rep.odd", kind)))
    outcomes = await stage.bodies(row.id, "outcome")
    assert (odd.acts, [body["state"] for body in outcomes]) == ([kind], ["done"])
    assert (row.status, row.reason) == ("done", None)


async def test_a_write_that_answers_too_late_is_not_sent_again_unless_its_author_said_that_it_is_safe(
    stages: Stages,
) -> None:
    odd = Odd()
    stage = odd.over(stages())
    stage.clock = SystemClock()
    row = await stage.run(plan(act("rep.append", "pay 10")))
    assert ((row.status, row.reason), odd.acts) == (("stopped", "in_doubt"), ["pay 10"])


class Log(TypedDict, total=False):
    """What was answered."""

    log: Annotated[list[str], operator.add]


def questions(saver: Checkpoints) -> Any:
    """Return a graph of three nodes that ask at once."""
    graph: Any = StateGraph(Log)

    def asker(name: str) -> Any:
        async def ask(state: Log) -> Log:
            return {"log": [f"{name}={interrupt(name)}"]}

        return ask

    for name in "abc":
        graph.add_node(name, asker(name))
        graph.add_edge(START, name)
        graph.add_edge(name, END)
    return graph.compile(checkpointer=saver)


async def test_three_questions_are_answered_by_id_out_of_order_and_elsewhere(
    stages: Stages, database: Database
) -> None:
    """Two answers come when another worker leads; each reaches the node that asked."""
    stage = stages()
    lease = await stage.lease(await stage.start("three questions"))

    async def play(graph_input: Any, config: Any) -> Any:
        return await questions(Checkpoints(database)).ainvoke(graph_input, config, durability="sync")

    state = await play({"log": []}, leading(lease, fresh=True))
    ids = {question.value: question.id for question in state["__interrupt__"]}
    state = await play(Command(resume={ids["b"]: "B"}), leading(lease))
    assert sorted(question.value for question in state["__interrupt__"]) == ["a", "c"]
    await stage.requeue(lease.run)
    successor = await stage.lease(lease.run, 2)
    state = await play(Command(resume={ids["c"]: "C", ids["a"]: "A"}), leading(successor))
    assert sorted(state["log"]) == ["a=A", "b=B", "c=C"]


NAMES = ["acme", "acme-corp", "ac%me", "ac_e", "ACME", 'q"uote\\', "日本"]


async def test_namespaces_that_look_alike_hold_their_own(database: Database, alice: Principal) -> None:
    """Wildcards, quotes and other cases are letters as any; part of a label is no prefix."""
    store = MemoryStore(database, Access.of(alice))
    for name in NAMES:
        await store.aput(("tenant", name), "k", {"v": f"{name} apples"})
    for name in NAMES:
        assert [item.value for item in await store.asearch(("tenant", name))] == [{"v": f"{name} apples"}]
        hits = await store.asearch(("tenant", name), query="apples")
        assert [hit.namespace for hit in hits] == [("tenant", name)]
    assert len(await store.asearch(("tenant",), limit=50)) == len(NAMES)
    assert await store.asearch(("ten",), limit=50) == []


async def test_an_item_is_found_by_what_it_says_now(database: Database, alice: Principal) -> None:
    store = MemoryStore(database, Access.of(alice))
    for text in ("zebra stripes", "ocean waves"):
        await store.aput(("doc",), "a", {"v": text})
    hits = await store.asearch(("doc",), query="zebra")
    assert all("zebra" not in str(hit.value) and (hit.score or 0) <= 0.5 for hit in hits)
    (hit,) = await store.asearch(("doc",), query="ocean")
    assert hit.value == {"v": "ocean waves"}
