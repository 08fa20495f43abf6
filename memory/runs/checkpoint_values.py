"""Exact serialization of graph state: LangGraph's serializer, which refuses what would come back as something else.

The checkpoint saver saves through it, the archive of transcripts reads with it; LangGraph's own savers read it too.
"""

import copy
import dataclasses
import re
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime, time
from decimal import Decimal
from typing import Any, cast
from zoneinfo import ZoneInfo

from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.serde.types import ERROR, INTERRUPT
from langgraph.types import Interrupt, Send
from ormsgpack import (
    OPT_PASSTHROUGH_DATACLASS,
    OPT_PASSTHROUGH_DATETIME,
    OPT_PASSTHROUGH_ENUM,
    OPT_PASSTHROUGH_SUBCLASS,
    OPT_PASSTHROUGH_TUPLE,
    OPT_PASSTHROUGH_UUID,
    Ext,
    packb,
)

from memory.errors import Permanent

LARGEST_SAVE = 32 * 2**20
"""Bytes that one statement may save: what changed in a step, or what a task wrote."""

Packed = tuple[str, bytes]
"""The name of a serialization, and the bytes."""

_LONGEST_INLINE = 40
_OF_ONE, _OF_MANY, _OF_NAMED = 0, 1, 2
"""LangGraph's marks of a type that is called with one value, with several, and with named ones."""
_SURROGATE = re.compile("[\ud800-\udfff]")
_BINARY = re.compile(b"[\xc4-\xc6]")
"""How bytes begin in msgpack, and bytearrays, which it takes for bytes; letters that look so cost time only."""
_EXACT = (
    OPT_PASSTHROUGH_DATACLASS
    | OPT_PASSTHROUGH_DATETIME
    | OPT_PASSTHROUGH_ENUM
    | OPT_PASSTHROUGH_SUBCLASS
    | OPT_PASSTHROUGH_TUPLE
    | OPT_PASSTHROUGH_UUID
)
"""msgpack packs nothing then that it would not give back."""
_DATETIME = ("year", "month", "day", "hour", "minute", "second", "microsecond", "tzinfo", "fold")
_CONTENTS: Mapping[type[Any], str] = {Send: "arg", Interrupt: "value"}
"""Fields of LangGraph's own types that hold anything."""
_UNCHANGED = object()
_STOCK = JsonPlusSerializer(allowed_msgpack_modules=None)


class Unfaithful(TypeError):
    """A value that would not come back as what it is; the message names its type."""


class ExactSerializer(JsonPlusSerializer):
    """LangGraph's serializer; it keeps tuples, lone surrogates and time zones too, and constructs named types only."""

    def __init__(self, types: Collection[type] = ()) -> None:
        own = [("builtins", "tuple"), ("builtins", "str")]
        super().__init__(allowed_msgpack_modules=[*own, *((one.__module__, one.__name__) for one in types)])

    def dumps_typed(self, obj: Any) -> Packed:
        """Return how a value is stored; raises Unfaithful if it would come back as something else."""
        if obj is None or type(obj) is bytes:
            return super().dumps_typed(obj)
        if (content := _plain(obj)) is not None:
            return "msgpack", content
        try:
            packed = super().dumps_typed(_marked(obj))
            loss = _loss(obj, self.loads_typed(packed))
        except (TypeError, ValueError, RecursionError) as error:
            raise Unfaithful(f"{_name(obj)} cannot be stored ({error})") from error
        if loss is not _UNCHANGED:
            raise Unfaithful(f"{_name(loss)} would come back as something else")
        return packed


class Cargo:
    """The bytes of one statement, one value after another, up to the limit."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, channel: str, packed: Packed) -> list[object]:
        """Return the channel's serialization, first byte and length; raises Permanent too_large beyond the limit."""
        form, content = packed
        first = self._size + 1
        self._size += len(content)
        if self._size > LARGEST_SAVE:
            raise Permanent(
                "too_large",
                f"channel {channel!r} holds {len(content):,} bytes, and {self._size:,} would be saved at once, where "
                f"{LARGEST_SAVE:,} is the limit; keep a handle in the state and the content behind it",
            )
        self._parts.append(content)
        return [channel, form, first, len(content)]

    def content(self) -> bytes:
        """Return all bytes in order."""
        return b"".join(self._parts)


def pack(serde: SerializerProtocol, channel: str, value: object) -> Packed:
    """Return how a channel's value is stored; raises Permanent contract_violation naming channel and type."""
    if "\\" in channel:
        raise Permanent(
            "contract_violation", f"channel {channel!r} has a backslash in its name; LangGraph cannot read it"
        )
    try:
        return serde.dumps_typed(_readable(channel, value))
    except Unfaithful as error:
        raise Permanent(
            "contract_violation",
            f"channel {channel!r} cannot be saved: {error}; keep plain data in the state, or name the type to the "
            "saver, Checkpoints(types=...)",
        ) from error


def _readable(channel: str, value: object) -> object:
    """Return what LangGraph reads back from its own channels: errors as text, interrupts as a list."""
    if channel == ERROR and isinstance(value, BaseException):
        return repr(value)
    if channel == INTERRUPT and isinstance(value, tuple):
        return [*cast(tuple[object, ...], value)]
    return value


def is_small(value: object) -> bool:
    """Return whether a value stands in the checkpoint itself, where JSON gives it back as it is."""
    if type(value) is str:
        return len(value) <= _LONGEST_INLINE and "\0" not in value and not _SURROGATE.search(value)
    if type(value) is int:
        return -(2**63) <= value < 2**63
    return isinstance(value, bool | None)


def _plain(value: object) -> bytes | None:
    """Return a value packed if it is built of None, bool, int, float, str, list and dict alone, else None."""
    try:
        content = packb(value, option=_EXACT)
    except TypeError:
        return None
    return None if _BINARY.search(content) else content


def _marked(value: Any) -> Any:
    """Return a value in which tuples, lone surrogates and time zones are marked, which LangGraph does not keep."""
    kind = cast(type[Any], type(value))
    if kind is list:
        return list(map(_marked, value))
    if kind is dict:
        return {key: _marked(item) for key, item in value.items()}
    if field := _CONTENTS.get(kind):
        twin = copy.copy(value)
        object.__setattr__(twin, field, _marked(getattr(value, field)))
        return twin
    return _MARKS[kind](value) if kind in _MARKS else value


def _mark_tuple(value: tuple[Any, ...]) -> Any:
    return _call(_OF_ONE, tuple, list(map(_marked, value)))


def _mark_text(value: str) -> Any:
    if not _SURROGATE.search(value):
        return value
    return _call(_OF_MANY, str, [value.encode("utf-8", "surrogatepass"), "utf-8", "surrogatepass"])


def _mark_time(value: datetime) -> Any:
    if type(value.tzinfo) is not ZoneInfo:
        return value
    return _call(_OF_NAMED, datetime, {name: getattr(value, name) for name in _DATETIME})


_MARKS: Mapping[type[Any], Callable[[Any], Any]] = {tuple: _mark_tuple, str: _mark_text, datetime: _mark_time}
"""How single values become LangGraph's mark of a type and what it is called with, where LangGraph sets none."""


def _call(code: int, kind: type[Any], content: object) -> Ext:
    return Ext(code, _STOCK.dumps_typed([kind.__module__, kind.__name__, content])[1])


def _loss(before: Any, after: Any) -> object:
    """Return the first value within `before` that came back otherwise, or a mark that nothing did."""
    if type(before) is not type(after):
        return before
    pairs = _parts(before, after)
    if pairs is None:
        return _UNCHANGED if _is_same(before, after) else before
    for one, other in pairs:
        if (loss := _loss(one, other)) is not _UNCHANGED:
            return loss
    return _UNCHANGED


def _parts(before: Any, after: Any) -> Iterable[tuple[Any, Any]] | None:
    """Return what two containers of one type hold, side by side; None if they are single values."""
    kind = cast(type[Any], type(before))
    if issubclass(kind, dict | list | tuple | deque):
        return _members(before, after)
    if dataclasses.is_dataclass(kind):
        names = [field.name for field in dataclasses.fields(kind)]
        return [(getattr(before, name), getattr(after, name, None)) for name in names]
    if hasattr(before, "model_fields_set"):
        return zip(_fields(before), _fields(after), strict=True)
    return None


def _members(before: Any, after: Any) -> Iterable[tuple[Any, Any]]:
    """Return the members of two collections side by side, keys too; of another number, that the first one is lost."""
    if len(before) != len(after):
        return [(before, None)]
    if issubclass(type(before), dict):
        return [*zip(before, after, strict=True), *zip(before.values(), after.values(), strict=True)]
    return zip(before, after, strict=True)


def _fields(model: Any) -> list[Any]:
    return [vars(model), model.__pydantic_extra__, model.__pydantic_private__]


def _is_same(before: Any, after: Any) -> bool:
    if isinstance(before, float | Decimal | datetime | time):
        return repr(before) == repr(after)
    same = before == after
    return bool(same.all() if hasattr(same, "all") else same)


def _name(value: object) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
