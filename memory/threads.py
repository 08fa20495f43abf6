"""Whose a conversation is and what it is busy with; the API asks before a message starts or answers a run."""

from dataclasses import dataclass

from memory.database import Connection


@dataclass(frozen=True, slots=True)
class Standing:
    """The newest run of a thread."""

    run: str
    owner: str
    """The person whose first message opened the thread."""
    status: str
    waits_for: str | None
    seq: int

    @property
    def open(self) -> bool:
        """Return whether the run has not ended."""
        return self.status in ("queued", "running", "waiting")


async def standing(connection: Connection, thread: str) -> Standing | None:
    """Return where a thread stands, or None if nobody has used it; locks nothing."""
    cursor = await connection.execute(
        "select id, requester, status, waits_for, seq from runs where thread = %s and kind = 'run' "
        "order by created desc, id desc limit 1",
        [thread],
    )
    row = await cursor.fetchone()
    return None if row is None else Standing(row["id"], row["requester"], row["status"], row["waits_for"], row["seq"])
