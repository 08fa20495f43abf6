"""Amounts of a database of the release before: what their rows say is kept, all else is of the accounts."""

import hashlib
import json
import shutil
from pathlib import Path

import psycopg

from app.bootstrap import FUNCTIONS
from memory.postgres.migrate import migrate
from memory.postgres.roles import Urls
from memory.postgres.sql_files import SCHEMA
from tests.memory.postgres.test_migrate import blank

__all__ = ["blank"]
ROWS = {
    "euros": ([{"amount": 1, "currency": "EUR"}, {"amount": 2, "currency": "EUR"}], "EUR"),
    "both": ([{"amount": 1, "currency": "EUR"}, {"amount": 2, "currency": "JPY"}], "*"),
    "open": ([{"amount": 1}], "*"),
    "odd": ([{"amount": 1, "currency": "euro"}], "*"),
    "texts": ([{"text": "no amount"}], ""),
}
"""Rows of a result by its name, and the currency that they have in common."""


def _handle(name: str) -> str:
    return "h_" + hashlib.sha256(name.encode()).hexdigest()[:24]


async def test_results_that_waiting_runs_stand_on_get_the_currency_of_their_rows(blank: Urls, tmp_path: Path) -> None:
    later = shutil.ignore_patterns("001[5-9]_*", "00[2-9]?_*")
    before = Path(shutil.copytree(SCHEMA, tmp_path / "schema", ignore=later))
    await migrate(blank.owner, (), schema=before)
    async with await psycopg.AsyncConnection.connect(blank.superuser) as connection:
        await connection.execute("insert into tenants (id) values ('t')")
        await connection.execute("insert into principals (tenant, id, limit_alone) values ('t', 'bob', 5)")
        for name, (rows, _) in ROWS.items():
            await connection.execute(
                "insert into results (tenant, handle, run, name, count, total, digest, shape) "
                "values ('t', %s, 'r', 'n', 1, 1, %s, '{}')",
                [_handle(name), "0" * 64],
            )
            for ord, row in enumerate(rows):
                values = [_handle(name), ord, json.dumps(row)]
                await connection.execute("insert into result_rows values ('t', %s, %s, 1, %s)", values)
    await migrate(blank.owner, FUNCTIONS)
    async with await psycopg.AsyncConnection.connect(blank.superuser) as connection:
        cursor = await connection.execute("select handle, currency from results order by handle")
        currencies = {str(handle): currency for handle, currency in await cursor.fetchall()}
        cursor = await connection.execute("select t.currency, p.limits from tenants t, principals p")
        accounts = await cursor.fetchone()
    assert currencies == {_handle(name): currency for name, (_, currency) in ROWS.items()}
    assert accounts == ("EUR", {})
