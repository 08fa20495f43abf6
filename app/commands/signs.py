"""Texts from outside made harmless: on one line, or as lines that are indented, without signs that steer terminals."""

import codecs
import json
from collections.abc import Callable
from unicodedata import category


def visible(text: str) -> str:
    """Return a text on one line, with an escape for every sign that could end the line or steer the terminal."""
    return text if text.isprintable() else "".join(map(_visible_sign, text))


def is_text(text: str) -> bool:
    """Return whether a text can be written as UTF-8; bytes that the system could not read are in it otherwise."""
    return not any("\ud800" <= sign <= "\udfff" for sign in text)


def _visible_sign(sign: str) -> str:
    if sign.isprintable():
        return sign
    # Spaces of other widths count as not printable, and are harmless.
    return " " if category(sign) == "Zs" else sign.encode("unicode_escape").decode()


def indented(text: str) -> list[str]:
    """Return the lines of a text from outside, none of which begins where ours do."""
    return [f"  {line.expandtabs(4)}".rstrip() for line in text.rstrip("\n").split("\n")]


def json_line(line: str, encoding: str) -> str:
    """Return a line of JSON with the same value, with escapes for what steers terminals or what the encoding lacks."""
    is_wide = codecs.lookup(encoding).name.startswith("utf")
    is_plain = str.isprintable if is_wide else str.isascii
    # Only strings hold such signs, so that an escape means the same.
    return line if is_plain(line) and line.isprintable() else "".join(_json_sign(sign, is_plain) for sign in line)


def _json_sign(sign: str, is_plain: Callable[[str], bool]) -> str:
    if sign.isprintable() and is_plain(sign):
        return sign
    return "\\u007f" if sign == "\x7f" else json.dumps(sign)[1:-1]
