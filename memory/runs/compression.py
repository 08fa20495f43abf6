"""Compression of transcripts: the text without hexadecimal, deflated with a dictionary of what transcripts share.

The dictionary is a frozen file, since a transcript is read with the one that it was packed with. It stays beside plain
zlib for what prompts repeat from run to run: without it a run that asked a model takes 9,727 bytes instead of 5,832, a
short run 2,909 instead of 2,550 and a long one 6,304 instead of 6,117. Called by `transcripts` alone.
"""

import re
import zlib
from io import BytesIO
from pathlib import Path

_DICTIONARY = (Path(__file__).parent / "transcripts-1.txt").read_bytes()
_FORMAT = b"\x01"
"""First byte of every packed text: the number of its dictionary."""
_RAW_DEFLATE = -zlib.MAX_WBITS
"""Without header and checksum: the archive keeps a digest of the text."""
_BINARY = re.compile(rb'"\\\\x((?:[0-9a-f]{2})*)"')
_PLACEHOLDER = re.compile(rb'"\0([0-9]+)"')


def pack(text: bytes) -> bytes:
    """Return the compressed form of JSON as Postgres writes it, which holds no NUL."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, _RAW_DEFLATE, 9, zdict=_DICTIONARY)
    return _FORMAT + deflate.compress(_fold(text)) + deflate.flush()


def unpack(content: bytes) -> bytes:
    """Return the text, byte for byte; raises ValueError for another format."""
    if not content.startswith(_FORMAT):
        raise ValueError(f"a transcript of format {content[:1]!r}; only {_FORMAT!r} is known")
    inflate = zlib.decompressobj(_RAW_DEFLATE, zdict=_DICTIONARY)
    return _unfold(inflate.decompress(content[len(_FORMAT) :]) + inflate.flush())


def _fold(text: bytes) -> bytes:
    """Put binary values, which JSON writes as hexadecimal, after the text; a NUL and their length hold their place."""
    values = BytesIO()

    def take(match: re.Match[bytes]) -> bytes:
        return b'"\0%d"' % values.write(bytes.fromhex(match[1].decode()))

    skeleton = _BINARY.sub(take, text)
    return b"%d\0%b%b" % (len(skeleton), skeleton, values.getvalue())


def _unfold(text: bytes) -> bytes:
    length, _, body = text.partition(b"\0")
    values = BytesIO(body[int(length) :])

    def put(match: re.Match[bytes]) -> bytes:
        return b'"\\\\x%b"' % values.read(int(match[1])).hex().encode()

    return _PLACEHOLDER.sub(put, body[: int(length)])
