"""Runs and threads as typed values, made from their rows in one place; called by `records` and `endings`."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, cast, get_args

from memory.postgres.codes import member

OpenStatus = Literal["queued", "running", "waiting"]
EndStatus = Literal["done", "failed", "denied", "stopped", "cancelled"]
"""How an attempt of a run ends; only a stopped run can be resumed."""
RunStatus = Literal[OpenStatus, EndStatus]

END_STATUSES: tuple[EndStatus, ...] = get_args(EndStatus)
_OPEN_STATUSES: tuple[OpenStatus, ...] = get_args(OpenStatus)
RUN_STATUSES: tuple[RunStatus, ...] = (*_OPEN_STATUSES, *END_STATUSES)

COLUMNS = """id, thread, flow, requester, status, reason, message, input, answers, correlation, plan, plan_hash,
  waits_for, attempt, fence, worker, cancel, seq, limit_tokens, spent_tokens, reserved_tokens, limit_micros,
  spent_micros, reserved_micros, limit_calls, spent_calls, reserved_calls, spent_millis, created, ended"""
"""The columns that `run_of` reads."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Use of one budget, in its own unit."""

    limit: int
    spent: int
    reserved: int
    """Taken by calls that are under way."""


@dataclass(frozen=True, slots=True)
class Run:
    """Everything recorded of one run."""

    id: str
    thread: str
    flow: str
    requester: str
    status: RunStatus
    reason: str | None
    """A code if the run ended otherwise than well."""
    message: str
    input: Mapping[str, Any]
    """The request, as the API wrote it; the flow starts from it."""
    answers: tuple[str, ...]
    """The requester's answers to this run's questions, in their order."""
    correlation: str
    plan: Mapping[str, Any] | None
    plan_hash: str | None
    waits_for: str | None
    """The id of an approval, or `clarify`."""
    attempt: int
    fence: int
    worker: int | None
    cancel: str | None
    """Why the run should stop before its next call; None unless somebody said so."""
    seq: int
    """Number of the run's last journal entry."""
    tokens: Usage
    micros: Usage
    """Cost of operation, in millionths of the currency's unit."""
    calls: Usage
    spent_millis: int
    created_at: datetime
    ended_at: datetime | None

    @property
    def request(self) -> str:
        """Return what was asked, in the requester's words."""
        return str(self.input.get("request") or "")

    @property
    def is_tool_call(self) -> bool:
        """Return whether a person called one tool by hand."""
        return self.input.get("tool_call") is True

    @property
    def has_ended(self) -> bool:
        """Return whether nobody works on this run any more."""
        return self.status in END_STATUSES


@dataclass(frozen=True, slots=True)
class ThreadState:
    """The newest run of a thread."""

    run: str
    owner: str
    """The person whose first message opened the thread."""
    status: RunStatus
    waits_for: str | None
    seq: int

    @property
    def is_open(self) -> bool:
        """Return whether the run has not ended."""
        return self.status in _OPEN_STATUSES


def run_of(row: Mapping[str, Any]) -> Run:
    """Return a row of `COLUMNS` as a run; raises Permanent("internal") for a status that is not listed."""
    names = (
        "id",
        "thread",
        "flow",
        "requester",
        "reason",
        "message",
        "input",
        "correlation",
        "plan",
        "plan_hash",
        "waits_for",
    )
    numbers = ("attempt", "fence", "worker", "cancel", "seq", "spent_millis")
    return Run(
        **{name: row[name] for name in (*names, *numbers)},
        status=member(RUN_STATUSES, row["status"], "runs"),
        answers=tuple(cast(list[str], row["answers"])),
        tokens=_usage(row, "tokens"),
        micros=_usage(row, "micros"),
        calls=_usage(row, "calls"),
        created_at=row["created"],
        ended_at=row["ended"],
    )


def thread_state_of(row: Mapping[str, Any]) -> ThreadState:
    """Return the row of a thread's newest run as the thread's state."""
    status = member(RUN_STATUSES, row["status"], "runs")
    return ThreadState(row["id"], row["requester"], status, row["waits_for"], row["seq"])


def _usage(row: Mapping[str, Any], unit: str) -> Usage:
    return Usage(limit=row[f"limit_{unit}"], spent=row[f"spent_{unit}"], reserved=row[f"reserved_{unit}"])
