"""Figures page: its table says what was measured, and nothing else."""

import json

from tests.bench import figures


def test_the_table_is_made_of_the_figures_that_are_kept() -> None:
    assert figures.PAGE.read_text(encoding="utf-8") == figures.page(), "run: make bench"


def test_every_figure_stands_with_day_and_load() -> None:
    data = json.loads(figures.DATA.read_text(encoding="utf-8"))
    assert {"day", "python", "cores", "load"} <= data["machine"].keys()
    assert len(list(figures.lines(data))) == len(figures.ROWS)
