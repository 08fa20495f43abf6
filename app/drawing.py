"""SVG drawing of a compiled LangGraph graph, made without network or other programs; shown by notebooks and documents.

Nodes stand below each other in the order in which the flow adds them. An edge to the next node is a straight line, one
that goes further down an arc on the right, one that leads back up a dashed arc on the left.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from typing import Any

_WIDTH, _HEIGHT, _ROW, _MARGIN, _ARC = 132, 34, 62, 20, 26
_STYLE = (
    "rect{fill:#f5f7fa;stroke:#5b6b7f}text{font:13px sans-serif;fill:#1f2a37;text-anchor:middle}"
    "path{fill:none;stroke:#5b6b7f}path.back{stroke-dasharray:4 3;stroke:#8795a5}"
)
_ARROW = (
    '<marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path d="M0 0L8 4L0 8z" style="fill:#5b6b7f"/></marker>'
)
_START, _END = "__start__", "__end__"


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
    """Return the SVG text of a graph of named nodes; start and end, if they are there, come first and last."""
    ends = [node for node in (_START, _END) if node in nodes]
    order = [*ends[:1], *(node for node in nodes if node not in ends), *ends[1:]]
    rows = {node: row for row, node in enumerate(order)}
    reach = max((abs(rows[target] - rows[source]) for source, target in edges), default=0)
    width, height = 2 * (_MARGIN + reach * _ARC) + _WIDTH, 2 * _MARGIN + _ROW * (len(order) - 1) + _HEIGHT
    pairs = sorted({(rows[source], rows[target]) for source, target in edges if source != target})
    arcs = (_edge(source, target, width // 2) for source, target in pairs)
    body = "".join([*arcs, *_boxes(order, width // 2)])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
        f"<style>{_STYLE}</style>{_ARROW}{body}</svg>"
    )


def _boxes(order: list[str], x: int) -> Iterable[str]:
    for row, node in enumerate(order):
        y = _MARGIN + row * _ROW
        box = f'<rect x="{x - _WIDTH // 2}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" rx="6"/>'
        yield f'{box}<text x="{x}" y="{y + _HEIGHT // 2 + 4}">{escape(node.strip("_"))}</text>'


def _edge(source: int, target: int, x: int) -> str:
    if target == source + 1:
        start = _MARGIN + source * _ROW + _HEIGHT
        return f'<path marker-end="url(#arrow)" d="M{x} {start}V{start + _ROW - _HEIGHT}"/>'
    # Arcs leave the lower half of a box and arrive at the upper half, so that the two are told apart.
    start, end = _MARGIN + source * _ROW + _HEIGHT * 2 // 3, _MARGIN + target * _ROW + _HEIGHT // 3
    side, kind = (1, "") if target > source else (-1, ' class="back"')
    edge = x + side * _WIDTH // 2
    peak = edge + side * abs(target - source) * _ARC * 4 // 3
    return f'<path{kind} marker-end="url(#arrow)" d="M{edge} {start}C{peak} {start} {peak} {end} {edge} {end}"/>'
