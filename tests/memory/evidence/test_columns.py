"""Columns that repeat what a text says: whoever edits one is named, though no hash covers it."""

from collections.abc import Mapping
from dataclasses import asdict

import pytest

from memory.evidence.check import Check, check
from memory.evidence.columns import MOST
from tests.conftest import Connect
from tests.memory.evidence.test_check import Office, desk, office
from tests.tools.support import Desk

__all__ = ["desk", "office"]

pytestmark = pytest.mark.anyio
OF_RUN = "where run = '{run}' and seq = 2"
HEAD = "where tenant = '{tenant}' and number = 1"
LEAF = "where tenant = '{tenant}' and position = 1"
EDITS: Mapping[str, tuple[str, Mapping[str, str | int]]] = {
    f"journal: another {column}": (f"update journal set {column} = 'x' {OF_RUN}", {"run": "{run}", "seq": 2})
    for column in ("kind", "key", "effect", "call_hash", "author")
} | {
    "journal: no key": (
        "update journal set key = null where run = '{run}' and key = 'requested'",
        {"run": "{run}", "seq": 1},
    ),
    "log_leaves: another run": (f"update log_leaves set run = 'x' {LEAF}", {"position": 1}),
    "log_leaves: another number": (f"update log_leaves set seq = seq + 100 {LEAF}", {"position": 1}),
    "log_leaves: another frontier": (f"update log_leaves set frontier = sha256(frontier) {LEAF}", {"position": 1}),
    "log_leaves: its root alone": (
        f"update log_leaves set frontier = decode(text::jsonb ->> 'root', 'hex') {LEAF}",
        {"position": 1},
    ),
    "log_leaves: no frontier": (f"update log_leaves set frontier = '' {LEAF}", {"position": 1}),
    "log_heads: another size": (f"update log_heads set size = size + 1 {HEAD}", {"number": 1}),
    "log_heads: another frontier": (f"update log_heads set frontier = sha256(frontier) {HEAD}", {"number": 1}),
}


async def check_after(superuser: Connect, office: Office, *statements: str, run: str | None = None) -> Check:
    """Check as the app after edits by whoever owns the tables, which are taken back."""
    async with superuser() as above, above.transaction(force_rollback=True):
        await above.execute("set local session_replication_role = replica")
        for table in ("journal", "log_leaves", "log_heads"):
            await above.execute(f"alter table {table} disable trigger user".encode())
        for column in ("kind", "key", "effect", "call_hash"):
            await above.execute(f"alter table journal alter {column} drop expression".encode())
        for statement in statements:
            result = await above.execute(statement.format(**asdict(office)).encode())
            assert result.rowcount > 0
        await above.execute("set local role cs_owner")
        await above.execute("select enter(%s, 'tests', '{}', '{}')", [office.tenant])
        await above.execute("set local role cs_app")
        return await check(above, run)


async def test_plain_columns_that_agree_are_no_problem(desk: Desk, office: Office, superuser: Connect) -> None:
    assert (await check_after(superuser, office)).problems == ()


@pytest.mark.parametrize("edit", EDITS)
async def test_an_edited_column_is_named(desk: Desk, office: Office, superuser: Connect, edit: str) -> None:
    statement, place = EDITS[edit]
    (problem,) = (await check_after(superuser, office, statement)).problems
    named = {name: value.format(**asdict(office)) if isinstance(value, str) else value for name, value in place.items()}
    name = edit.rsplit(maxsplit=1)[-1]
    column = {"number": "seq", "alone": "frontier"}.get(name, name)
    assert {**named, "what": problem["what"]} == problem
    assert problem["what"].startswith(f"its columns {column}")


async def test_a_check_of_one_run_looks_at_its_own_columns(desk: Desk, office: Office, superuser: Connect) -> None:
    edit = f"update journal set kind = 'x' {OF_RUN}"
    places = {
        run: [problem["run"] for problem in (await check_after(superuser, office, edit, run=run)).problems]
        for run in (office.run, office.other)
    }
    assert places == {office.run: [office.run], office.other: []}


async def test_only_the_first_are_told(desk: Desk, office: Office, superuser: Connect) -> None:
    result = await check_after(superuser, office, "update journal set author = 'x' where tenant = '{tenant}'")
    assert 0 < len(result.problems) <= MOST


async def test_a_text_that_is_no_json_is_a_problem_and_no_end_of_the_check(
    desk: Desk, office: Office, superuser: Connect
) -> None:
    edits = [
        f"update journal set body = 'x' {OF_RUN}",
        f"update log_leaves set text = 'x' {LEAF}",
        f"update log_heads set text = '' {HEAD}",
    ]
    result = await check_after(superuser, office, *edits)
    assert {name for problem in result.problems for name in problem} >= {"seq", "position", "number"}
