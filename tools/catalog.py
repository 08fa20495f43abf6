"""Catalogue of tools, discovered in one folder; cards describe them without any means to act.

The gateway takes tools from it; planning, policies and the API read the cards.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tools.adapters
from memory.errors import Permanent
from tools import discovery
from tools.action import Effect, Role
from tools.tool import Tool

SETTING = "COUNTERSIGN_TOOLS_DIR"


@dataclass(frozen=True, slots=True)
class ToolCard:
    """Description of a tool for planners, people and policies; no function is reachable from it."""

    name: str
    summary: str
    effect: Effect
    schema: Mapping[str, Any]
    schema_hash: str
    roles: tuple[Role, ...]
    reversible: bool
    keyed: bool
    has_lookup: bool
    attempts: int
    settles_within: float | None
    compensate: str
    playbook: str
    data: tuple[str, ...]
    failures: tuple[str, ...]
    cost: Mapping[str, int]
    idempotency: str
    """`natural key` if the tool names the business event itself, else `per request`."""
    currency: str = ""
    """The currency of its amounts, or the argument that names it as `args.NAME`; empty if there is none to name."""

    @classmethod
    def of(cls, tool: Tool) -> "ToolCard":
        """Return the card of a tool."""
        return cls(
            name=tool.name,
            summary=tool.summary,
            effect=tool.effect,
            schema=tool.arguments.model_json_schema(),
            schema_hash=tool.schema_hash,
            roles=tuple(sorted(tool.roles)),
            reversible=tool.reversible,
            keyed=tool.keyed,
            has_lookup=tool.lookup is not None,
            attempts=tool.attempts,
            settles_within=tool.settles_within,
            compensate=tool.compensate,
            playbook=tool.playbook,
            data=tool.data,
            failures=tool.failures,
            cost=tool.cost.as_json(),
            idempotency="natural key" if tool.key else "per request",
            currency=tool.currency,
        )


class Catalog:
    """All tools by name."""

    def __init__(self, tools: Iterable[Tool]) -> None:
        self._tools: dict[str, Tool] = {}
        for tool in tools:
            if tool.name in self._tools:
                raise Permanent("configuration", f"two tools are named {tool.name!r}; rename one of them")
            self._tools[tool.name] = tool
        self.cards: Mapping[str, ToolCard] = {name: ToolCard.of(tool) for name, tool in sorted(self._tools.items())}
        for tool in self._tools.values():
            if tool.compensate and tool.compensate not in self._tools:
                raise Permanent(
                    "configuration", f"{tool.name!r} is undone by {tool.compensate!r}, which does not exist"
                )

    @classmethod
    def discover(cls, folder: Path | None = None) -> "Catalog":
        """Import the shipped adapters and those of a folder of one's own, and collect the tools they define."""
        modules = [*discovery.package_modules(tools.adapters)]
        if folder:
            modules += discovery.folder_modules(folder, SETTING)
        return cls(value for module in modules for value in vars(module).values() if isinstance(value, Tool))

    def get(self, name: str) -> Tool:
        """Return a tool; raises Permanent("unknown_tool") naming what exists."""
        if name not in self._tools:
            raise Permanent("unknown_tool", f"there is no tool {name!r}; the catalogue has {', '.join(self.cards)}")
        return self._tools[name]
