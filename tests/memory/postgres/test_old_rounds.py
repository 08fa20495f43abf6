"""A database of the release before, with a question that waits: its publishers become authors, its keys go on."""

from pathlib import Path

import psycopg
import pytest

from app.bootstrap import FUNCTIONS
from memory.postgres.migrate import migrate
from memory.postgres.roles import Urls
from memory.postgres.sql_files import SCHEMA
from tests.memory.postgres.test_migrate import blank

__all__ = ["blank"]

pytestmark = pytest.mark.anyio
ROWS = """
insert into tenants (id) values ('t'), ('u');
insert into principals (tenant, id, groups) values
  ('t', 'alice', '{}'), ('t', 'bob', '{finance}'), ('t', 'carol', '{finance}'), ('u', 'bob', '{finance}');
insert into keys (tenant, principal, hash) values ('t', 'bob', sha256('old'));
insert into knowledge (tenant, id, version, kind, title, body, digest, owner, review_by, published_by)
select tenant, id, 1, 'runbook', 'x', 'x', encode(sha256('x'), 'hex'), 'x', '2027-01-01', publisher
  from (values ('t', 'db.disk', 'bob'), ('t', 'db.shipped', 'countersign'), ('u', 'db.disk', 'bob'))
    v (tenant, id, publisher);
insert into runs (tenant, id, thread, requester, input, correlation, head, limit_tokens, limit_micros, limit_calls)
values ('t', 'r', 'r', 'alice', '{}', 'r', 'x', 0, 0, 0);
insert into approvals (tenant, id, run, round, requester, status, need, groups, requester_excluded, nonce, exposure,
                       step, plan_hash, policy, rules, pins, shown, expires, authors)
select 't', id, 'r', 1, 'alice', status, 1, '{finance}', true, 'n', 0, 's', 'p', 'p', '[]',
       '[{"id": "db.disk", "version": 1}, {"id": "db.shipped", "version": 1}]', '{}', now() + interval '1 hour',
       '{carol}'
  from (values ('open', 'open'), ('gone', 'rejected')) v (id, status);
"""
FORCED = """
select relname from pg_class
 where relname in ('approvals', 'knowledge', 'principals') and relforcerowsecurity order by 1
"""


async def test_whoever_published_before_the_upgrade_is_an_author_of_what_waits(blank: Urls, tmp_path: Path) -> None:
    for file in SCHEMA.glob("*.sql"):
        if file.name < "0016":
            (tmp_path / file.name).write_text(file.read_text())
    await migrate(blank.owner, (), schema=tmp_path)
    async with await psycopg.AsyncConnection.connect(blank.superuser, autocommit=True) as connection:
        await connection.execute(ROWS)
        await migrate(blank.owner, FUNCTIONS)
        rows = await (await connection.execute("select id, authors from approvals order by id")).fetchall()
        assert rows == [("gone", ["carol"]), ("open", ["bob", "carol"])]
        (key,) = await (await connection.execute("select standing from principal_of_key(sha256('old'))")).fetchall()
        rows = await (await connection.execute(FORCED)).fetchall()
        assert rows == [("approvals",), ("knowledge",), ("principals",)]
    assert key == ("valid",)
