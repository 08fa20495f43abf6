"""Merkle trees: the roots of Certificate Transparency, and proofs that give exactly the root."""

from collections.abc import Sequence
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memory.evidence.trees import Frontier, leaf_hash, proof, root

CT_LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
CT_ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
"""Roots of the first 0 to 8 leaves, as the logs' own tests have them."""


@pytest.mark.parametrize("size", range(9))
def test_roots_are_those_of_certificate_transparency(size: int) -> None:
    leaves = [leaf_hash(bytes.fromhex(leaf)) for leaf in CT_LEAVES[:size]]
    assert root(leaves).hex() == CT_ROOTS[size]


def test_the_proof_of_one_leaf_has_the_hashes_of_certificate_transparency() -> None:
    """They list them from the leaf upwards, we from left to right; of the first leaf that is the same."""
    leaves = [leaf_hash(bytes.fromhex(leaf)) for leaf in CT_LEAVES]
    assert [part.hex() for part in proof(leaves, [0])] == [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ]


def definition(leaves: Sequence[bytes]) -> bytes:
    """Return the root as section 2.1 defines it."""
    if len(leaves) <= 1:
        return sha256(b"\0" + leaves[0] if leaves else b"").digest()
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    return sha256(b"\1" + definition(leaves[:k]) + definition(leaves[k:])).digest()


def root_by_proof(leaves: dict[int, bytes], size: int, parts: list[bytes]) -> bytes:
    """Return the root as the page's function computes it, which must take every hash of the proof."""
    hashes = iter(parts)

    def part(start: int, end: int) -> bytes:
        if not any(start <= position < end for position in leaves):
            return next(hashes)
        if end - start == 1:
            return sha256(b"\0" + leaves[start]).digest()
        k = 1
        while 2 * k < end - start:
            k *= 2
        return sha256(b"\1" + part(start, start + k) + part(start + k, end)).digest()

    top = part(0, size)
    assert list(hashes) == []
    return top


@settings(deadline=None)
@given(st.lists(st.binary(max_size=4), max_size=70))
def test_a_tree_that_grows_has_the_defined_root_at_every_size(leaves: list[bytes]) -> None:
    frontier = Frontier()
    for size, leaf in enumerate(leaves):
        assert (frontier.size, frontier.root()) == (size, definition(leaves[:size]))
        frontier.add(leaf_hash(leaf))
    assert frontier.root() == definition(leaves)


@settings(deadline=None)
@given(st.data(), st.lists(st.binary(max_size=4), min_size=1, max_size=70))
def test_a_proof_gives_the_root_for_any_choice_of_leaves(data: st.DataObject, leaves: list[bytes]) -> None:
    positions = data.draw(st.sets(st.sampled_from(range(len(leaves)))))
    parts = proof([leaf_hash(leaf) for leaf in leaves], positions)
    subset = {position: leaves[position] for position in positions}
    assert root_by_proof(subset, len(leaves), parts) == definition(leaves)


@settings(deadline=None)
@given(st.integers(1, 2000), st.data())
def test_a_proof_of_one_leaf_grows_with_the_logarithm(size: int, data: st.DataObject) -> None:
    leaves = [leaf_hash(b"%d" % n) for n in range(size)]
    assert len(proof(leaves, [data.draw(st.integers(0, size - 1))])) <= (size - 1).bit_length()


@pytest.mark.parametrize("positions", [[3], [-1], [0, 7], [-1, 0]])
def test_a_leaf_that_is_not_there_cannot_be_proven(positions: list[int]) -> None:
    with pytest.raises(ValueError, match="3 leaves"):
        proof([leaf_hash(b"")] * 3, positions)
