"""Canonical text, amount, currency and digest of result rows; called by `results` when it stores and checks them."""

import hashlib
import json
import re
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, NotRequired, TypedDict

from memory.errors import Permanent

ResultRow = Mapping[str, Any]


class ResultSlice(TypedDict):
    """A part of a result by reference; plain JSON, as it stands in results, arguments and approvals."""

    handle: str
    start: int
    count: int
    digest: str
    """SHA-256 over the canonical rows, joined by newlines."""
    total: int
    """Sum of the rows' `amount`."""
    currency: NotRequired[str]
    """What these are in: empty without any, `*` if in several; absent where an older release cut it."""


CellValue = None | bool | int | float | str | Sequence["CellValue"] | Mapping[str, "CellValue"]

MIXED = "*"
"""Currency of amounts of which several name different ones, or some none."""
_CODE = re.compile(r"[A-Z]{3}")

PAGE = 5_000
"""Rows per insert: large enough to be fast, small enough to stream."""


class Sums(TypedDict):
    """Figures of rows, in the order of their columns."""

    count: int
    total: int
    currency: str
    digest: str


class Tally:
    """Count, total and digest of rows, taken while they pass."""

    def __init__(self) -> None:
        self.count = 0
        self.total = 0
        self.currency: str = ""
        """Currency of the amounts so far; empty if no row has one."""
        self.shape: dict[str, str] = {}
        """Type name by field, as the first row shows them."""
        self._hash = hashlib.sha256()

    @property
    def digest(self) -> str:
        """Return the SHA-256 of the canonical rows so far, joined by newlines."""
        return self._hash.hexdigest()

    @property
    def sums(self) -> "Sums":
        """Return count, total, currency and digest of the rows so far."""
        return {"count": self.count, "total": self.total, "currency": self.currency, "digest": self.digest}

    def add(self, page: Sequence[ResultRow]) -> tuple[list[str], list[int], list[str]]:
        """Take in a page and return the canonical texts, the amounts and the currencies of its rows."""
        texts, amounts, currencies = list(map(canonical, page)), list(map(amount, page)), list(map(currency, page))
        if not self.count and page:
            self.shape = {field: type(value).__name__ for field, value in sorted(page[0].items())}
        self._hash.update(("\n" * bool(self.count) + "\n".join(texts)).encode())
        self.count += len(page)
        self.total += sum(amounts)
        self.currency = common_currency([self.currency, *currencies])
        return texts, amounts, currencies


async def pages(rows: AsyncIterator[ResultRow]) -> AsyncIterator[list[ResultRow]]:
    """Yield the rows in lists of at most `PAGE`, none of them empty."""
    page: list[ResultRow] = []
    async for row in rows:
        page.append(row)
        if len(page) == PAGE:
            yield page
            page = []
    if page:
        yield page


def canonical(row: ResultRow) -> str:
    """Return the text of a row: sorted keys, no spaces, as `tools.action.canonical` writes it.

    Raises Permanent("bad_request") for what the database could not keep or a digest should not cover.
    """
    try:
        text = json.dumps(row, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        text.encode()
    except (TypeError, ValueError) as error:
        raise Permanent("bad_request", f"a row cannot be kept: {error}; send JSON of text and integers") from error
    if _is_unfit(row):
        raise Permanent("bad_request", "a row holds a float or a NUL character; send text and integers in minor units")
    return text


def _is_unfit(value: CellValue) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, Mapping):
        return any(_is_unfit(key) or _is_unfit(item) for key, item in value.items())
    if isinstance(value, Sequence):
        return any(map(_is_unfit, value))
    return isinstance(value, float)


def amount(row: ResultRow) -> int:
    """Return the row's `amount` in minor units, or 0 if it has none."""
    value = row.get("amount", 0)
    return value if isinstance(value, int) else 0


def currency(row: ResultRow) -> str:
    """Return the currency of the row's `amount`: empty if it has none, `*` if it does not name it as a code."""
    if not isinstance(row.get("amount"), int):
        return ""
    code = row.get("currency")
    return code if isinstance(code, str) and _CODE.fullmatch(code) else MIXED


def common_currency(currencies: Iterable[str]) -> str:
    """Return the currency that all amounts share: empty if there are none, `*` if they do not share one."""
    codes = {code for code in currencies if code}
    return codes.pop() if len(codes) == 1 else MIXED if codes else ""
