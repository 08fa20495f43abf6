"""Lexical vectors: the same everywhere, close for shared words, weighted by rarity."""

import subprocess
import sys
from math import isclose, sqrt

import pytest
from pgvector import SparseVector, Vector

from memory.embeddings.embedder import Embedding
from memory.embeddings.lexical import LEXICAL, presence, rarity
from memory.embeddings.vectors import parameter, parameters
from memory.postgres.database import Database
from memory.scope import Access, Principal

pytestmark = pytest.mark.anyio


def cosine(first: Embedding, second: Embedding) -> float:
    return sum(a * b for a, b in zip(first, second, strict=True))


async def embed(*texts: str) -> list[Embedding]:
    return await LEXICAL.embed(texts)


async def test_vectors_have_one_length_and_size() -> None:
    (vector,) = await embed("customers were billed twice")
    assert (len(vector), isclose(sqrt(cosine(vector, vector)), 1.0)) == (1024, True)


async def test_a_text_without_terms_is_the_zero_vector() -> None:
    vectors = await embed("", "?!", "the and of")
    assert all(not any(vector) for vector in vectors)


async def test_typing_errors_stay_close_and_other_texts_stay_far() -> None:
    right, typo, other = await embed("duplicate charges", "duplicte charges", "volume is full")
    assert (cosine(right, typo) > 0.5, cosine(right, other) < 0.2) == (True, True)


def test_another_process_computes_the_same_vector() -> None:
    """Vectors are stored: they must not depend on hash seeds or machines."""
    imports = "from memory.embeddings.lexical import LEXICAL"
    code = f"{imports}; print(LEXICAL.vector('rotate the key'))"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == str(LEXICAL.vector("rotate the key"))


async def test_any_text_has_a_vector() -> None:
    vectors = await embed("\ud800", "日本語 テスト", "x" * 20_000)
    assert all(any(vector) for vector in vectors[1:])


def test_presence_counts_dimensions_not_weights() -> None:
    assert presence([(0.5, 0.0, 0.0), (-0.5, 0.0, 0.1)]) == (1.0, 0.0, 1.0)


def test_rare_dimensions_weigh_more_and_none_weighs_nothing() -> None:
    rare, common, everywhere = rarity((0.0, 5.0, 10.0), 10)
    assert rare > common > everywhere > 0


@pytest.mark.parametrize("vector", [(0.5, -0.25, 0.0), (0.0, 0.5, 0.0), (0.0, 0.0)])
async def test_vectors_survive_the_way_to_postgres_and_back(
    database: Database, alice: Principal, vector: Embedding
) -> None:
    """Dense ones, sparse ones, and those of texts without a term."""
    (row,) = await database.rows(Access.of(alice), "select %s::vector as v", parameter(vector))
    assert row["v"] == Vector(list(vector))


def test_vectors_go_sparse_if_most_values_are_zero_and_all_of_a_batch_alike() -> None:
    dense, sparse = (0.5, 0.5, 0.0), (0.0, 0.0, 1.0)
    assert [type(parameter(vector)) for vector in (dense, sparse)] == [Vector, SparseVector]
    assert {type(value) for value in parameters([dense, sparse, sparse])} == {SparseVector}
    assert {type(value) for value in parameters([dense, dense, sparse])} == {Vector}
