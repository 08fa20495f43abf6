"""Keys that signed the heads of a tenant's log, and how many heads nobody signed; for the check and `doctor`."""

from dataclasses import dataclass

from memory.postgres.database import Connection

_SIGNERS = """
select count(*) as heads, count(*) filter (where h.signature is null) as unsigned,
       coalesce(array_agg(distinct h.key) filter (where h.signature is not null), '{}') as keys
  from (select signature, coalesce(case when pg_input_is_valid(text, 'jsonb') then text::jsonb ->> 'key' end, '') as key
          from log_heads) h
"""


@dataclass(frozen=True, slots=True)
class Signers:
    """Who signed the heads of a log."""

    heads: int
    unsigned: int
    keys: list[str]
    """Ids that signed heads name, in their order."""

    @property
    def remarks(self) -> list[str]:
        """Return what a reader must know: heads that nobody signed, and a change of the key."""
        some = [f"{self.unsigned} of {self.heads} heads are unsigned"] if 0 < self.unsigned < self.heads else []
        several = [f"heads are signed by {len(self.keys)} keys: {', '.join(map(ascii, self.keys))}"]
        return some + (several if len(self.keys) > 1 else [])


async def signers(connection: Connection) -> Signers:
    """Return who signed the heads of the entered tenant."""
    row = await (await connection.execute(_SIGNERS)).fetchone()
    assert row is not None, "a count has one row"
    return Signers(**row)
