"""Merkle trees in SQL: the same roots and proofs as in Python, at every size and in whatever portions."""

from collections.abc import Sequence
from hashlib import sha256
from itertools import pairwise

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from memory.evidence import log_proofs, trees
from memory.postgres.database import Database
from memory.postgres.roles import Urls
from memory.scope import Access, Principal
from tests.conftest import Connection

pytestmark = pytest.mark.anyio
MOST = 70
LEAVES = [sha256(bytes([n])).digest() for n in range(MOST)]
HASHES = [trees.leaf_hash(leaf) for leaf in LEAVES]
PARTS = """
insert into log_leaves (tenant, position, run, seq, text, frontier, parts) values (%s, %s, %s, %s, '', '', %s)
"""


def grow(connection: psycopg.Connection, portions: Sequence[Sequence[bytes]]) -> tuple[bytes, bytes]:
    """Return frontier and root of a tree that grew portion by portion."""
    frontier, root, size = b"", b"", 0
    for portion in portions:
        query = "select f, tree_root(f) from tree_grown(%s, %s, %s) f"
        frontier, root = connection.execute(query, [frontier, size, list(portion)]).fetchone() or (b"", b"")
        size += len(portion)
    return frontier, root


def test_roots_agree_at_every_size(urls: Urls) -> None:
    with psycopg.connect(urls.owner) as connection:
        for size in range(MOST + 1):
            assert grow(connection, [LEAVES[:size]])[1] == trees.root(HASHES[:size])


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, MOST), max_size=8), size=st.integers(0, MOST))
def test_portions_make_no_difference(urls: Urls, cuts: list[int], size: int) -> None:
    bounds = sorted([0, *(min(cut, size) for cut in cuts), size])
    with psycopg.connect(urls.owner) as connection:
        portions = [LEAVES[start:end] for start, end in pairwise(bounds)]
        assert grow(connection, portions) == grow(connection, [LEAVES[:size]])


async def test_proofs_from_a_few_stored_parts_are_those_from_all_leaves(
    database: Database, owner: Connection, tenant: str
) -> None:
    async with owner.transaction():
        await owner.execute("select enter(%s, 'tests', '{}', '{}')", [tenant])
        frontier = b""
        for position, leaf in enumerate(LEAVES):
            query = "select p as parts, tree_joined(%s, p) as frontier from tree_parts(%s, %s, %s) p"
            cursor = await owner.execute(query, [frontier, frontier, position, leaf])
            row = await cursor.fetchone() or {}
            frontier = bytes(row["frontier"])
            await owner.execute(PARTS, [tenant, position, tenant, position + 1, row["parts"]])
    async with database.transaction(Access.of(Principal(tenant, "alice"))) as connection:
        for size in (1, 2, 3, 7, 8, 9, 33, 64, 69, 70):
            for position in range(size):
                proof = await log_proofs.proof(connection, size, position)
                assert proof == trees.proof(HASHES[:size], [position])
