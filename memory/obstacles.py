"""What stands in the way of forgetting a person for now; told to whoever wants it done."""

from memory.database import Database
from memory.scope import Access


async def open_runs(database: Database, access: Access, person: str) -> list[str]:
    """Return the open runs that a person asked for, or whose approvals they judged, oldest first."""
    rows = await database.rows(
        access,
        """
        select r.id from runs r
         where r.kind = 'run' and r.status in ('queued', 'running', 'waiting')
           and (r.requester = %s or r.id in (select a.run from approvals a
                                              where a.decided_by = %s and a.status in ('rejected', 'edited')))
         order by r.created, r.id
        """,
        person,
        person,
    )
    return [str(row["id"]) for row in rows]
