"""Signatures of functions: what a database of the release before has stands unchanged, or a numbered file drops it.

`signatures.txt` lists them as of the last release; Postgres refuses to replace a function under other argument names or
with another result, so that an edit which works on an empty database may fail on a full one.
"""

from pathlib import Path

import psycopg

from memory.postgres.roles import Urls
from memory.postgres.sql_files import migrations

RELEASED = (Path(__file__).parent / "signatures.txt").read_text().splitlines()
QUERY = """
select p.oid::regprocedure::text || ' (' || pg_get_function_arguments(p.oid) || ') -> ' || pg_get_function_result(p.oid)
  from pg_proc p where pronamespace in ('public'::regnamespace, 'permits'::regnamespace) and prokind = 'f'
   and not exists (select 1 from pg_depend where objid = p.oid and deptype = 'e')
"""


async def test_what_a_database_of_the_release_before_has_is_kept_or_dropped_by_name(urls: Urls) -> None:
    async with await psycopg.AsyncConnection.connect(urls.superuser) as connection:
        rows = await (await connection.execute(QUERY)).fetchall()
    current = {str(row[0]) for row in rows}
    drops = "\n".join(file.text for file in migrations())
    names = {line: line.partition("(")[0] for line in RELEASED if line not in current}
    assert [line for line, name in names.items() if f"drop function if exists {name}(" not in drops] == []
