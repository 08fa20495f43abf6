"""Values of a saved state: they come back as what they were or are refused by name, and there is a limit."""

import dataclasses
import enum
import math
from collections import deque
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, TypedDict
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.channels import DeltaChannel
from langgraph.checkpoint.base import Checkpoint, empty_checkpoint
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Interrupt, Send, interrupt
from pydantic import BaseModel

from memory.errors import Permanent
from memory.postgres.database import Database
from memory.runs.checkpoint_values import LARGEST_SAVE
from memory.runs.checkpoints import Checkpoints, leading, reading
from memory.runs.leases import Lease
from tests.bench.counting import count_statements
from tests.memory.runs.conftest import Leases

pytestmark = pytest.mark.anyio


class Phase(enum.StrEnum):
    OPEN = "open"


class Level(enum.IntEnum):
    FIRST = 1


class TextNumber(str, enum.Enum):  # noqa: UP042  # as many people's enums are
    A = "a"


class Model(BaseModel):
    count: int = 1
    pair: tuple[int, str] = (1, "x")


@dataclasses.dataclass
class Record:
    level: Level = Level.FIRST


class Word(str):
    """A text of a type of its own."""


PLAIN = [
    1e16,
    1.0,
    -0.0,
    math.inf,
    math.nan,
    True,
    2**63 - 1,
    -(2**63),
    2**63,
    "",
    "x" * 41,
    "a\0b",
    "\U0001f469\u200d\U0001f467 ok",
    "x\ud83d",
    b"\x00\xff",
    Decimal("1.10"),
    date(2026, 3, 29),
    datetime(2026, 3, 29, 2, 30, tzinfo=UTC),
    datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1),
    UUID(int=1),
    Path("/somewhere"),
    {1, 2},
    deque([1]),
    (1, (2, "x\ud83d")),
    {1: "a", (1, 2): [{"b": (3,)}]},
    [HumanMessage("hello"), AIMessage("", tool_calls=[{"name": "a", "args": {"b": 1.5}, "id": "1"}])],
    [Send("node", {"pair": (1, 2)})],
    [Interrupt(value=("a", 1), id="i")],
]
OWN = [
    (Phase.OPEN, "Phase"),
    (Level.FIRST, "Level"),
    (TextNumber.A, "TextNumber"),
    (Model(count=2), "Model"),
    (Record(), "Record"),
    ([{"deep": (Phase.OPEN,)}], "Phase"),
]
LOSSES = [
    *OWN,
    (Word("q"), "Word"),
    (2**70, "int"),
    ({"deep": [1j]}, "complex"),
    ({Phase.OPEN: 1}, "Phase"),
    ([bytearray(b"a")], "bytearray"),
    (Exception("x"), "Exception"),
    (print, "builtin_function"),
]


def holding(**values: Any) -> Checkpoint:
    versions: Any = dict.fromkeys(values, "00001.x")
    return {**empty_checkpoint(), "channel_values": values, "channel_versions": versions}


async def back(saver: Checkpoints, reader: Checkpoints, lease: Lease, value: object) -> tuple[Any, Any]:
    """Return a value as a channel and as a task's write, read by another saver."""
    checkpoint = holding(value=value)
    config = await saver.aput(leading(lease), checkpoint, {}, checkpoint["channel_versions"])
    await saver.aput_writes(config, [("value", value)], "task")
    saved = await reader.aget_tuple(reading(lease.access, lease.thread))
    assert saved is not None
    assert saved.pending_writes is not None
    return saved.checkpoint["channel_values"]["value"], saved.pending_writes[0][2]


@pytest.mark.parametrize("value", PLAIN, ids=lambda value: ascii(value)[:30])
async def test_plain_values_come_back_as_what_they_were(
    saver: Checkpoints, other: Checkpoints, leases: Leases, value: object
) -> None:
    for saved in await back(saver, other, await leases(), value):
        assert type(saved) is type(value)
        assert repr(saved) == repr(value)


@pytest.mark.parametrize(("value", "name"), OWN)
async def test_own_types_come_back_where_the_saver_names_them(
    database: Database, leases: Leases, value: object, name: str
) -> None:
    typed_saver = Checkpoints(database, types=[Phase, Level, TextNumber, Model, Record])
    for saved in await back(typed_saver, typed_saver, await leases(), value):
        assert type(saved) is type(value), name
        assert saved == value


@pytest.mark.parametrize(("value", "name"), LOSSES)
async def test_what_would_change_is_refused_when_saved_by_channel_and_type(
    saver: Checkpoints, leases: Leases, value: object, name: str
) -> None:
    lease, checkpoint = await leases(), holding(fine=1, odd=value)
    with count_statements() as count, pytest.raises(Permanent, match=f"channel 'odd'.*{name}") as refusal:
        await saver.aput(leading(lease), checkpoint, {}, checkpoint["channel_versions"])
    assert (refusal.value.code, count.statements) == ("contract_violation", 0)
    with pytest.raises(Permanent, match="channel 'odd'"):
        await saver.aput_writes(leading(lease, checkpoint="c"), [("fine", 1), ("odd", value)], "task")


async def test_a_stock_saver_reads_marked_values(database: Database, saver: Checkpoints, leases: Leases) -> None:
    lease, value = await leases(), {"pair": (1, "x\ud83d"), "at": datetime(2026, 1, 1, tzinfo=ZoneInfo("Asia/Tokyo"))}
    checkpoint = holding(value=value)
    await saver.aput(leading(lease), checkpoint, {}, checkpoint["channel_versions"])
    async with database.transaction(lease.access) as connection:
        saved = await AsyncPostgresSaver(connection).aget_tuple({"configurable": {"thread_id": lease.thread}})
    assert saved is not None
    assert saved.checkpoint["channel_values"] == {"value": value}


async def test_a_state_beyond_the_limit_is_refused_by_name_before_anything_is_sent(
    saver: Checkpoints, leases: Leases
) -> None:
    lease = await leases()
    checkpoint = holding(small=b"x", large=bytes(LARGEST_SAVE))
    with (
        count_statements() as count,
        pytest.raises(Permanent, match=f"channel 'large' holds {LARGEST_SAVE:,} bytes") as refusal,
    ):
        await saver.aput(leading(lease), checkpoint, {}, checkpoint["channel_versions"])
    assert (refusal.value.code, count.statements) == ("too_large", 0)
    with pytest.raises(Permanent, match="channel 'large'"):
        await saver.aput_writes(leading(lease, checkpoint="c"), [("large", bytes(LARGEST_SAVE + 1))], "task")


async def test_a_large_state_within_the_limit_comes_back(
    saver: Checkpoints, other: Checkpoints, leases: Leases
) -> None:
    content = bytes(range(256)) * 40_000
    assert await back(saver, other, await leases(), content) == (content, content)


@pytest.mark.parametrize("odd", [{"score": math.nan}, {"word": "x\ud83d"}])
async def test_metadata_that_are_no_json_are_refused(saver: Checkpoints, leases: Leases, odd: Any) -> None:
    with pytest.raises(Permanent, match="no JSON text") as refusal:
        await saver.aput(leading(await leases()), holding(), odd, {})
    assert refusal.value.code == "contract_violation"


async def test_a_channel_whose_name_no_saver_reads_is_refused(saver: Checkpoints, leases: Leases) -> None:
    with pytest.raises(Permanent, match="backslash"):
        await saver.aput(leading(await leases()), holding(**{"a\\b": [1]}), {}, {"a\\b": "00001.x"})


async def test_a_delta_channel_is_rebuilt_from_its_writes(
    saver: Checkpoints, other: Checkpoints, leases: Leases
) -> None:
    class Log(TypedDict, total=False):
        lines: Annotated[list[str], DeltaChannel(_extend, snapshot_frequency=2)]

    async def talks(state: Log) -> Log:
        return {"lines": [f"line {len(state.get('lines', []))}"]}

    async def asks(state: Log) -> Log:
        return {"lines": [interrupt("well?")]}

    def build(checkpointer: Checkpoints) -> Any:
        graph: Any = StateGraph(Log)
        nodes = ["a", "b", "c", "d"]
        for name in nodes:
            graph.add_node(name, talks)
        graph.add_node("asks", asks)
        for node, following in zip([START, *nodes], [*nodes, "asks"], strict=True):
            graph.add_edge(node, following)
        graph.add_edge("asks", END)
        return graph.compile(checkpointer=checkpointer)

    lease = await leases()
    await build(saver).ainvoke({"lines": ["start"]}, leading(lease), durability="sync")
    state = await build(other).ainvoke(Command(resume="end"), leading(lease), durability="sync")
    assert state["lines"] == ["start", "line 1", "line 2", "line 3", "line 4", "end"]
    with pytest.raises(Permanent, match="DeltaChannel") as refusal:
        await saver.aprune([lease.thread])
    assert refusal.value.code == "conflict"


def _extend(lines: list[str], writes: Sequence[list[str]]) -> list[str]:
    return [*lines, *(line for write in writes for line in write)]
