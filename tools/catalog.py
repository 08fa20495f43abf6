"""Catalogue of tools, discovered in one folder; cards describe them without any means to act.

The gateway takes tools from it; planning, policies and the API read the cards.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

import tools.adapters
from memory.errors import Permanent
from tools import discovery, facts
from tools.action import Effect, Role
from tools.tool import Tool

SETTING = "COUNTERSIGN_TOOLS_DIR"


@dataclass(frozen=True, slots=True)
class ToolCard:
    """Description of a tool for planners, people and policies; nothing that acts is reachable from it."""

    name: str
    summary: str
    effect: Effect
    arguments: type[BaseModel]
    """What judges arguments, wherever that is done; `schema` describes it to people and to models."""
    schema: Mapping[str, Any]
    schema_hash: str
    roles: tuple[Role, ...]
    reversible: bool
    """Whether another tool takes it back."""
    keyed: bool
    has_lookup: bool
    is_observed: bool
    """True if the target can be looked at, which confirms a write and backs a skip."""
    sets_state: bool
    attempts: int
    settles_within: float | None
    compensate: str
    playbook: str
    facts: Mapping[str, tuple[str, ...]]
    """What policies may look at, with the values that there are; one without values can be anything."""
    inapplicable: tuple[str, ...]
    """Facts of which the tool says that it has none."""
    data: tuple[str, ...]
    failures: tuple[str, ...]
    cost: Mapping[str, int]
    idempotency: str
    """`state` if the tool sets one, `natural key` if it names the business event itself, else `per request`."""
    currency: str = ""
    """The currency of its amounts, or the argument that names it as `args.NAME`; empty if there is none to name."""

    @classmethod
    def of(cls, tool: Tool) -> "ToolCard":
        """Return the card of a tool."""
        return cls(
            name=tool.name,
            summary=tool.summary,
            effect=tool.effect,
            arguments=tool.arguments,
            schema=tool.arguments.model_json_schema(),
            schema_hash=tool.schema_hash,
            roles=tuple(sorted(tool.roles)),
            reversible=tool.is_reversible,
            keyed=tool.keyed,
            has_lookup=tool.lookup is not None,
            is_observed=tool.observe is not None,
            sets_state=tool.sets_state,
            attempts=tool.attempts,
            settles_within=tool.settles_within,
            compensate=tool.compensate,
            playbook=tool.playbook,
            facts=facts.declared(tool.facts, tool.built_in_facts),
            inapplicable=tool.inapplicable,
            data=tool.data,
            failures=tool.failures,
            cost=tool.cost.as_json(),
            idempotency="state" if tool.sets_state else "natural key" if tool.key else "per request",
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
