"""Front matter as people's editors save it, and what nobody should have to guess."""

import pytest

from memory.errors import Permanent
from memory.knowledge import frontmatter

TEXT = "---\nid: a\nsteps:\n  - {tool: x}\n---\nbody\n"


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        "\ufeff" + TEXT,
        TEXT.replace("\n", "\r\n"),
        "\ufeff" + TEXT.replace("\n", "\r\n"),
        TEXT.replace("---\n", "--- \t\n"),
    ],
)
def test_a_byte_order_mark_other_ends_of_lines_and_space_after_a_fence_do_not_count(text: str) -> None:
    assert frontmatter.split(text) == ({"id": "a", "steps": [{"tool": "x"}]}, "body\n")


@pytest.mark.parametrize(
    ("head", "name", "line"),
    [
        ("id: a\nid: b", "id", 3),
        ("a:\n  b: 1\n  c: 2\n  b: 3", "b", 5),
        ("steps:\n  - tool: x\n    args: {}\n    tool: y", "tool", 5),
        ("1: a\n1: b", "1", 3),
        ("yes: a\ntrue: b", "true", 3),
        ("1: a\n0x1: b", "0x1", 3),
        ("a: 1\n'a': 2", "a", 3),
        ("a: {b: 1, c: {d: 2, d: 3}}", "d", 2),
        ("a:\n  - [{b: 1,\n    b: 2}]", "b", 4),
        ("a: 1\n\n# again\na: 2", "a", 5),
    ],
)
def test_a_name_that_stands_twice_is_refused_with_its_line(head: str, name: str, line: int) -> None:
    """The later one would count in silence, whichever the author meant."""
    with pytest.raises(Permanent, match=f"names '{name}' a second time, in line {line}"):
        frontmatter.split(f"---\n{head}\n---\n")


def test_a_line_that_merges_is_refused_since_it_could_bring_a_name_twice() -> None:
    with pytest.raises(Permanent, match="merges with `<<` in line 4"):
        frontmatter.split("---\na:\n  b: 1\n  <<: {b: 2}\n---\n")


def test_a_text_that_only_looks_like_a_merge_is_a_name() -> None:
    assert frontmatter.split('---\n"<<": 1\n---\n')[0] == {"<<": 1}
