"""Function files: applied whenever their text changes, all together or not at all, and noticed where they lack."""

from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from psycopg.rows import dict_row

from app.bootstrap import FUNCTIONS
from memory.errors import Permanent
from memory.postgres.database import Connection
from memory.postgres.migrate import migrate
from memory.postgres.roles import SYSTEM, Urls
from memory.postgres.schema_version import missing
from memory.postgres.sql_files import functions, migrations
from tests.memory.postgres.test_migrate import blank

__all__ = ["blank"]
Write = Callable[..., Path]

PRODUCT = "not exists (select 1 from pg_depend where objid = {}.oid and deptype = 'e')"
ACL = "(select array_agg(x::text order by x::text) from unnest({}) as x)"
CATALOGUE = f"""
select 'function', p.oid::regprocedure::text, pg_get_functiondef(p.oid), proowner::regrole::text, {ACL.format("proacl")}
  from pg_proc p where pronamespace in ('public'::regnamespace, 'permits'::regnamespace) and {PRODUCT.format("p")}
union all
select 'trigger', tgname, pg_get_triggerdef(oid), tgenabled::text, null from pg_trigger where not tgisinternal
union all
select 'schema', nspname, null, nspowner::regrole::text, {ACL.format("nspacl")} from pg_namespace
 where nspname in ('public', 'permits')
"""
REPLACEABLE = f"""
select p.oid::regprocedure::text as name from pg_proc p
 where pronamespace in ('public'::regnamespace, 'permits'::regnamespace) and {PRODUCT.format("p")}
   and not exists (select 1 from pg_depend d
                    where d.refobjid = p.oid and d.refclassid = 'pg_proc'::regclass
                      and d.classid in ('pg_policy'::regclass, 'pg_attrdef'::regclass))
   and proname <> 'entered' and prokind = 'f'
"""
"""What no policy, default or generated column needs; `entered` is needed by what those need."""


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a factory of folders with the given function files, by name."""

    def make(**files: str) -> Path:
        folder = tmp_path / "room"
        folder.mkdir(exist_ok=True)
        for name, text in files.items():
            (folder / f"{name}.sql").write_text(text)
        return folder

    return make


def answer_file(text: str, returns: str = "text") -> str:
    """Return a function file whose one function answers a text."""
    return f"create or replace function answer() returns {returns} language sql return '{text}';"


async def scalar(url: str, query: str) -> object:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        row = await (await connection.execute(query.encode())).fetchone()
    assert row is not None
    return row[0]


async def catalogue(url: str) -> set[tuple[object, ...]]:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        rows = await (await connection.execute(CATALOGUE.encode())).fetchall()
    return {tuple(map(str, row)) for row in rows}


async def lacks(urls: Urls, *folders: Path) -> list[str]:
    async with await Connection.connect(urls.app, row_factory=dict_row) as connection:
        return await missing(connection, folders)


async def test_edited_function_answers_anew_after_migrating_and_once_only(blank: Urls, write: Write) -> None:
    await migrate(blank.owner, [write(words=answer_file("old"))])
    assert await scalar(blank.owner, "select answer()") == "old"
    folder = write(words=answer_file("new"))
    assert await migrate(blank.owner, [folder]) == ("room/words.sql",)
    assert await scalar(blank.owner, "select answer()") == "new"
    assert await migrate(blank.owner, [folder]) == ()


async def test_only_files_that_changed_are_applied(blank: Urls, write: Write) -> None:
    await migrate(blank.owner, [write(words=answer_file("old"), others="select 1")])
    assert await migrate(blank.owner, [write(words=answer_file("new"))]) == ("room/words.sql",)


async def test_older_text_is_put_in_force_again(blank: Urls, write: Write) -> None:
    """A release that is rolled back brings its functions back."""
    for text in ("old", "new", "old"):
        await migrate(blank.owner, [write(words=answer_file(text))])
        assert await scalar(blank.owner, "select answer()") == text


async def test_failing_file_changes_no_function(blank: Urls, write: Write) -> None:
    await migrate(blank.owner, [write(before=answer_file("old"))])
    with pytest.raises(Permanent, match=r"'room/wrong\.sql' failed and no function changed"):
        await migrate(blank.owner, [write(before=answer_file("new"), wrong="select 1 / 0")])
    assert await scalar(blank.owner, "select answer()") == "old"
    assert await scalar(blank.owner, f"select has_schema_privilege('{SYSTEM}', 'public', 'create')") is False


async def test_other_answer_needs_another_name(blank: Urls, write: Write) -> None:
    await migrate(blank.owner, [write(words=answer_file("1"))])
    with pytest.raises(Permanent, match=r"'room/words\.sql' gives a function another answer, which needs another name"):
        await migrate(blank.owner, [write(words=answer_file("1", "int"))])


async def test_function_that_left_the_files_stays_until_a_numbered_file_drops_it(blank: Urls, write: Write) -> None:
    """Processes of the release before may still call it."""
    folder = write(words=answer_file("old"))
    await migrate(blank.owner, [folder])
    (folder / "words.sql").unlink()
    assert await migrate(blank.owner, [folder]) == ()
    assert await scalar(blank.owner, "select answer()") == "old"


async def test_what_a_database_lacks_is_named(blank: Urls, write: Write) -> None:
    assert (await lacks(blank, write(words=answer_file("old"))))[-1] == "room/words.sql"
    assert len(await lacks(blank)) == len(migrations())
    await migrate(blank.owner, [*FUNCTIONS, write(words=answer_file("old"))])
    assert await lacks(blank, *FUNCTIONS, write()) == []
    assert await lacks(blank, *FUNCTIONS, write(words=answer_file("new"))) == ["room/words.sql"]


async def test_processes_of_the_release_before_stay_ready(blank: Urls, write: Write) -> None:
    for text in ("old", "new"):
        await migrate(blank.owner, [*FUNCTIONS, write(words=answer_file(text))])
    assert await lacks(blank, *FUNCTIONS, write(words=answer_file("old"))) == []


async def test_database_from_before_the_first_release_is_refused(blank: Urls) -> None:
    async with await psycopg.AsyncConnection.connect(blank.owner, autocommit=True) as owner:
        await owner.execute("create table schema_migrations (name text primary key, hash text not null)")
        await owner.execute("insert into schema_migrations values ('0001_scope', 'x')")
    with pytest.raises(Permanent, match="move the data folder away, or give the address of an empty database"):
        await migrate(blank.owner, FUNCTIONS)


async def test_functions_dropped_and_applied_again_give_the_same_catalogue(blank: Urls) -> None:
    """R101: what stands in the function files is all there is of them."""
    await migrate(blank.owner, FUNCTIONS)
    before = await catalogue(blank.superuser)
    async with await psycopg.AsyncConnection.connect(blank.superuser) as above:
        names = [row[0] for row in await (await above.execute(REPLACEABLE.encode())).fetchall()]
        await above.execute(f"drop function {', '.join(names)} cascade".encode())
        await above.execute("delete from schema_functions")
    assert len(before - await catalogue(blank.superuser)) > len(names)
    assert len(await migrate(blank.owner, FUNCTIONS)) == len(functions(FUNCTIONS))
    assert await catalogue(blank.superuser) == before


async def test_a_function_that_is_gone_comes_back_once_its_files_are_forgotten(blank: Urls) -> None:
    """As docs/operating.md says of `record_refused`."""
    await migrate(blank.owner, FUNCTIONS)
    before = await catalogue(blank.superuser)
    async with await psycopg.AsyncConnection.connect(blank.owner, autocommit=True) as owner:
        await owner.execute("drop function claim(jsonb)")
        assert await migrate(blank.owner, FUNCTIONS) == ()
        await owner.execute("delete from schema_functions")
    await migrate(blank.owner, FUNCTIONS)
    assert await catalogue(blank.superuser) == before
