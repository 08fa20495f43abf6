"""How small a transcript gets: its text without hexadecimal, deflated with what transcripts have in common.

The dictionary is a frozen file: what was packed with it is read with it. Called by `transcripts` alone.
"""

import lzma
import re
import zlib
from io import BytesIO
from pathlib import Path

_COMMON = (Path(__file__).parent / "transcripts-1.txt").read_bytes()
_DEFLATED = b"\x01"
_RAW = -zlib.MAX_WBITS
"""Without header and checksum: the archive keeps a digest of the text."""
_BINARY = re.compile(rb'"\\\\x((?:[0-9a-f]{2})*)"')
_TAKEN = re.compile(rb'"\0([0-9]+)"')


def pack(text: bytes) -> bytes:
    """Return JSON as Postgres writes it, which holds no NUL, in as few bytes as this knows how to."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, _RAW, 9, zdict=_COMMON)
    return _DEFLATED + deflate.compress(_fold(text)) + deflate.flush()


def unpack(packed: bytes) -> bytes:
    """Return the text that was packed, byte for byte."""
    if not packed.startswith(_DEFLATED):
        # Packed before there was a dictionary.
        return lzma.decompress(packed)
    inflate = zlib.decompressobj(_RAW, zdict=_COMMON)
    return _unfold(inflate.decompress(packed[len(_DEFLATED) :]) + inflate.flush())


def _fold(text: bytes) -> bytes:
    """Put binary values, which JSON writes as hexadecimal, after the text; a NUL and their length hold their place."""
    values = BytesIO()

    def take(found: re.Match[bytes]) -> bytes:
        return b'"\0%d"' % values.write(bytes.fromhex(found[1].decode()))

    told = _BINARY.sub(take, text)
    return b"%d\0%b%b" % (len(told), told, values.getvalue())


def _unfold(folded: bytes) -> bytes:
    length, _, rest = folded.partition(b"\0")
    values = BytesIO(rest[int(length) :])

    def put(found: re.Match[bytes]) -> bytes:
        return b'"\\\\x%b"' % values.read(int(found[1])).hex().encode()

    return _TAKEN.sub(put, rest[: int(length)])
