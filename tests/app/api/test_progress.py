from typing import Any

from app.api.progress import Pace


def outcome(batch: int, second: int, **result: int) -> dict[str, Any]:
    report = {"step": "refund", "batch": batch, "of": 100, "done": batch * 500, "total": 50_000}
    body = {"kind": "outcome", "at": f"2026-01-05T09:00:{second:02}.000000Z", "progress": report}
    return {**body, "outcome": {"result": result}}


def test_time_left_follows_from_the_batches_seen() -> None:
    pace = Pace()
    pace.note(outcome(1, 0, refunded=500))
    report = pace.note(outcome(37, 18, refunded=500, replayed=1)) or {}
    assert report["seconds_left"] == 31.5
    assert report["text"] == "batch 37/100, 18,500 refunded, about 32 s left"


def test_one_batch_alone_promises_nothing() -> None:
    report = Pace().note(outcome(1, 0)) or {}
    assert (report["seconds_left"], report["text"]) == (None, "batch 1/100, 500 done")


def test_the_last_batch_leaves_nothing_to_wait_for() -> None:
    pace = Pace()
    pace.note(outcome(99, 0))
    assert (pace.note(outcome(100, 1)) or {})["text"] == "batch 100/100, 50,000 done"


def test_an_outcome_without_batches_is_no_progress() -> None:
    assert Pace().note({"kind": "outcome", "at": "2026-01-05T09:00:00Z"}) is None
