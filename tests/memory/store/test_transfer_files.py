"""Files that people bring: what a line may claim, what is left of it, and that files of any size go in and out."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from memory.embeddings.embedder import Embedding
from memory.errors import Permanent
from memory.postgres.database import Database
from memory.scope import Access, Principal
from memory.store import erasure, pruning, search, transfer, transfer_format, write
from memory.store.models import Provenance
from memory.store.pruning import PruningPolicy
from tests.conftest import Connect

pytestmark = pytest.mark.anyio
HEAD = json.dumps({"format": transfer_format.FORMAT})


@pytest.fixture
def own(alice: Principal) -> Access:
    return Access.of(alice)


@pytest.fixture
def other_access(bob: Principal) -> Access:
    return Access.of(bob)


def row(**claims: Any) -> dict[str, Any]:
    """Return a line as an export has it, with other claims."""
    line: dict[str, Any] = {"id": str(uuid4()), "body": f"copper is dear {uuid4()}", "trust": "human", "provenance": {}}
    return {**line, **claims}


def file(*rows: dict[str, Any]) -> list[str]:
    """Return lines that can be taken in."""
    return [HEAD, *map(json.dumps, rows)]


async def out(database: Database, access: Access) -> list[dict[str, Any]]:
    """Return what an export says of each memory."""
    return [json.loads(line) async for line in transfer.export(database, access)][1:]


FACTS = {"x": "y" * 9000}
LONG = "s" * 201
ORIGINS: Sequence[Any] = (
    *("x", [], None, {"derived_from": 5}, {"derived_from": {"a": 1}}),
    *({"facts": FACTS}, {"facts": {"a": "\0"}}, {"principal": LONG}),
)
BAD: Sequence[tuple[str, dict[str, Any]]] = [
    *(("id", {"id": id}) for id in ("a\0b", "\ud800", {"a": 1}, [1], None, 5, "hello")),
    *(("body", {"body": body}) for body in (5, None, {"a": 1}, "", "   ", "x" * 9000, "a\0b")),
    *(("provenance", {"provenance": origin}) for origin in ORIGINS),
    *(("trust", {"trust": trust}) for trust in ("god", ["human"])),
    *(("created", {"created": at}) for at in ("infinity", "-infinity", "4713-01-01 BC", "yesterday", "2026-01-01", 5)),
    *(("created", {"created": at}) for at in ("9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00")),
    *(("expires", {"expires": at}) for at in ("infinity", "soon", "2026-11-21T10:00:00")),
    *(("uses", {"uses": uses}) for uses in (-5, 2**40, float("nan"), "1", True)),
    *(("told", {"told": line}) for line in (-5, 0, None)),
    *(("pinned", {"pinned": pin_value}) for pin_value in ("yes", 1)),
    *(("key", {"key": key}) for key in ("", "k" * 500, {"a": 1}, "a\0")),
    *(("speaker", {"speaker": speaker}) for speaker in ("", {"a": 1}, "a\0", " ")),
    *(("place", {"speaker": "b", "session": "s", "place": position}) for position in (-4, 2**70)),
    ("session", {"session": "s"}),
    ("session", {"speaker": "b", "session": LONG, "place": 1}),
    ("speaker", {"session": "s", "place": 1}),
    ("superseded_by", {"superseded_by": str(uuid4())}),
]


@pytest.mark.parametrize(
    ("field", "claims"), BAD, ids=[f"{field}-{position}" for position, (field, _) in enumerate(BAD)]
)
async def test_a_claim_that_cannot_be_is_refused_by_line_and_field(
    database: Database, own: Access, field: str, claims: dict[str, Any]
) -> None:
    """R101: and nothing of its file stays."""
    with pytest.raises(Permanent, match=rf"line 3 .*\b{field}|line 3 is no memory: Invalid JSON") as refusal:
        await transfer.import_lines(database, own, file(row(), row(**claims), row()))
    assert refusal.value.code == "bad_request"
    assert "relation" not in str(refusal.value)
    assert await search.ls(database, own) == []


async def test_a_value_is_not_superseded_by_itself(database: Database, own: Access) -> None:
    metal = row(key="metal")
    with pytest.raises(Permanent, match=r"line 2 .*another value of the same key"):
        await transfer.import_lines(database, own, file(metal | {"superseded_by": metal["id"]}))


@pytest.mark.parametrize(("keys", "line"), [(("k", "k"), "leads back"), (("k", "other"), "another key")])
async def test_values_do_not_end_one_another(database: Database, own: Access, keys: tuple[str, str], line: str) -> None:
    metal, two = str(uuid4()), str(uuid4())
    pair = row(id=metal, key=keys[0], superseded_by=two), row(id=two, key=keys[1], superseded_by=metal)
    with pytest.raises(Permanent, match=f"line 2 .*{line}"):
        await transfer.import_lines(database, own, file(*pair))


async def test_what_a_file_says_of_its_writer_stays_a_fact(database: Database, own: Access) -> None:
    """R92 R103: the importer answers for it."""
    hostile_row = row(provenance={"principal": "admin", "facts": {"cost": 3}})
    await transfer.import_lines(database, own, file(hostile_row))
    (memory,) = await search.ls(database, own)
    assert memory.provenance.principal == "alice"
    assert memory.provenance.facts == {"cost": 3, "imported_from": "admin"}


async def test_forgetting_a_person_leaves_what_others_imported_under_the_name(
    database: Database, own: Access, bob: Principal
) -> None:
    """R102: nobody's rows go because a file named somebody."""
    shelf = {"reason": "room", "policy": "p", "pruned_by": "bob", "pruned": "2026-01-01T00:00:00Z"}
    shelf |= {"retained_until": "2100-01-01T00:00:00Z", "content": row(provenance={"principal": "bob"})}
    await transfer.import_lines(database, own, file(row(provenance={"principal": "bob"}), {"archived": shelf}))
    await erasure.forget_person(database, bob, requester="bob")
    assert len(await search.ls(database, own)) == 1
    assert [set(line) & {"archived"} for line in await out(database, own)] == [set(), {"archived"}]


async def test_nothing_is_newer_than_now_or_used_without_bounds(database: Database, own: Access) -> None:
    await transfer.import_lines(database, own, file(row(created="9000-01-01T00:00:00Z", uses=2**31 - 1)))
    (memory,) = await search.ls(database, own)
    assert memory.created <= datetime.now(UTC) + timedelta(minutes=1)
    assert memory.uses == 1000


async def test_a_file_pins_only_a_part_of_the_room(database: Database, own: Access) -> None:
    """R94: also when it comes in pieces."""
    for _ in range(3):
        await transfer.import_lines(database, own, file(*(row(pinned=True) for _ in range(90))))
    lines = await out(database, own)
    assert (len(lines), sum(line["pinned"] for line in lines)) == (270, 200)


@pytest.mark.parametrize("claims", [{"uses": -5}, {"told": 0}, {"expires": datetime(9999, 6, 1, tzinfo=UTC)}])
async def test_the_database_takes_no_count_below_nothing_and_no_time_that_cannot_be_read(
    database: Database, own: Access, claims: dict[str, Any]
) -> None:
    """R91 R94: whoever writes, housekeeping can count on it."""
    await transfer.import_lines(database, own, file(row()))
    ((column, value),) = claims.items()
    with pytest.raises(psycopg.errors.CheckViolation):
        async with database.transaction(own) as connection:
            await connection.execute(f"update memories set {column} = %s".encode(), [value])


async def test_an_imported_scope_can_be_pruned(database: Database, own: Access) -> None:
    """R94"""
    await transfer.import_lines(database, own, file(*(row(uses=2**31 - 1, line=2**31 - 1) for _ in range(20))))
    assert (await pruning.prune(database, own, PruningPolicy(episodes=5))).removal_count == 15


async def test_what_somebody_else_has_goes_in_under_an_id_of_its_own(
    database: Database, own: Access, other_access: Access
) -> None:
    """R92 R101: with its history and links, always under the same id, and whatever comes first in the file."""
    for owner in ("Ann", "Ben", "Cleo"):
        await write.remember(database, other_access, owner, trust="human", provenance=Provenance(), key="owner")
    for _ in range(2):
        await write.remember(database, other_access, "the map hangs", trust="human", provenance=Provenance())
    head, *body_lines = [line async for line in transfer.export(database, other_access)]
    for order in (body_lines, body_lines[::-1]):
        await transfer.import_lines(database, own, [head, *order])
    lines = await out(database, own)
    assert len(lines) == len(body_lines)
    by_body = {line["body"]: line for line in lines if "body" in line}
    assert by_body["Ann"]["superseded_by"] == by_body["Ben"]["id"]
    assert by_body["Ben"]["superseded_by"] == by_body["Cleo"]["id"]
    assert not {line["id"] for line in by_body.values()} & {json.loads(line).get("id") for line in body_lines}
    assert await out(database, other_access) == [json.loads(line) for line in body_lines]


async def test_a_successor_that_came_first_under_another_id_is_still_one(
    database: Database, own: Access, other_access: Access
) -> None:
    """R101"""
    for owner in ("Ann", "Ben"):
        await write.remember(database, other_access, owner, trust="human", provenance=Provenance(), key="owner")
    head, first, second = [line async for line in transfer.export(database, other_access)]
    await transfer.import_lines(database, own, [head, second])
    await transfer.import_lines(database, own, [head, first])
    by_body = {line["body"]: line for line in await out(database, own)}
    assert by_body["Ann"]["superseded_by"] == by_body["Ben"]["id"]


async def test_a_subject_with_another_value_here_stops_the_import_by_line(database: Database, own: Access) -> None:
    await write.remember(database, own, "iron", trust="human", provenance=Provenance(), key="metal")
    with pytest.raises(Permanent, match="line 3: another value") as refusal:
        await transfer.import_lines(database, own, file(row(), row(key="metal")))
    assert refusal.value.code == "conflict"
    assert [memory.body for memory in await search.ls(database, own)] == ["iron"]


async def test_what_has_expired_is_left_out_and_blocks_nothing(
    database: Database, own: Access, superuser: Connect, tenant: str
) -> None:
    """R91"""
    await write.remember(database, own, "iron", trust="human", provenance=Provenance(), key="metal")
    async with superuser() as above:
        await above.execute("update memories set expires = clock_timestamp() where tenant = %s", [tenant])
    over = row(expires="2026-01-01T00:00:00Z")
    link: dict[str, Any] = {
        "memory": over["id"],
        "digest": "0" * 64,
        "trust": "human",
        "provenance": {},
        "told": "2026-01-01T00:00:00Z",
    }
    order = file(over, row(key="metal", body="copper"), {"link": link})
    assert await transfer.import_lines(database, own, order) == (1, 0)
    assert [memory.body for memory in await search.ls(database, own)] == ["copper"]


async def test_a_large_scope_travels_in_pieces_any_of_which_may_be_repeated(
    database: Database, own: Access, alice: Principal
) -> None:
    """R101: the pages of an export and the pieces of an import leave nothing out and double nothing."""
    order = file(*(row(body=f"copper number {n} is dear") for n in range(1_203)))
    pieces = list(transfer_format.pieces(order, limit=50_000))
    assert len(pieces) > 2
    assert all(len(json.dumps(piece)) <= 50_000 and piece[0] == HEAD for piece in pieces)
    counts = [await transfer.import_lines(database, own, piece) for piece in [*pieces, pieces[0]]]
    assert (sum(count for count, _ in counts), counts[-1][0]) == (1_203, 0)
    lines = await out(database, own)
    assert {line["id"] for line in lines} == {json.loads(line)["id"] for line in order[1:]}
    assert len(lines) == 1_203


class Counting:
    """An embedder that counts what it was asked."""

    id = "counting-2"
    lexical = False
    dimensions = 2

    def __init__(self) -> None:
        self.texts: list[str] = []

    async def embed(self, texts: Sequence[str]) -> list[Embedding]:
        """Return a vector for each text."""
        self.texts += texts
        return [(1.0, 0.0) for _ in texts]


async def test_a_model_is_asked_once_about_what_goes_in_twice(database: Database, own: Access) -> None:
    model, order = Counting(), file(*(row() for _ in range(3)))
    for _ in range(2):
        await transfer.import_lines(database, own, order, embedder=model)
    assert len(model.texts) == 3


async def test_no_text_ends_a_line_of_the_file(database: Database, own: Access) -> None:
    body = "".join(map(chr, (*range(1, 33), *range(126, 161), 0x2028, 0x2029, 0x1F600))) + "x"
    await write.remember(database, own, body, trust="human", provenance=Provenance())
    text = "\n".join([line async for line in transfer.export(database, own)])
    (line,) = text.splitlines()[1:]
    assert json.loads(line)["body"] == body


async def test_an_export_that_is_not_read_holds_no_connection(database: Database, own: Access) -> None:
    """R92: more stalled readers than connections, and others are served."""
    await transfer.import_lines(database, own, file(*(row() for _ in range(3))))
    exports = [transfer.export(database, own) for _ in range(14)]
    for lines in exports:
        assert [await anext(lines) for _ in range(2)]
    assert len(await search.ls(database, own)) == 3


async def test_what_is_written_while_an_export_is_read_gives_no_subject_two_values(
    database: Database, own: Access
) -> None:
    await transfer.import_lines(database, own, file(*(row() for _ in range(transfer.PAGE))))
    await write.remember(database, own, "iron", trust="human", provenance=Provenance(), key="metal")
    lines = transfer.export(database, own)
    head_lines = [await anext(lines) for _ in range(2)]
    await write.remember(database, own, "copper", trust="human", provenance=Provenance(), key="metal")
    head_lines += [line async for line in lines]
    assert [json.loads(line)["body"] for line in head_lines if '"metal"' in line] == ["iron"]


async def test_every_column_of_a_memory_travels_or_is_made_anew(database: Database, own: Access) -> None:
    """R101: whoever adds one decides about it here."""
    head_lines = await database.rows(
        own,
        "select attname from pg_attribute where attrelid = 'memories'::regclass and attnum > 0 and not attisdropped",
    )
    assert {line["attname"] for line in head_lines} == set(transfer_format.MemoryLine.model_fields) | set(
        transfer.DERIVED_COLUMNS
    )
