"""What of another person is archived and could be held for the law; asked by administrators, who never see the text."""

from dataclasses import dataclass
from datetime import datetime

from memory.database import Database
from memory.scope import Access


@dataclass(frozen=True, slots=True)
class Holdable:
    """An archived memory of somebody, without what it says."""

    id: str
    scope: str
    reason: str
    pruned: datetime
    retained_until: datetime
    hold: bool


async def of(database: Database, access: Access, person: str, *, limit: int = 100) -> list[Holdable]:
    """Return what of a person is archived, newest first; the database refuses whoever is no administrator."""
    return [Holdable(**row) for row in await database.rows(access, "select * from archive_of(%s, %s)", person, limit)]
