"""Rules of policies as their annotations describe them: layer, quorum, code; read when policies are loaded."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from memory.errors import CODES

_DEEPEST, _LONGEST = 64, 10_000
"""How deep a rule nests at most, and how many signs it has without its texts: beyond that the parser's stack ends."""
_TEXTS = re.compile(r'"(?:\\.|[^"\\])*"|//[^\n\r]*', re.DOTALL)
_BRACKETS = {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: whom it asks, and what it says to whom it refuses."""

    name: str
    layer: str
    need: int
    groups: frozenset[str]
    ttl: int
    code: str
    message: str


def read(uid: str, effect: str, notes: Mapping[str, str]) -> Rule:
    """Return the rule that annotations describe; raises ValueError for one that is none."""
    name, layer, code = notes.get("id", uid), notes.get("layer", ""), notes.get("code", "policy_denied")
    need, ttl = int(notes.get("approvals", 0)), int(notes.get("ttl", 3600))
    if layer not in {"capability", "hard", "approval"} or (effect == "permit") != (layer == "capability"):
        raise ValueError(f"rule {name!r}: a permit is @layer(capability), a forbid is @layer(hard) or (approval)")
    if code not in CODES:
        raise ValueError(f"rule {name!r}: @code({code}) is not in the closed list")
    if layer == "approval" and need < 1:
        raise ValueError(f"rule {name!r}: an approval rule needs @approvals(1) or more")
    groups = frozenset(part.strip() for part in notes.get("groups", "").split(",") if part.strip())
    return Rule(name, layer, need, groups, ttl, code, notes.get("message", "a policy forbids this"))


def check_size(text: str) -> None:
    """Raise ValueError for a rule on which the parser would end the process instead of answering."""
    for rule in _TEXTS.sub("", text).split(";"):
        depth = deepest = 0
        for sign in rule:
            depth += _BRACKETS.get(sign, 0)
            deepest = max(deepest, depth)
        if deepest > _DEEPEST or len(rule) > _LONGEST:
            raise ValueError(f"a rule nests deeper than {_DEEPEST} or is longer than {_LONGEST} signs; make it two")
