"""Page of faults: `python -m tests.scenarios.faults.page` writes `docs/faults.md` from what the tests run."""

from collections.abc import Sequence

from tests.contracts.measures import ROOT
from tests.scenarios.faults.table import AFTER_THE_CALL, AFTER_THE_VOTES, BEFORE_THE_CALL, BEFORE_THE_VOTES, Fault

PAGE = ROOT / "docs" / "faults.md"
_BEGINNING = """# Faults

What a run says when something breaks. Written from [the table](../tests/scenarios/faults/table.py) whose tests inject
each fault into a database of their own. Nothing here ends as `internal`; the [codes](codes.md) say what to do next.

- `stopped` runs go on with `runs resume` once the reason is gone; `failed`, `denied` and `cancelled` ones start anew.
- `queued`: not even its end can be recorded. The run is put back and tried again every ten seconds.
- `unavailable`, `database_full`, `database_read_only`: the worker begins anew after some seconds, again and again, and
  goes on with its runs; a disk that is full, or a database that is read-only, needs nobody but to be mended.

Queued requests that were edited in the table end as `failed`, `plan_invalid`; pulled switches as `stopped`, `killed`;
rules that cannot be read keep a process from starting. Those, and faults of services and budgets, are
[tests beside the table](../tests/scenarios/faults).
"""


def page() -> str:
    """Return the page as it should be."""
    return "\n".join(
        [
            _BEGINNING,
            *_section("Before the call: 0 effects", BEFORE_THE_CALL),
            *_section("While people are asked: 0 effects", BEFORE_THE_VOTES),
            *_section("Between the votes and the claim: 0 effects", AFTER_THE_VOTES),
            *_section("After the call: 1 effect, not repeated", AFTER_THE_CALL),
        ]
    )


def _section(title: str, faults: Sequence[Fault]) -> list[str]:
    rows = [f"| {fault.name} | {fault.status} | {f'`{fault.reason}`' if fault.reason else ''} |" for fault in faults]
    return [f"## {title}", "| fault | run | code |", "|---|---|---|", *rows, ""]


if __name__ == "__main__":
    PAGE.write_text(page())
