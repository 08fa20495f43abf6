"""Amounts of a database of the release before: what their rows say is kept, all else is of the accounts."""

import json
import shutil
from pathlib import Path

import psycopg
from psycopg.rows import dict_row

from app.bootstrap import FUNCTIONS
from memory.postgres.migrate import migrate
from memory.postgres.roles import Urls
from memory.postgres.sql_files import SCHEMA
from tests.memory.postgres.test_migrate import blank

__all__ = ["blank"]
ROWS = {
    "h_euros": [{"amount": 1, "currency": "EUR"}, {"amount": 2, "currency": "EUR"}],
    "h_both": [{"amount": 1, "currency": "EUR"}, {"amount": 2, "currency": "JPY"}],
    "h_open": [{"amount": 1}],
    "h_odd": [{"amount": 1, "currency": "euro"}],
    "h_texts": [{"text": "no amount"}],
}


async def test_results_that_waiting_runs_stand_on_get_the_currency_of_their_rows(blank: Urls, tmp_path: Path) -> None:
    before = Path(shutil.copytree(SCHEMA, tmp_path / "schema"))
    for path in before.glob("*.sql"):
        if path.name >= "0015":
            path.unlink()
    await migrate(blank.owner, (), schema=before)
    async with await psycopg.AsyncConnection.connect(blank.superuser, row_factory=dict_row) as connection:
        await connection.execute("insert into tenants (id) values ('t')")
        await connection.execute("insert into principals (tenant, id, limit_alone) values ('t', 'bob', 5)")
        for handle, rows in ROWS.items():
            await connection.execute(
                "insert into results (tenant, handle, run, name, count, total, digest, shape) "
                "values ('t', %s, 'r', 'n', 1, 1, '', '{}')",
                [handle],
            )
            for ord, row in enumerate(rows):
                values = [handle, ord, json.dumps(row)]
                await connection.execute("insert into result_rows values ('t', %s, %s, 1, %s)", values)
    await migrate(blank.owner, FUNCTIONS)
    async with await psycopg.AsyncConnection.connect(blank.superuser, row_factory=dict_row) as connection:
        cursor = await connection.execute("select handle, currency from results order by handle")
        currencies = {row["handle"]: row["currency"] for row in await cursor.fetchall()}
        cursor = await connection.execute("select t.currency, p.limits from tenants t, principals p")
        accounts = await cursor.fetchone()
    assert currencies == {"h_euros": "EUR", "h_both": "*", "h_open": "*", "h_odd": "*", "h_texts": ""}
    assert accounts == {"currency": "EUR", "limits": {}}
