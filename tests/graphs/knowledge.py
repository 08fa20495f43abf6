"""Knowledge on a shelf: texts with fixed likenesses, and the turns of a planner over them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

from graphs.execution.capabilities import RecallMemories
from graphs.nodes.planner import make_planner
from graphs.planning.drafting import make_drafter
from graphs.planning.plan import Plan
from graphs.state import State
from memory.errors import Permanent
from tests.fakes.model import CountingMeter, ScriptedModel
from tests.graphs.cards import CARDS
from tests.graphs.texts import DOUBLE, REFUND, TABLE
from tests.tools.test_model import LEASE
from tools.action import Json, digest
from tools.model import Model

SLICE: dict[str, Json] = {"handle": "h_secret00", "start": 0, "count": 3, "digest": "0" * 64, "total": 30}
TWICE: dict[str, Json] = {"count": 3, "sum": 30, "found": SLICE, "first": "ch_1a2b3c4d5e6f", "names": ["Ann Lee"]}
NO_ROWS: dict[str, Json] = {"count": 0, "sum": 0, "found": SLICE | {"count": 0}}


@dataclass(frozen=True)
class Item:
    id: str
    version: int
    body: str
    score: float = 0.0


@dataclass
class Shelf:
    """Knowledge with fixed likenesses, newest version of each text."""

    scores: Mapping[str, float]
    texts: dict[str, Item] = field(default_factory=dict[str, Item])

    async def find(self, text: str) -> Sequence[Item]:
        hits = [Item(id, item.version, item.body, self.scores.get(id, 0)) for id, item in self.texts.items()]
        return sorted(hits, key=lambda item: -item.score)

    async def current(self, id: str) -> Item:
        if id not in self.texts:
            raise Permanent("not_found", f"nothing is known as {id!r}")
        return self.texts[id]

    def put(self, id: str, version: int, text: str) -> None:
        self.texts[id] = Item(id, version, text)


def shelf(double: float = 0.6, refund: float = 0.0, table: float = 0.0) -> Shelf:
    books = Shelf({"shop.double-charge": double, "shop.single-refund": refund, "db.table-full": table})
    books.put("shop.double-charge", 1, DOUBLE)
    books.put("shop.single-refund", 4, REFUND)
    books.put("db.table-full", 2, TABLE)
    return books


async def turn(
    books: Shelf, state: dict[str, Any], model: ScriptedModel | None = None, recall: RecallMemories | None = None
) -> dict[str, Any]:
    """Let the planner answer, and return the state after it."""
    ask = partial(Model(model, CountingMeter()).ask, LEASE, "planner") if model else None
    draft = make_drafter(ask, CARDS) if ask else None
    planner = make_planner(books.find, books.current, CARDS, draft=draft, recall=recall)
    address = {"plan_hash": digest(state["plan"])} if state.get("plan") else {}
    proposal = await planner(cast(State, state | address))
    plan = proposal.get("plan")
    return state | proposal | {"plan": plan.model_dump(mode="json") if plan else None}


async def probe_results(
    books: Shelf, request: str, results: Sequence[Mapping[str, Json]], **values: Any
) -> dict[str, Any]:
    """Return the state after the investigation, with what its probes saw."""
    state = await turn(books, {"request": request, "inputs": {}, **values})
    steps = Plan.model_validate(state["plan"]).steps
    return state | {"results": {step.id: result for step, result in zip(steps, results, strict=True)}}


async def made_plan() -> dict[str, Any]:
    books = shelf()
    return (await turn(books, await probe_results(books, "billed twice", [TWICE])))["plan"]
