"""Database whose process dies before or after one of its statements, within the test's process."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from memory.postgres.database import Database, Prelude
from memory.scope import Access

Window = Literal["before", "after"]


class Death(BaseException):
    """The process is gone: nobody catches it, and it says nothing more."""


@dataclass
class Fate:
    """When the process dies, and what it said until then."""

    number: int = 0
    """Its statement at which it dies, from 1; 0 for never."""
    window: Window = "before"
    statements: list[str] = field(default_factory=list[str])
    at: Mapping[str, Callable[[], Awaitable[None]]] = field(default_factory=dict[str, Callable[[], Awaitable[None]]])
    """What others do right before a statement, once."""

    def strike(self, window: Window) -> None:
        """Die if the time has come, or has passed."""
        count = len(self.statements)
        if self.number and (count, window == "after") >= (self.number, self.window == "after"):
            raise Death


class MortalDatabase(Database):
    """Database of a process with a fate."""

    fate: Fate

    async def rows_of(
        self, access: Access, function: str, *args: object, binary: bool = False, prelude: Prelude | None = None
    ) -> list[dict[str, Any]]:
        """Call as ever, unless this is the end."""
        fate, name = self.fate, f"{prelude.function}, {function}" if prelude else function
        if name in fate.at and name not in fate.statements:
            self.fate = Fate()
            await fate.at[name]()
            self.fate = fate
        fate.statements.append(name)
        fate.strike("before")
        rows = await super().rows_of(access, function, *args, binary=binary, prelude=prelude)
        fate.strike("after")
        return rows
