"""A database of the release before: its rows are adopted once, and from then on whoever edits them is named."""

from pathlib import Path

import psycopg
import pytest

from app.bootstrap import FUNCTIONS
from memory.evidence import log, rows
from memory.evidence.check import Check, check
from memory.governance.policy_version import installation
from memory.postgres.database import Database
from memory.postgres.migrate import migrate
from memory.postgres.roles import Urls
from memory.postgres.signing import admit
from memory.postgres.sql_files import SCHEMA
from tests.memory.postgres.test_migrate import blank

__all__ = ["blank"]

pytestmark = pytest.mark.anyio
ROWS = """
insert into tenants (id) values ('t');
insert into principals (tenant, id) values ('t', 'alice'), ('t', 'bob');
insert into keys (tenant, principal, hash) values ('t', 'alice', 'x');
insert into runs (tenant, id, thread, requester, input, correlation, seq, head, limit_tokens, limit_micros, limit_calls,
                  spent_calls)
select 't', id, id, 'alice', '{}', id, 0, sha256(convert_to('countersign journal ' || id, 'UTF8')), 9, 9, 9, 2
  from unnest(array['r', 's']) id;
insert into effects (tenant, id, run, step, role, tool, user_id, key, digest, args, args_hash, plan_hash, policy,
                     permit, fence, cost, state)
values ('t', 'e', 'r', 's', 'executor', 'shop.charge', 'alice', 'shop:a', '', '{}', '', '', '', '', 1, '{}', 'done');
"""


async def verify(database: Database) -> Check:
    await log.extend(database, "t", None)
    async with database.snapshot(installation("t")) as connection:
        return await check(connection)


async def test_rows_from_before_the_upgrade_are_adopted_once(blank: Urls, tmp_path: Path) -> None:
    for file in SCHEMA.glob("*.sql"):
        if file.name < "0020":
            (tmp_path / file.name).write_text(file.read_text())
    await migrate(blank.owner, (), schema=tmp_path)
    async with await psycopg.AsyncConnection.connect(blank.superuser, autocommit=True) as above:
        await above.execute(ROWS)
        await migrate(blank.owner, FUNCTIONS)
        assert [await rows.adopt(blank.owner), await rows.adopt(blank.owner)] == [2, 0]
        await admit(blank.owner, blank.app)
        database = await Database.open(blank.app, size=2, worker_url=blank.worker)
        try:
            result = await verify(database)
            assert (result.problems, result.counts["rows"]) == ((), 6)
            await above.execute("update effects set amount = 9; update runs set spent_calls = 0 where id = 's'")
            places = [problem.get("key") or problem.get("run") for problem in (await verify(database)).problems]
        finally:
            await database.close()
    assert {*places} == {"e", "s"}
