"""Figures of the machinery: `docs/figures.json`, and the table of `docs/figures.md` made of it, by `make bench`."""

import json
import os
import platform
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

Figures = dict[str, Mapping[str, float]]

_DOCS = Path(__file__).parents[2] / "docs"
DATA, PAGE = _DOCS / "figures.json", _DOCS / "figures.md"
_BEGIN, _END = "<!-- written by `make bench` -->\n", "<!-- until here -->\n"
ROWS = (
    ("statements per governed write", "actions", "statements", "", "2: claim and settle"),
    ("statements per governed run", "runs", "statements", "", "one read, one write, start to end"),
    ("governed write, 1 lane, p50", "actions", "p50_1", "ms", ""),
    ("governed write, 1 lane, p99", "actions", "p99_1", "ms", ""),
    ("governed write, 8 lanes, p50", "actions", "p50_8", "ms", "on 8 runs"),
    ("governed write, 8 lanes, p99", "actions", "p99_8", "ms", ""),
    ("journal per governed run", "runs", "journal_bytes", "bytes", ""),
    ("decided in one process, claimed in another, p50", "waking", "p50", "ms", "20 ms"),
    ("decided in one process, claimed in another, max", "waking", "max", "ms", ""),
    ("worker killed, run goes on elsewhere, p50", "recovery", "p50", "s", "1 s"),
    ("our saver, 1 lane", "savers", "own_1", "runs/s", ""),
    ("stock saver, 1 lane", "savers", "stock_1", "runs/s", ""),
    ("our saver, 8 lanes", "savers", "own_8", "runs/s", ""),
    ("stock saver, 8 lanes", "savers", "stock_8", "runs/s", ""),
    ("our saver : stock saver, 1 lane", "savers", "ratio_1", "x", ""),
    ("our saver : stock saver, 8 lanes", "savers", "ratio_8", "x", "2"),
    ("governed run, 1 lane", "runs", "governed_1", "runs/s", "with request, journal and ending"),
    ("bare run with stock saver, 1 lane", "runs", "bare_1", "runs/s", "none of that"),
    ("governed run, 8 lanes", "runs", "governed_8", "runs/s", ""),
    ("bare run with stock saver, 8 lanes", "runs", "bare_8", "runs/s", ""),
    ("governed : bare, 1 lane", "runs", "ratio_1", "x", "0.8"),
    ("governed : bare, 8 lanes", "runs", "ratio_8", "x", "1.2"),
    ("memories in all", "memories", "rows", "", "--rows"),
    ("search among 10,000 of a scope, p50", "memories", "big_p50", "ms", ""),
    ("search among 10,000 of a scope, p95", "memories", "big_p95", "ms", ""),
    ("the same : nearest by vector in a plain table", "memories", "big_ratio", "x", ""),
    ("search among 1,000 of a scope, p50", "memories", "small_p50", "ms", ""),
    ("search among 1,000 of a scope, p95", "memories", "small_p95", "ms", ""),
    ("the same : nearest by vector in a plain table", "memories", "small_ratio", "x", ""),
    ("notes written to a scope of 10,000", "memories", "insert", "/s", "with words, marks and a look for copies"),
    ("plain rows with the same vectors : that", "memories", "insert_ratio", "x", ""),
    ("preview of pruning 10,000", "memories", "preview", "ms", "1,500 ms"),
    ("pruning 8,000 of 10,000", "memories", "prune", "ms", "archived and recorded"),
    ("the same : deleting as many plain rows", "memories", "prune_ratio", "x", ""),
    ("finding crowded scopes among all", "memories", "crowded", "ms", ""),
)
"""Title, section, figure, unit, and a value to compare with."""


def machine() -> dict[str, Any]:
    """Return day, versions, cores and load of the machine that measures."""
    load = round(os.getloadavg()[0], 1)
    return {
        "day": f"{datetime.now(UTC):%F}",
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "load": load,
    }


def lines(figures: Figures) -> Iterator[tuple[str, str, str]]:
    """Yield title, value and remark of every figure; a ratio with the least and the most of its rounds."""
    for title, section, name, unit, remark in ROWS:
        values = figures[section]
        value = f"{_rounded(values[name])} {unit}".strip()
        if least := values.get(f"{name}_least"):
            value += f" ({_rounded(least)} to {_rounded(values[f'{name}_most'])})"
        yield title, value, remark


def write(figures: Figures, circumstances: Mapping[str, Any]) -> None:
    """Keep the figures with their circumstances, and put them into the page."""
    rounded = {
        section: {name: float(f"{value:.4g}") for name, value in values.items()} for section, values in figures.items()
    }
    DATA.write_text(json.dumps({"machine": circumstances, **rounded}, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    """Return the page with the table of the figures that are kept; the rest of it as it is."""
    data = json.loads(DATA.read_text(encoding="utf-8"))
    circumstances = ", ".join(f"{name} {value}" for name, value in data.pop("machine").items())
    table = [f"Measured: {circumstances}.", "", "| figure | here | aim or remark |", "|---|---|---|"]
    table += [f"| {title} | {value} | {remark} |" for title, value, remark in lines(data)]
    head, _, rest = PAGE.read_text(encoding="utf-8").partition(_BEGIN)
    _, _, tail = rest.partition(_END)
    return head + _BEGIN + "\n".join(table) + "\n" + _END + tail


def _rounded(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
