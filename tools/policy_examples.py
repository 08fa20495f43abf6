"""Examples in the comments of policy files, `//! hold:1 executor @write {}`: promises that a set of policies must keep.

Judged when policies are put in force, and by tests.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from memory import json_text
from memory.errors import Permanent
from tools.discovery import text_of
from tools.policy import FOLDER, Facts, PolicySet

_FORM = "//! allow|deny:CODE|hold:N ROLE TOOL {FACTS}"
_EXAMPLE = re.compile(r"//!\s*(\S+)\s+(\S+)\s+(\S+)\s+(\{.*\})\s*")
_FACTS = frozenset(field.name for field in fields(Facts))


@dataclass(frozen=True, slots=True)
class Example:
    """A verdict that a policy file promises in a comment."""

    file: str
    line: int
    verdict: str
    role: str
    tool: str
    facts: Mapping[str, Any]

    def judged_by(self, policies: PolicySet) -> str:
        """Return the verdict of these policies, written as an example writes it."""
        decision = policies.decide(self.role, self.tool, Facts(**self.facts))
        detail = {"deny": f":{decision.code}", "hold": f":{decision.need}"}.get(decision.verdict, "")
        return decision.verdict + detail


def read(*folders: Path) -> list[Example]:
    """Return every example of these folders, by default the shipped one.

    Raises Permanent("configuration") naming file and line of a text that is none.
    """
    return [example for folder in folders or (FOLDER,) for example in _of(folder)]


def check(policies: PolicySet, *folders: Path) -> None:
    """Raise Permanent("configuration") for the first example of these folders that does not hold, with its place."""
    for example in read(*folders):
        verdict = example.judged_by(policies)
        if verdict != example.verdict:
            location = f"policy file {example.file!r}, line {example.line}"
            promise = f"{example.role} {example.tool} {json.dumps(dict(example.facts))}"
            message = f"{location}: {promise} is {verdict}, not {example.verdict}; mend the rules or the example"
            raise Permanent("configuration", message)


def _of(folder: Path) -> Iterator[Example]:
    for path in sorted(folder.glob("*.cedar")):
        for number, line in enumerate(text_of(path).splitlines(), 1):
            if line.startswith("//!"):
                yield _example(path.name, number, line)


def _example(file: str, number: int, line: str) -> Example:
    try:
        match = _EXAMPLE.fullmatch(line)
        if match is None:
            raise ValueError(f"this is no example; write {_FORM}")
        return Example(file, number, match[1], match[2], match[3], _facts(match[4]))
    except ValueError as error:
        message = f"policy file {file!r}, line {number}: {line!r}: {error}"
        raise Permanent("configuration", message) from None


def _facts(text: str) -> dict[str, Any]:
    """Return the facts of an example; raises ValueError for what is no JSON, names one twice or none that there is."""
    values: dict[str, Any] = json_text.read(text)
    if odd := sorted(values.keys() - _FACTS):
        raise ValueError(f"there is no fact {odd[0]!r}; there are {', '.join(sorted(_FACTS))}")
    facts = values.get("facts", [])
    if not isinstance(facts, list):
        raise ValueError('write facts as a list, ["name=value"]')
    return {**values, "facts": tuple(facts)}  # pyright: ignore[reportUnknownArgumentType]  # Cedar's schema judges them
