"""Large results by handle: kept once, checked on every use, cut and split inside the database."""

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from typing import Any, cast
from uuid import uuid4

import pytest

from memory.errors import Permanent
from memory.postgres.database import Database
from memory.runs.results import ResultSlice, RunRows
from memory.scope import Access, Principal

pytestmark = pytest.mark.anyio
Steps = Callable[[str], RunRows]


async def rows(count: int, first: int = 0) -> AsyncIterator[Mapping[str, Any]]:
    """Yield charges; every third is disputed, every second closed."""
    for n in range(first, first + count):
        yield {
            "charge": f"ch_{n:06}",
            "amount": 100 + n,
            "disputed": n % 3 == 0,
            "account": "closed" if n % 2 else "open",
        }


async def read_all(reader: RunRows, part: ResultSlice) -> list[Any]:
    return [row async for row in reader.read(part)]


@pytest.fixture
def steps(database: Database, alice: Principal) -> Steps:
    run = str(uuid4())
    return lambda step: RunRows(database, Access.of(alice), run, step)


async def test_rows_come_back_in_order_and_unchanged(steps: Steps) -> None:
    charges = await steps("found").keep("all", rows(12))
    assert (charges["count"], charges["total"]) == (12, sum(range(100, 112)))
    assert await read_all(steps("later"), charges) == [row async for row in rows(12)]


async def test_digest_is_that_of_the_canonical_rows(steps: Steps) -> None:
    charges = await steps("found").keep("all", rows(3))
    lines = [json.dumps(row, sort_keys=True, separators=(",", ":")) async for row in rows(3)]
    assert charges["digest"] == hashlib.sha256("\n".join(lines).encode()).hexdigest()


async def test_first_writer_wins_when_a_read_is_repeated(steps: Steps) -> None:
    """R71: a repeated read after a crash gives the recorded rows, not newer ones."""
    first = await steps("found").keep("all", rows(5))
    assert await steps("found").keep("all", rows(9, first=100)) == first


async def test_concurrent_writers_agree_on_one_result(steps: Steps) -> None:
    slices = await asyncio.gather(*(steps("found").keep("all", rows(50, first=n)) for n in range(4)))
    assert all(part == slices[0] for part in slices)


async def test_hostile_text_survives_and_nothing_is_interpreted(steps: Steps) -> None:
    async def hostile() -> AsyncIterator[Mapping[str, Any]]:
        yield {"text": "\\x41 %s {} '; drop table results; -- \\u0000 ✓ \n"}

    texts = await steps("found").keep("all", hostile())
    assert await read_all(steps("x"), await steps("x").cut(texts, 0, 1)) == [row async for row in hostile()]


@pytest.mark.parametrize("value", [1.5, "a\0b", {"deep": [0.1]}, "\ud800", b"bytes"])
async def test_rows_that_no_digest_should_cover_are_refused(steps: Steps, value: object) -> None:
    async def bad() -> AsyncIterator[Mapping[str, Any]]:
        yield {"value": value}

    with pytest.raises(Permanent) as refusal:
        await steps("found").keep("all", bad())
    assert refusal.value.code == "bad_request"


async def test_batches_cover_the_rest_of_a_slice_and_can_be_read(steps: Steps) -> None:
    charges = await steps("found").keep("all", rows(25))
    batches = await steps("found").cuts(charges, 10, 10)
    assert [(b["start"], b["count"]) for b in batches] == [(10, 10), (20, 5)]
    assert [await read_all(steps("x"), b) for b in batches] == [
        [r async for r in rows(10, 10)],
        [r async for r in rows(5, 20)],
    ]


async def test_a_cut_equals_the_batch_of_the_same_rows(steps: Steps) -> None:
    charges = await steps("found").keep("all", rows(25))
    batches = await steps("found").cuts(charges, 10, 10)
    assert await steps("found").cut(charges, 20, 10) == batches[1]


async def test_a_cut_of_a_cut_stays_inside(steps: Steps) -> None:
    charges = await steps("found").keep("all", rows(25))
    inner = await steps("found").cut(await steps("found").cut(charges, 10, 5), 3, 100)
    assert (inner["start"], inner["count"]) == (13, 2)


async def test_a_cut_beyond_the_end_is_empty(steps: Steps) -> None:
    charges = await steps("found").keep("all", rows(3))
    assert (await steps("found").cut(charges, 3, 10))["count"] == 0


async def test_an_empty_result_is_a_result(steps: Steps) -> None:
    empty = await steps("found").keep("all", rows(0))
    assert (empty["count"], await read_all(steps("x"), empty)) == (0, [])


async def test_split_asks_once_per_combination_and_loses_no_row(steps: Steps) -> None:
    combinations: list[Mapping[str, Any]] = []

    def rule(row: Mapping[str, Any]) -> str | None:
        combinations.append(row)
        return "disputed" if row["disputed"] else "closed" if row["account"] == "closed" else None

    charges = await steps("found").keep("all", rows(60))
    fields = frozenset({"disputed", "account"})
    groups = await steps("groups").split(charges, rule, fields=fields, names=["disputed", "closed"], otherwise="clean")
    assert len(combinations) == 4
    assert {name: part["count"] for name, part in groups.items()} == {"disputed": 20, "closed": 20, "clean": 20}
    assert sum(part["total"] for part in groups.values()) == charges["total"]
    assert all(row["disputed"] for row in await read_all(steps("x"), groups["disputed"]))


async def test_split_gives_empty_groups_too_and_repeats_to_the_same_handles(steps: Steps) -> None:
    charges = await steps("found").keep("all", rows(6))

    async def split() -> dict[str, ResultSlice]:
        return await steps("g").split(charges, lambda _: None, fields=frozenset(), names=["none"], otherwise="rest")

    first = await split()
    assert (first["none"]["count"], first["rest"]["count"]) == (0, 6)
    assert await split() == first


async def test_split_by_a_missing_field_sees_none(steps: Steps) -> None:
    charges = await steps("found").keep("all", rows(2))
    combinations: list[Any] = []
    fields = frozenset({"absent'); --"})
    await steps("g").split(charges, lambda r: combinations.append(dict(r)), fields=fields, names=[], otherwise="rest")
    assert combinations == [{"absent'); --": None}]


async def test_another_runs_handle_is_forged(database: Database, alice: Principal, steps: Steps) -> None:
    """R17: a handle is authority over rows; only the run that found them holds it."""
    charges = await steps("found").keep("all", rows(3))
    stranger = RunRows(database, Access.of(alice), str(uuid4()), "found")
    with pytest.raises(Permanent) as refusal:
        await read_all(stranger, charges)
    assert refusal.value.code == "forged_authority"


async def test_another_tenants_handle_is_forged(database: Database, alice: Principal) -> None:
    run, other = str(uuid4()), replace(alice, tenant=f"t-{uuid4().hex[:12]}")
    charges = await RunRows(database, Access.of(alice), run, "found").keep("all", rows(3))
    with pytest.raises(Permanent, match="no result of this run"):
        await RunRows(database, Access.of(other), run, "found").slice_of(charges["handle"])


@pytest.mark.parametrize(
    "change", [{"count": 4}, {"start": 1}, {"start": -1}, {"digest": "0" * 64}, {"start": 1, "count": 2}]
)
async def test_a_slice_that_was_changed_is_forged(steps: Steps, change: dict[str, Any]) -> None:
    charges = await steps("found").keep("all", rows(3))
    forgery = ResultSlice(**cast(Any, {**charges, **change}))
    for use in (read_all(steps("x"), forgery), steps("x").cut(forgery, 0, 1), steps("x").cuts(forgery, 0, 1)):
        with pytest.raises(Permanent) as refusal:
            await use
        assert refusal.value.code == "forged_authority"


async def test_rows_changed_by_a_stronger_hand_are_noticed(steps: Steps, superuser: Any) -> None:
    charges = await steps("found").keep("all", rows(3))
    async with superuser() as above:
        await above.execute("update result_rows set row = '{}' where handle = %s and ord = 1", [charges["handle"]])
    with pytest.raises(Permanent, match="not those that were kept"):
        await read_all(steps("x"), charges)


async def test_a_whole_result_is_found_by_its_handle(steps: Steps) -> None:
    charges = await steps("found").keep("all", rows(3))
    assert await steps("other").slice_of(charges["handle"]) == charges


@pytest.mark.slow
async def test_sixty_thousand_rows_are_kept_and_cut_without_strain(steps: Steps) -> None:
    """Generous bounds: a loaded machine must not fail what a broken plan would (minutes)."""
    start = time.perf_counter()
    charges = await steps("found").keep("all", rows(60_000))
    insert_seconds = time.perf_counter() - start
    batches = await steps("found").cuts(charges, 10, 500)
    cut_seconds = time.perf_counter() - start - insert_seconds
    print(f"keep {insert_seconds:.2f} s, cuts {cut_seconds:.2f} s")  # noqa: T201  # the figure is the point
    assert (len(batches), insert_seconds < 10, cut_seconds < 5) == (120, True, True)


async def test_many_rows_are_sorted_and_read_in_pieces(database: Database, alice: Principal) -> None:
    """The groups, their order and their digests are those of one piece; somebody hears of each."""
    run = str(uuid4())

    def steps(step: str, page: int = 5_000) -> RunRows:
        return RunRows(database, Access.of(alice), run, step, page=page)

    charges = await steps("found").keep("all", rows(50))
    options: dict[str, Any] = {"fields": frozenset({"account"}), "names": ["open", "none"], "otherwise": "closed"}
    whole = await steps("whole").split(charges, _account, **options)
    pieces: list[None] = []
    parts = await steps("pieces", page=7).split(charges, _account, on_piece=lambda: pieces.append(None), **options)
    assert [{**part, "handle": ""} for part in parts.values()] == [{**part, "handle": ""} for part in whole.values()]
    assert len(pieces) == 8 + 1
    assert [len(page) async for page in steps("later", page=7).pages(parts["open"])] == [7, 7, 7, 4]
    assert await read_all(steps("later", page=7), parts["open"]) == [
        row async for row in rows(50) if row["account"] == "open"
    ]


def _account(row: Mapping[str, Any]) -> str | None:
    return row["account"] if row["account"] == "open" else None


async def amounts(*currencies: str | None) -> AsyncIterator[Mapping[str, Any]]:
    for n, currency in enumerate(currencies):
        yield {"charge": f"ch_{n}", "amount": n} | ({"currency": currency} if currency else {})


@pytest.mark.parametrize(
    ("currencies", "common"),
    [
        (["EUR", "EUR"], "EUR"),
        (["EUR", "JPY"], "*"),
        ([None, "EUR"], "*"),
        ([None], "*"),
        (["euro"], "*"),
        ([], ""),
    ],
)
async def test_slice_says_in_which_currency_its_total_is(
    steps: Steps, currencies: list[str | None], common: str
) -> None:
    part = await steps("found").keep("all", amounts(*currencies))
    cut = await steps("later").cut(part, 0, 9)
    assert (part.get("currency"), cut.get("currency")) == (common, common)


async def test_rows_of_several_currencies_are_split_and_cut_into_sums_of_one(steps: Steps) -> None:
    part = await steps("found").keep("all", amounts("EUR", "JPY", "JPY", "EUR"))
    by_currency = await steps("split").split(
        part, lambda row: row["currency"].lower(), fields=frozenset({"currency"}), names=["eur"], otherwise="jpy"
    )
    sums = {name: (group["total"], group.get("currency")) for name, group in by_currency.items()}
    assert sums == {"eur": (3, "EUR"), "jpy": (3, "JPY")}
    pairs = await steps("later").cuts(part, 1, 2)
    assert [(pair["total"], pair.get("currency")) for pair in pairs] == [(3, "JPY"), (3, "EUR")]
