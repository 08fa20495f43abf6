"""Drawing of the flow: equal to the code."""

from tests.contracts import diagrams

ROLES = ("planner", "researcher", "gate", "executor", "auditor")


def test_the_drawing_is_up_to_date() -> None:
    assert diagrams.PAGE.read_text() == diagrams.page(), "run: python -m tests.contracts.diagrams"


def test_the_drawing_shows_every_role() -> None:
    """R4: the roles are the nodes of the graph."""
    lines = diagrams.page().splitlines()
    assert [role for role in ROLES if not any(line.startswith(f"  {role}[") for line in lines)] == []


def test_every_line_of_the_drawing_says_when_it_is_taken() -> None:
    assert set(diagrams.edges()) == set(diagrams.EDGES)
