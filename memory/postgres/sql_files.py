"""SQL files of a release: numbered ones, applied once, and function files, applied whenever their text changes.

Read by `migrate`, which applies them, and by `schema_version`, which compares them with a database.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

SCHEMA = Path(__file__).parent / "schema"
"""Tables, indexes, row policies and grants, and the functions that these need."""
_INCLUDE = "-- include: procrastinate\n"


@dataclass(frozen=True, slots=True)
class SqlFile:
    """One file; its hash is that of the text as written, before anything is included."""

    name: str
    text: str

    @property
    def hash(self) -> str:
        """Return the SHA-256 of the file's text."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def statements(self) -> str:
        """Return the SQL to run, with the queue's own schema put in where the file asks for it."""
        if _INCLUDE not in self.text:
            return self.text
        return self.text.replace(_INCLUDE, files("procrastinate").joinpath("sql/schema.sql").read_text())


def migrations(folder: Path = SCHEMA) -> list[SqlFile]:
    """Return the numbered files of a folder in order, named without their ending."""
    return [SqlFile(path.stem, path.read_text()) for path in sorted(folder.glob("[0-9][0-9][0-9][0-9]_*.sql"))]


def functions(folders: Iterable[Path]) -> list[SqlFile]:
    """Return the function files below some folders, named by their path and that of the folder: `tools/effects.sql`."""
    return [
        SqlFile(path.relative_to(folder.parent).as_posix(), path.read_text())
        for folder in folders
        for path in sorted(folder.rglob("*.sql"))
        if path.parent != SCHEMA
    ]
