"""Merkle trees of RFC 6962: roots of leaves, proofs that some leaves are in a tree; for the log and for receipts."""

from collections.abc import Collection, Sequence
from hashlib import sha256


def leaf_hash(leaf: bytes) -> bytes:
    """Return the hash under which a leaf stands in a tree."""
    return sha256(b"\x00" + leaf).digest()


def root(hashes: Sequence[bytes]) -> bytes:
    """Return the root over leaves, given by their `leaf_hash`."""
    return Frontier(hashes).root()


def proof(hashes: Sequence[bytes], known: Collection[int]) -> list[bytes]:
    """Return what somebody who has the leaves at these positions, from 0, still needs to compute the root.

    Roots of parts without such a leaf, from left to right; `docs/journal.md` has the function that takes them.
    """
    positions = sorted(set(known))
    if positions and not 0 <= positions[0] <= positions[-1] < len(hashes):
        raise ValueError(f"a tree of {len(hashes)} leaves does not have all of {positions}")
    return _proof(hashes, positions) if hashes else []


def _proof(hashes: Sequence[bytes], positions: Sequence[int]) -> list[bytes]:
    if not positions:
        return [root(hashes)]
    if len(hashes) == 1:
        return []
    half = 1 << (len(hashes) - 1).bit_length() - 1
    left = [position for position in positions if position < half]
    right = [position - half for position in positions[len(left) :]]
    return _proof(hashes[:half], left) + _proof(hashes[half:], right)


class Frontier:
    """A tree that only grows, kept as the roots of its complete parts; the root of all follows at any size."""

    def __init__(self, hashes: Sequence[bytes] = ()) -> None:
        self.size = 0
        self._subtrees: list[bytes] = []
        for leaf in hashes:
            self.add(leaf)

    @classmethod
    def of(cls, size: int, subtrees: Sequence[bytes]) -> "Frontier":
        """Return a tree by its size and the roots of its complete parts, the largest first; raises ValueError."""
        if size < 0 or size.bit_count() != len(subtrees) or any(len(part) != sha256().digest_size for part in subtrees):
            raise ValueError(f"a tree of {size} leaves does not have such parts")
        tree = cls()
        tree.size, tree._subtrees = size, [*subtrees]
        return tree

    @property
    def subtrees(self) -> tuple[bytes, ...]:
        """Return the roots of the complete parts, the largest first."""
        return tuple(self._subtrees)

    def add(self, leaf: bytes) -> None:
        """Append a leaf, given by its `leaf_hash`; it completes a part for each one bit that the size ends with."""
        ones = self.size
        while ones & 1:
            leaf = _node(self._subtrees.pop(), leaf)
            ones >>= 1
        self._subtrees.append(leaf)
        self.size += 1

    def root(self) -> bytes:
        """Return the root over the leaves so far."""
        if not self._subtrees:
            return sha256(b"").digest()
        *others, part = self._subtrees
        for other in reversed(others):
            part = _node(other, part)
        return part


def _node(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()
