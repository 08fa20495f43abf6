"""A database of the release before: its chains come into the log, without anything new happening in them."""

from pathlib import Path

import psycopg
import pytest

from app.bootstrap import FUNCTIONS
from memory.evidence import log
from memory.evidence.signing_key import SigningKey, draw
from memory.postgres.database import Database
from memory.postgres.migrate import migrate
from memory.postgres.roles import Urls
from memory.postgres.signing import admit
from memory.postgres.sql_files import SCHEMA
from tests.memory.evidence.test_log import verify_log
from tests.memory.postgres.test_migrate import blank

__all__ = ["blank"]

pytestmark = pytest.mark.anyio
ROWS = """
insert into tenants (id) values ('t'), ('u');
insert into principals (tenant, id) values ('t', 'alice'), ('u', 'alice');
insert into runs (tenant, id, thread, requester, input, correlation, seq, head, limit_tokens, limit_micros, limit_calls)
select tenant, id, id, 'alice', '{}', id, 3, 'x', 0, 0, 0
  from (values ('t', 'r'), ('t', 's'), ('u', 'v')) v (tenant, id);
insert into journal (tenant, run, seq, prev, hash, body)
select r.tenant, r.id, n, 'x', sha256(convert_to(r.id || n, 'UTF8')), '{"kind": "note"}'
  from runs r, generate_series(1, 3) n;
"""
FORCED = "select relforcerowsecurity from pg_class where relname in ('journal', 'journal_news')"


async def test_chains_from_before_the_upgrade_are_taken_in(blank: Urls, tmp_path: Path) -> None:
    for file in SCHEMA.glob("*.sql"):
        if file.name < "0021":
            (tmp_path / file.name).write_text(file.read_text())
    await migrate(blank.owner, (), schema=tmp_path)
    async with await psycopg.AsyncConnection.connect(blank.superuser, autocommit=True) as connection:
        await connection.execute(ROWS)
        await migrate(blank.owner, FUNCTIONS)
        assert await (await connection.execute(FORCED)).fetchall() == [(True,), (True,)]
    await admit(blank.owner, blank.app)
    database, key = await Database.open(blank.app, size=2, worker_url=blank.worker), SigningKey.of(draw())
    try:
        assert await log.tenants_with_news(database) == ["t", "u"]
        for tenant in ("t", "u"):
            await log.extend(database, tenant, key)
        leaves = [leaf["run"] for leaf in await verify_log(database, "t", key)]
    finally:
        await database.close()
    assert leaves == ["authority-t", "r", "s"]
