"""Verdicts computed again from an export alone: recorded facts, kept policies and descriptions of tools.

The command line calls it; nothing is asked but the file. A file may be by anybody, so that all of it is checked.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from memory.errors import Permanent
from memory.evidence import export_lines, policy_history
from memory.evidence.export_lines import ExportedEntry, Line
from tools import judgement, tool_descriptions
from tools.action import Decision
from tools.policy import PolicySet
from tools.tool_descriptions import ToolDescriptions

_VERDICT_KINDS = ("permitted", "held", "read", "denied")
"""Kinds of entries that stand for a verdict."""
Verdict = Mapping[str, Any]
"""What is compared: verdict, code, need, groups and rules."""


@dataclass(frozen=True, slots=True)
class Difference:
    """An entry whose facts lead to another verdict than the one that it records."""

    run: str
    seq: int
    recorded: Verdict
    computed: Verdict


@dataclass(frozen=True, slots=True)
class Problem:
    """A place of the file that cannot be believed, or without which a verdict cannot be computed."""

    location: str
    message: str


@dataclass(slots=True)
class Rederivation:
    """What came of all verdicts of a file."""

    equal: int = 0
    different: list[Difference] = field(default_factory=list[Difference])
    forgotten: int = 0
    """Verdicts whose facts went when a person was forgotten."""
    without_facts: int = 0
    """Verdicts from before facts were recorded."""
    without_text: int = 0
    """Verdicts whose policies or descriptions of tools are not in the file, or cannot be read."""
    problems: list[Problem] = field(default_factory=list[Problem])

    @property
    def ok(self) -> bool:
        """Return whether nothing differs and nothing is missing that should be there."""
        return not (self.different or self.problems or self.without_text)


def rederive(path: Path, files: Mapping[str, str] | None = None) -> Rederivation:
    """Compute every verdict of an export again; with `files`, by these policies instead of those in force then.

    Raises Permanent("bad_request") for a file that is no whole export.
    """
    judge = _Judge(files)
    for line in export_lines.read(path):
        match line.kind:
            case "text":
                judge.keep(line)
            case "entry":
                judge.take(export_lines.entry_of(line))
            case _:
                pass
    return judge.close()


class _Judge:
    """The texts read so far, and what came of the verdicts."""

    def __init__(self, files: Mapping[str, str] | None) -> None:
        self._files = files
        self._texts: dict[str, str] = {}
        self._descriptions: dict[str, ToolDescriptions] = {}
        self._sets: dict[tuple[str, str], PolicySet | None] = {}
        self._gaps: dict[tuple[str, int], None] = {}
        self._result = Rederivation()

    def keep(self, line: Line) -> None:
        """Keep a text that has its hash."""
        try:
            hash, text = export_lines.text_of(line)
        except ValueError as error:
            self._report(f"line {line.number}", str(error))
        else:
            self._texts[hash] = text

    def take(self, entry: ExportedEntry) -> None:
        """Judge an entry again, if it stands for a verdict."""
        if entry.problem:
            self._report(_location(entry.run, entry.seq), entry.problem)
        elif entry.facts.get("kind") == "forgotten":
            self._agree(entry)
        elif _has_verdict(entry.facts):
            self._judge(entry)
        elif _is_old(entry.facts):
            self._result.without_facts += 1

    def close(self) -> Rederivation:
        """Return the result; words that nobody forgot were taken away."""
        for run, seq in self._gaps:
            self._report(_location(run, seq), "its words are gone, and nobody forgot them")
        return self._result

    def _agree(self, entry: ExportedEntry) -> None:
        numbers = entry.facts.get("entries")
        for number in cast(list[object], numbers) if isinstance(numbers, list) else []:
            address = (entry.run, number) if type(number) is int else None
            if address in self._gaps:
                del self._gaps[address]
                self._result.forgotten += 1

    def _judge(self, entry: ExportedEntry) -> None:
        if entry.has_lost_words:
            self._gaps[entry.run, entry.seq] = None
            return
        facts, words = entry.facts, entry.words or {}
        try:
            verdict_facts = judgement.facts_of(words.get("facts"))
            names = [_name(facts, field) for field in ("role", "tool", "policy", "cards", "schema")]
        except ValueError as error:
            self._report(_location(entry.run, entry.seq), str(error))
            return
        role, tool, policy, cards, schema = names
        policies = self._policies(policy, cards, _location(entry.run, entry.seq))
        if policies is None:
            self._result.without_text += 1
        elif not self._has_schema(cards, tool, schema):
            self._report(_location(entry.run, entry.seq), f"tool {tool!r} is described with another schema")
        else:
            self._compare(entry, _record_of(facts, words), _verdict_of(policies.decide(role, tool, verdict_facts)))

    def _compare(self, entry: ExportedEntry, record: Verdict, verdict: Verdict) -> None:
        # As texts: to Python `true`, `1` and `1.0` are the same.
        if json.dumps(record, sort_keys=True) == json.dumps(verdict, sort_keys=True):
            self._result.equal += 1
        else:
            self._result.different.append(Difference(entry.run, entry.seq, record, verdict))

    def _policies(self, policy: str, cards: str, location: str) -> PolicySet | None:
        """Return the set by which an entry was judged; None, and one problem for each set, if there is none."""
        address = ("" if self._files is not None else policy, cards)
        if address not in self._sets:
            try:
                self._sets[address] = self._build(policy, cards)
            except (ValueError, Permanent) as error:
                self._report(location, str(error))
                self._sets[address] = None
        return self._sets[address]

    def _build(self, policy: str, cards: str) -> PolicySet:
        files = self._files if self._files is not None else policy_history.files_of(self._text(policy, "policy"))
        descriptions = tool_descriptions.read(self._text(cards, "description of tools"))
        self._descriptions[cards] = descriptions
        return PolicySet(files, descriptions.tools, descriptions.accounting)

    def _text(self, hash: str, kind: str) -> str:
        if hash not in self._texts:
            raise ValueError(f"the {kind} {hash!r} that it names is not in the file")
        return self._texts[hash]

    def _has_schema(self, cards: str, tool: str, schema: str) -> bool:
        description = self._descriptions[cards].tools.get(tool)
        return description is not None and description.schema_hash == schema

    def _report(self, location: str, message: str) -> None:
        self._result.problems.append(Problem(location, message))


def _has_verdict(facts: Mapping[str, Any]) -> bool:
    return facts.get("kind") in _VERDICT_KINDS and "verdict" in facts


def _is_old(facts: Mapping[str, Any]) -> bool:
    """Return whether an entry is a verdict from before facts were recorded, and no other refusal or question."""
    kind = facts.get("kind")
    return kind in ("permitted", "read") or (kind in _VERDICT_KINDS and bool(facts.get("policy")))


def _name(facts: Mapping[str, Any], field: str) -> str:
    value = facts.get(field)
    if not isinstance(value, str):
        raise ValueError(f"its {field} is no text")
    return value


def _record_of(facts: Mapping[str, Any], words: Mapping[str, Any]) -> Verdict:
    need = words.get("need_alone", facts.get("need"))
    return _verdict(facts.get("verdict"), facts.get("code"), need, facts.get("groups"), facts.get("rules"))


def _verdict_of(decision: Decision) -> Verdict:
    groups, rules = sorted(decision.groups), list(decision.rules)
    return _verdict(decision.verdict, decision.code, decision.need, groups, rules)


def _verdict(verdict: object, code: object, need: object, groups: object, rules: object) -> Verdict:
    fields = {"verdict": verdict, "code": code, "need": need, "groups": groups, "rules": rules}
    return {name: _flat(value) for name, value in fields.items()}


def _flat(value: object) -> object:
    """Return a field of a verdict as it can be compared and printed, whatever somebody nests in it."""
    if isinstance(value, list) and all(isinstance(item, str) for item in cast(list[object], value)):
        # The order of rules is that of the files, which is no part of a verdict.
        return sorted(cast(list[str], value))
    if isinstance(value, str | int | None):
        return value
    return f"a {type(cast(object, value)).__name__} of another form"


def _location(run: str, seq: int) -> str:
    return f"run {run!r}, entry {seq}"
