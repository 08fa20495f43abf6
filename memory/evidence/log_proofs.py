"""Proofs that a leaf is in the log of a tenant, from the roots that its leaves keep; called by `receipts`.

A few rows are read, however long the log is.
"""

from collections.abc import Iterator, Mapping
from hashlib import sha256

from memory.errors import Permanent
from memory.postgres.database import Connection

_HASH = 32


async def proof(connection: Connection, size: int, position: int) -> list[bytes]:
    """Return the proof that the leaf at a position is among the first `size` leaves of the entered tenant's log.

    Raises Permanent("journal_broken") if a leaf that it needs is gone.
    """
    ranges = list(_gaps(0, size, position))
    ends = sorted({start + (1 << level) - 1 for bounds in ranges for start, level in _blocks(*bounds)})
    cursor = await connection.execute("select position, parts from log_leaves where position = any (%s)", [ends])
    hashes = {row["position"]: bytes(row["parts"]) for row in await cursor.fetchall()}
    if lacking := sorted({*ends} - {*hashes}):
        raise Permanent(
            "journal_broken", f"leaf {lacking[0]} of the log is missing; `countersign journal verify` says more"
        )
    return [_root(hashes, *bounds) for bounds in ranges]


def _gaps(start: int, end: int, position: int) -> Iterator[tuple[int, int]]:
    """Yield the ranges without the leaf whose roots the verifier asks for, in that order."""
    if not start <= position < end:
        yield start, end
    elif end - start > 1:
        half = start + (1 << (end - start - 1).bit_length() - 1)
        yield from _gaps(start, half, position)
        yield from _gaps(half, end, position)


def _blocks(start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the complete parts of a range: where each begins, and the power of two that is its size."""
    while start < end:
        level = (end - start).bit_length() - 1
        yield start, level
        start += 1 << level


def _root(hashes: Mapping[int, bytes], start: int, end: int) -> bytes:
    root = b""
    for begin, level in reversed(list(_blocks(start, end))):
        block = hashes[begin + (1 << level) - 1][level * _HASH : (level + 1) * _HASH]
        root = sha256(b"\x01" + block + root).digest() if root else block
    return root
