"""Housekeeping of transcripts: one thread that cannot be archived keeps no other waiting."""

import psycopg
import pytest

from memory.postgres.database import Database
from memory.runs import transcripts
from memory.scope import Access
from tests.conftest import Connect
from tests.memory.store.test_erasure import Lead, end, lead, own_access

__all__ = ["lead", "own_access"]

pytestmark = pytest.mark.anyio

_FULL = """
create function refuse_one() returns trigger language plpgsql as $$
begin
  if new.thread = tg_argv[0] then raise exception 'no room for it'; end if;
  return new;
end $$;
"""


async def test_a_thread_that_cannot_be_archived_keeps_no_other_waiting(
    database: Database, own_access: Access, lead: Lead, superuser: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """R99"""
    leases = sorted([await lead("x"), await lead("y")], key=lambda lease: lease.thread)
    for lease in leases:
        await end(database, lease)
    first, second = (lease.thread for lease in leases)
    async with superuser() as above:
        await above.execute(
            "update runs set ended = now() - interval '8 days' where thread = any(%s)", [[first, second]]
        )
        await above.execute(_FULL)
        trigger = (
            f"create trigger full_up before insert on transcripts for each row execute function refuse_one('{first}')"
        )
        await above.execute(trigger.encode())
        try:
            with pytest.raises(psycopg.errors.RaiseException, match="no room"):
                await transcripts.sweep(database, limit=1000)
        finally:
            await above.execute("drop trigger full_up on transcripts; drop function refuse_one()")
    assert f"thread '{first}'" in caplog.text
    assert [transcript.thread for transcript in await transcripts.ls(database, own_access)] == [second]
