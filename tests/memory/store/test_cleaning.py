"""What older versions let files bring in is put right before the database refuses it."""

from pathlib import Path
from shutil import copyfile

import psycopg

from memory.postgres.migrate import MIGRATIONS, migrate
from memory.postgres.roles import Urls
from tests.memory.postgres.test_migrate import blank

__all__ = ["blank"]

_ROW = """
insert into memories (tenant, id, scope_kind, scope_id, body, digest, embedder, embedding, trust, provenance, speaker,
                      uses, told, created, expires, valid_from, valid_to, said)
values ('t', gen_random_uuid(), %s, 'a', 'x', repeat('0', 64), 'e', '[1]', 'human', '{}', 'b',
        %s, %s, %s, %s, %s, %s, %s)
"""
BAD = (
    ("user", -5, 1, "infinity", None, "2026-01-01", None, None),
    ("user", 0, -3, "-infinity", "infinity", "-infinity", "infinity", "-infinity"),
    ("run", 0, 0, "2026-01-01", "infinity", "4000-01-01 BC", "200000-01-01", "2026-01-01"),
    ("user", 7, 3, "2026-01-01", "2030-01-01", "2026-01-01", None, None),
)


async def test_counts_below_nothing_and_unreadable_times_are_mended_and_all_else_stays(
    blank: Urls, tmp_path: Path
) -> None:
    """R101: no row is lost, none gets an end that it had not."""
    for file in MIGRATIONS.glob("*.sql"):
        if file.name < "0036":
            copyfile(file, tmp_path / file.name)
    await migrate(blank.owner, folder=tmp_path)
    async with await psycopg.AsyncConnection.connect(blank.superuser, autocommit=True) as above:
        await above.execute("alter table memories disable trigger user")
        await above.execute("alter table memories drop constraint memories_uses")
        for row in BAD:
            await above.execute(_ROW, row)
        await above.execute("alter table memories enable trigger user")
        await migrate(blank.owner)
        found = await above.execute(
            "select uses, told, created < now(), extract(year from expires)::int, extract(year from valid_from)::int, "
            "valid_to, extract(year from said)::int from memories order by uses desc, scope_kind, expires, created"
        )
        rows = await found.fetchall()
    assert rows[0] == (7, 3, True, 2030, 2026, None, None)
    assert set(rows[1:]) == {
        (0, 1, True, 9998, 2, None, 2026),
        (0, 1, True, None, 2026, None, None),
        (0, 1, True, None, 2, None, None),
    }
