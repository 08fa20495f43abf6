"""SVG drawing of a compiled LangGraph graph, made without network or other programs; shown by notebooks and documents.

Nodes stand in rows by their distance from the start; edges to a node above it, or beside it, are drawn dashed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

_WIDTH, _HEIGHT = 132, 34
_COLUMN, _ROW, _MARGIN = 176, 78, 24
_STYLE = (
    "rect{fill:#f5f7fa;stroke:#5b6b7f}text{font:13px sans-serif;fill:#1f2a37;text-anchor:middle}"
    "path{fill:none;stroke:#5b6b7f}path.back{stroke-dasharray:4 3;stroke:#9aa7b5}"
)
_ARROW = (
    '<marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path d="M0 0L8 4L0 8z" style="fill:#5b6b7f"/></marker>'
)
_Point = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Drawing:
    """A picture as SVG text; a notebook shows it as a picture."""

    svg: str

    def _repr_svg_(self) -> str:
        return self.svg


def draw(graph: Any) -> Drawing:
    """Return the drawing of a compiled graph."""
    shape = graph.get_graph()
    return Drawing(svg(list(shape.nodes), [(edge.source, edge.target) for edge in shape.edges]))


def svg(nodes: list[str], edges: list[tuple[str, str]]) -> str:
    """Return the SVG text of a graph; the first node is the start."""
    ranks = _ranks(nodes, edges)
    rows: dict[int, list[str]] = {}
    for node in nodes:
        rows.setdefault(ranks[node], []).append(node)
    columns = max(map(len, rows.values()))
    centres = {
        node: (_MARGIN + _COLUMN * columns // 2 + (2 * index - len(row) + 1) * _COLUMN // 2, _MARGIN + rank * _ROW + 17)
        for rank, row in rows.items()
        for index, node in enumerate(row)
    }
    width, height = 2 * _MARGIN + _COLUMN * columns, 2 * _MARGIN + _ROW * max(rows) + _HEIGHT
    body = "".join([*_edges(edges, ranks, centres), *_boxes(centres)])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
        f"<style>{_STYLE}</style>{_ARROW}{body}</svg>"
    )


def _ranks(nodes: list[str], edges: list[tuple[str, str]]) -> dict[str, int]:
    """Return the row of each node: its distance from the start; the end stands below all others."""
    ranks = {nodes[0]: 0}
    frontier = [nodes[0]]
    while frontier:
        after = [target for source, target in edges if source in frontier and target not in ranks]
        for target in after:
            ranks[target] = ranks[frontier[0]] + 1
        frontier = list(dict.fromkeys(after))
    lowest = max(ranks.values())
    return {node: lowest + 1 if node == "__end__" else ranks.get(node, lowest) for node in nodes}


def _boxes(centres: Mapping[str, _Point]) -> Iterable[str]:
    for node, (x, y) in centres.items():
        name = escape(node.strip("_"))
        corner = f'x="{x - _WIDTH // 2}" y="{y - _HEIGHT // 2}"'
        yield f'<rect {corner} width="{_WIDTH}" height="{_HEIGHT}" rx="6"/><text x="{x}" y="{y + 4}">{name}</text>'


def _edges(edges: list[tuple[str, str]], ranks: Mapping[str, int], centres: Mapping[str, _Point]) -> Iterable[str]:
    for source, target in edges:
        if source != target:
            yield _edge(centres[source], centres[target], is_back=ranks[target] <= ranks[source])


def _edge(source: _Point, target: _Point, *, is_back: bool) -> str:
    (x, y), (to_x, to_y) = source, target
    half = _HEIGHT // 2
    if y == to_y:
        side = 1 if to_x > x else -1
        start, end = x + side * _WIDTH // 2, to_x - side * _WIDTH // 2
        return f'<path class="back" marker-end="url(#arrow)" d="M{start} {y}L{end} {to_y}"/>'
    y, to_y = (y - half, to_y + half) if is_back else (y + half, to_y - half)
    bend = (y + to_y) // 2
    kind = ' class="back"' if is_back else ""
    return f'<path{kind} marker-end="url(#arrow)" d="M{x} {y}C{x} {bend} {to_x} {bend} {to_x} {to_y}"/>'
