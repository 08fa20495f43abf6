"""History of the policy set in force, from the journal alone: which one, since when, and who put it in force."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from memory.errors import Permanent
from memory.evidence import export_lines, texts
from memory.evidence.export_lines import ExportedEntry
from memory.postgres.database import Database
from memory.scope import Access


@dataclass(frozen=True, slots=True)
class PolicyChange:
    """One change of the policy set in force."""

    seq: int
    """Number of its entry in the chain of administration."""
    at: datetime
    policy: str
    """Hash of the set."""
    by: str


@dataclass(frozen=True, slots=True)
class PolicyInForce:
    """The set in force at a moment."""

    change: PolicyChange
    files: Mapping[str, str] | None
    """Its files by name; None if it came before texts were kept."""

    def as_json(self) -> dict[str, Any]:
        """Return it as people and programs get it."""
        change = self.change
        return {
            "policy": change.policy,
            "since": change.at.isoformat(),
            "by": change.by,
            "entry": change.seq,
            "files": None if self.files is None else dict(self.files),
        }


def chain_of(tenant: str) -> str:
    """Return the name of the chain in which acts of administration stand."""
    return f"authority-{tenant}"


def change_of(seq: int, facts: Mapping[str, Any]) -> PolicyChange:
    """Return the change that an entry of kind `policy` records; raises ValueError for one in another form."""
    time, policy, person = (facts.get(name) for name in ("at", "policy", "by"))
    if not (isinstance(time, str) and isinstance(policy, str) and isinstance(person, str)):
        raise ValueError("it does not say when, which set and by whom")
    at = datetime.fromisoformat(time)
    if at.tzinfo is None:
        raise ValueError("its time names no zone")
    return PolicyChange(seq, at, policy, person)


def in_force(changes: Iterable[PolicyChange], at: datetime | None = None) -> PolicyChange | None:
    """Return the change by which the set in force at a moment came, by default the latest; None before the first."""
    earlier = [change for change in changes if at is None or change.at <= at]
    return max(earlier, key=lambda change: change.seq, default=None)


async def changes(database: Database, access: Access) -> list[PolicyChange]:
    """Return every change on record; raises Permanent("journal_broken") if one was written by somebody else."""
    query = "select seq, body from journal where run = %s and kind = 'policy' order by seq"
    rows = await database.rows(access, query, chain_of(access.principal.tenant))
    try:
        return [change_of(row["seq"], json.loads(row["body"])) for row in rows]
    except ValueError as error:
        raise Permanent("journal_broken", f"an entry of kind policy is not as we write it: {error}") from None


async def find(database: Database, access: Access, at: datetime | None) -> PolicyInForce:
    """Return the set in force at a moment, by default now; raises Permanent("not_found") before the first."""
    change = _demand(in_force(await changes(database, access), at))
    text = await texts.read(database, access, "policy", change.policy)
    return PolicyInForce(change, None if text is None else files_of(text))


def find_in(path: Path, at: datetime | None) -> PolicyInForce:
    """Return the set in force at a moment as an export says.

    Raises Permanent("bad_request") for a file that is no export, "journal_broken" for an entry or a text that was
    changed, "not_found" before the first set.
    """
    policies: dict[str, str] = {}
    records: list[PolicyChange] = []
    chain = ""
    for line in export_lines.read(path):
        try:
            if line.kind == "export":
                chain = chain_of(export_lines.text_in(line, "tenant"))
            elif line.kind == "text":
                hash, text = export_lines.text_of(line)
                policies[hash] = text
            elif line.kind == "entry" and line.fields.get("run") == chain:
                records += _change_in(export_lines.entry_of(line))
        except ValueError as error:
            raise Permanent("journal_broken", f"line {line.number} of the export: {error}") from None
    change = _demand(in_force(records, at))
    text = policies.get(change.policy)
    return PolicyInForce(change, None if text is None else files_of(text))


def files_of(text: str) -> Mapping[str, str]:
    """Return the files of a kept set of policies by name; raises ValueError for a text that is none."""
    files = export_lines.value_of(text)
    if not isinstance(files, dict) or not all(
        isinstance(file, str) for file in cast(dict[str, object], files).values()
    ):
        raise ValueError("a text of kind policy holds no files")
    return cast(Mapping[str, str], files)


def _change_in(entry: ExportedEntry) -> list[PolicyChange]:
    if entry.problem:
        raise ValueError(f"entry {entry.seq}: {entry.problem}")
    return [change_of(entry.seq, entry.facts)] if entry.facts.get("kind") == "policy" else []


def _demand(change: PolicyChange | None) -> PolicyChange:
    if change is None:
        raise Permanent("not_found", "no policy was in force then, as far as this journal goes")
    return change
