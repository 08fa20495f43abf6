"""A finished run as tests need one, without a database."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from memory.runs.models import Run, Usage

BEGIN = datetime(2026, 1, 5, 9, tzinfo=UTC)


def run_with(**changes: Any) -> Run:
    """Return run `r-1`, which asked for nothing and used nothing, with these fields instead."""
    usage = Usage(limit=100, spent=0, reserved=0)
    run = Run(
        id="r-1",
        thread="t-1",
        flow="governed",
        requester="alice",
        status="running",
        reason=None,
        message="",
        input={},
        answers=(),
        correlation="c-1",
        plan=None,
        plan_hash=None,
        waits_for=None,
        attempt=1,
        fence=1,
        worker=1,
        cancel=None,
        seq=1,
        tokens=usage,
        micros=usage,
        calls=usage,
        spent_millis=0,
        created_at=BEGIN,
        ended_at=None,
    )
    return replace(run, **changes)
