"""Procedures of CONTRIBUTING for SQL: what they name is there, and following them changes the database."""

import re
import shutil
from pathlib import Path

import pytest

from app.bootstrap import FUNCTIONS
from memory.postgres.migrate import migrate
from memory.postgres.roles import Urls
from memory.postgres.sql_files import SCHEMA, functions, migrations
from tests.memory.postgres.test_function_files import scalar
from tests.memory.postgres.test_migrate import blank

__all__ = ["blank"]

HOUSE = Path(__file__).parents[3]
SECTION = (HOUSE / "CONTRIBUTING.md").read_text().partition("## SQL\n")[2].partition("\n## ")[0]
BLOCKS = [block.strip().splitlines() for block in re.findall(r"```sh\n(.*?)```", SECTION, re.DOTALL)]


@pytest.fixture
def schema(tmp_path: Path) -> Path:
    """Return a copy of the numbered files, to add one."""
    return Path(shutil.copytree(SCHEMA, tmp_path / "schema"))


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    """Return a copy of the function files of memory, to edit one."""
    for file in functions(FUNCTIONS[:1]):
        path = tmp_path / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file.text)
    return tmp_path / "memory"


def file_with(folder: Path, pattern: str) -> Path:
    """Return the one SQL file in which a pattern stands."""
    (path,) = [path for path in folder.rglob("*.sql") if pattern in path.read_text()]
    return path


def test_each_procedure_is_three_commands_of_this_house() -> None:
    assert [len(block) for block in BLOCKS] == [3, 3, 3]
    assert {block[1] for block in BLOCKS} == {".venv/bin/countersign migrate"}
    paths = re.findall(r"\b(?:memory|tests)/[\w/.]+", "\n".join("\n".join(block) for block in BLOCKS))
    assert [path for path in paths if not (HOUSE / path).exists()] == []


async def test_function_is_edited_where_it_stands(blank: Urls, memory: Path) -> None:
    await migrate(blank.owner, [memory, FUNCTIONS[1]])
    path = file_with(memory, BLOCKS[0][0].partition("'")[2].rstrip("'"))
    assert await scalar(blank.owner, "select trust_rank('human')") == 4
    # Whatever body stands there now, so that whoever edits it meets no second copy of it here.
    body = re.compile(r"(function trust_rank\([^$]*\$\$).*?(\$\$)", re.DOTALL)
    path.write_text(body.sub(r"\1 select 5 \2", path.read_text(), count=1))
    assert await migrate(blank.owner, [memory, FUNCTIONS[1]]) == (path.relative_to(memory.parent).as_posix(),)
    assert await scalar(blank.owner, "select trust_rank('human')") == 5
    assert await migrate(blank.owner, [memory, FUNCTIONS[1]]) == ()


async def test_table_is_changed_by_the_next_number(blank: Urls, schema: Path) -> None:
    await migrate(blank.owner, FUNCTIONS)
    name = f"{len(migrations()) + 1:04}_names"
    (schema / f"{name}.sql").write_text("alter table tenants add column name text not null default '';")
    assert await migrate(blank.owner, FUNCTIONS, schema=schema) == (name,)
    assert await scalar(blank.owner, "select count(name) from tenants") == 0
    assert await migrate(blank.owner, FUNCTIONS, schema=schema) == ()


async def test_policy_is_changed_by_its_whole_text(blank: Urls, schema: Path) -> None:
    await migrate(blank.owner, FUNCTIONS)
    pattern = BLOCKS[2][0].partition("'")[2].partition("'")[0]
    (original,) = [file.text for file in migrations() if f"create {pattern} " in file.text]
    text = f"create {pattern} " + original.partition(f"create {pattern} ")[2].partition(";")[0] + ";"
    name = f"{len(migrations()) + 1:04}_reads"
    (schema / f"{name}.sql").write_text(f"drop {pattern};\n{text.replace('using (', 'using (not pinned and ', 1)}")
    assert await migrate(blank.owner, FUNCTIONS, schema=schema) == (name,)
    query = "select qual from pg_policies where tablename = 'memories' and policyname = 'reads'"
    assert "NOT pinned" in str(await scalar(blank.owner, query))
