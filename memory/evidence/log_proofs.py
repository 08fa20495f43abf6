"""Proofs that a leaf is in the log of a tenant, from the roots that its leaves keep; called by `receipts`.

A few rows are read, however long the log is.
"""

from collections.abc import Iterator, Mapping
from hashlib import sha256

from memory.postgres.database import Connection

_HASH = 32


async def proof(connection: Connection, size: int, position: int) -> list[bytes]:
    """Return the proof that the leaf at a position is among the first `size` leaves of the entered tenant's log."""
    ranges = list(_unknown(0, size, position))
    ends = sorted({start + (1 << level) - 1 for bounds in ranges for start, level in _parts(*bounds)})
    cursor = await connection.execute("select position, parts from log_leaves where position = any (%s)", [ends])
    parts = {row["position"]: bytes(row["parts"]) for row in await cursor.fetchall()}
    return [_root(parts, *bounds) for bounds in ranges]


def _unknown(start: int, end: int, position: int) -> Iterator[tuple[int, int]]:
    """Yield the ranges without the leaf whose roots the verifier asks for, in that order."""
    if not start <= position < end:
        yield start, end
    elif end - start > 1:
        half = start + (1 << (end - start - 1).bit_length() - 1)
        yield from _unknown(start, half, position)
        yield from _unknown(half, end, position)


def _parts(start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the complete parts of a range: where each begins, and the power of two that is its size."""
    while start < end:
        level = (end - start).bit_length() - 1
        yield start, level
        start += 1 << level


def _root(parts: Mapping[int, bytes], start: int, end: int) -> bytes:
    root = b""
    for begin, level in reversed(list(_parts(start, end))):
        part = parts[begin + (1 << level) - 1][level * _HASH : (level + 1) * _HASH]
        root = sha256(b"\x01" + part + root).digest() if root else part
    return root
