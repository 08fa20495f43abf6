"""Judgements: what a verdict of policy rested on, as entries record it and as it is read back to judge again."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, cast

from tools.action import Decision, Json
from tools.admission import AdmittedAction, schema_hash
from tools.policy import Facts

_FIELDS: Mapping[str, type[object]] = {field.name: type(cast(object, field.default)) for field in fields(Facts)}


def record(admission: AdmittedAction, decision: Decision) -> dict[str, Json]:
    """Return a verdict as it stands in an entry: what it is, and all that policy looked at."""
    facts = admission.facts
    return {
        "role": admission.action.role,
        "tool": admission.tool.name,
        "verdict": decision.verdict,
        "code": decision.code,
        "need": decision.need,
        "groups": sorted(decision.groups),
        "rules": list(decision.rules),
        "policy": decision.policy,
        "cards": decision.cards,
        "schema": schema_hash(admission.tool),
        "facts": {name: _as_json(getattr(facts, name)) for name in _FIELDS},
    }


def facts_of(value: object) -> Facts:
    """Return the facts of an entry; raises ValueError for what this release would not have recorded."""
    if not isinstance(value, Mapping):
        raise ValueError("facts are no object")
    facts = dict(cast(Mapping[str, Any], value))
    if facts.keys() != _FIELDS.keys():
        raise ValueError("facts are not those of this release")
    if isinstance(facts["facts"], list):
        facts["facts"] = tuple(cast(list[object], facts["facts"]))
    if any(type(facts[name]) is not kind for name, kind in _FIELDS.items()):
        raise ValueError("a fact is of another type")
    if not all(isinstance(fact, str) for fact in facts["facts"]):
        raise ValueError("what the tool says further is no list of texts")
    return Facts(**facts)


def _as_json(value: Any) -> Json:
    return list(cast(tuple[str, ...], value)) if isinstance(value, tuple) else value
