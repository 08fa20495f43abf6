"""Compression of transcripts: byte for byte the same afterwards, whatever people wrote."""

import hashlib
import json
import lzma
from pathlib import Path

import pytest

from memory.runs import compression


@pytest.mark.parametrize(
    "value",
    [
        {},
        {
            "blob": "\\x81a57061757365920001",
            "none": "\\x",
            "odd": "\\x1",
            "upper": "\\xAB",
            "long": "\\x" + "00" * 9000,
        },
        {"said": 'a "\\x12" and "\\\\x12" and \\x12', "name": "\\x12"},
        {"said": "ümlaut, 日本, \u2028, 😀", "number": 12},
    ],
)
def test_what_was_packed_comes_back_byte_for_byte(value: dict[str, object]) -> None:
    """R99"""
    for text in (json.dumps(value).encode(), json.dumps(value, ensure_ascii=False).encode()):
        assert compression.unpack(compression.pack(text)) == text


def test_binary_values_are_not_written_as_hexadecimal() -> None:
    """R99: bytes without any order take their own size."""
    blob = bytes((17 * n * n + n // 7) % 256 for n in range(20_000))
    assert len(compression.pack(json.dumps({"blob": f"\\x{blob.hex()}"}).encode())) < len(blob) + 200


def test_text_of_another_format_is_refused() -> None:
    with pytest.raises(ValueError, match="format"):
        compression.unpack(lzma.compress(b'{"calls": []}'))


def test_the_dictionary_stays_as_archives_were_packed_with_it() -> None:
    digest = hashlib.sha256((Path(compression.__file__).parent / "transcripts-1.txt").read_bytes()).hexdigest()
    assert digest == "030ef351a0ceca9dcb5f2468c5b1cc5ebdef484072395b045f3d5d1aafe80d41"
