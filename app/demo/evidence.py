"""Evidence of the story as a stranger gets it: an export and a receipt, checked by the verifier's one file alone."""

import asyncio
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.demo.people import Person
from memory.errors import Permanent
from memory.evidence import verifier

EXPORT, RECEIPT = "journal.jsonl", "receipt.json"


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What the verifier said in a fresh interpreter that finds nothing but its own library."""

    export: Mapping[str, Any]
    receipt: Mapping[str, Any]
    receipt_bytes: int

    @property
    def hold(self) -> bool:
        """Return whether both files hold."""
        return self.export["holds"] is True and self.receipt["holds"] is True


async def examine(bob: Person, effect: str, folder: Path) -> Verdicts:
    """Take the tenant's export and the receipt of an effect into a folder, and have both checked there."""
    export, receipt = folder / EXPORT, folder / RECEIPT
    export.write_bytes(await bob.content("/api/journal/export"))
    receipt.write_bytes(await bob.content(f"/api/effects/{effect}/receipt"))
    return Verdicts(await _verify(export), await _verify(receipt), receipt.stat().st_size)


async def _verify(file: Path) -> Mapping[str, Any]:
    command = [sys.executable, "-I", "-S", verifier.__file__, str(file), "--json"]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, trouble = await process.communicate()
    if process.returncode not in (0, 6):
        raise Permanent("internal", f"the verifier did not read {file.name!r}: {trouble.decode()[:300]}")
    return json.loads(out)
