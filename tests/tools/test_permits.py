"""Permits: issued by a claim alone, good for one use of one request, and not to be forged by SQL."""

from typing import Any

import psycopg
import pytest

from memory.postgres.roles import Urls
from tests.conftest import Connect
from tests.tools.support import Desk, act

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    "statement",
    [
        "update runs set limit_calls = 99",
        "insert into effects select * from effects",
        "update effects set state = 'failed'",
        "insert into approvals select * from approvals",
        "update approvals set status = 'approved'",
        "update approval_items set consumed = null",
        "insert into votes select * from votes",
        "update journal set body = body",
        "insert into journal (tenant, run, seq, prev, hash, body) select tenant, run, 9, prev, hash, body from journal",
        "truncate journal",
        "update authority set policy = 'x'",
        "delete from kills",
        "select * from permits.permit",
        "select permits.consume('a', 'b', 'c')",
        "select permits.issue('e', 'r', false, '{}')",
        "select journal_extend('r', '{}')",
        "select close_approval('a', 'approved', null, 'bob', null)",
        "alter table journal disable trigger all",
        "set role cs_owner",
    ],
)
async def test_the_app_role_cannot_forge_by_sql(desk: Desk, statement: str) -> None:
    """R113 R126"""
    await desk.run()
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        async with desk.database.transaction(desk.access("bob")) as connection:
            await connection.execute(statement.encode())


async def test_permits_are_used_once_and_for_what_they_were_given(desk: Desk, urls: Urls, superuser: Connect) -> None:
    """R27"""
    lease = await desk.run()
    refusals: list[str | None] = []
    async with await psycopg.AsyncConnection.connect(urls.world, autocommit=True) as world:

        async def consume() -> None:
            permit = desk.shop.permits[-1]
            async with superuser() as connection:
                row = await (
                    await connection.execute("select tool, args_hash from permits.permit where jti = %s", [permit])
                ).fetchone()
            right = ((row or {})["tool"], (row or {})["args_hash"])
            for tool, args_hash in [("shop.undo", right[1]), (right[0], "0" * 64), right, right]:
                refusals.append(await _consume(world, permit, tool, args_hash))

        desk.shop.before = consume
        await desk.gateway.perform(lease, act(lease))
    assert refusals == ["CS403", "CS403", None, "CS401"]


async def test_permits_expire(desk: Desk, urls: Urls, superuser: Connect) -> None:
    """R27"""
    lease = await desk.run()
    codes: list[str | None] = []
    async with await psycopg.AsyncConnection.connect(urls.world, autocommit=True) as world:

        async def wait() -> None:
            async with superuser() as connection:
                await connection.execute(
                    "update permits.permit set expires = clock_timestamp() where jti = %s", [desk.shop.permits[-1]]
                )
            codes.append(await _consume(world, desk.shop.permits[-1], "shop.charge", ""))

        desk.shop.before = wait
        await desk.gateway.perform(lease, act(lease))
    assert codes == ["CS401"]


async def _consume(world: Any, permit: str | None, tool: str, args_hash: str) -> str | None:
    try:
        await world.execute("select * from permits.consume(%s, %s, %s)", [permit, tool, args_hash])
    except psycopg.Error as error:
        return error.sqlstate
    return None
