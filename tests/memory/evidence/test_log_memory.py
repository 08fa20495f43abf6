"""Memory of the signer: a log that its owner writes anew is signed no more, whatever SQL makes of it."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from memory.errors import Permanent
from memory.evidence import log
from memory.evidence.signing_key import SigningKey, draw
from memory.governance import journal
from memory.postgres.database import Database
from memory.runs.leases import Lease
from memory.scope import Principal
from tests.conftest import Connect, VirtualClock
from tests.tools.support import Desk, open_desk

pytestmark = pytest.mark.anyio
LOG = ("log_leaves", "log_heads")


@pytest.fixture
async def desk(database: Database, people: Mapping[str, Principal], clock: VirtualClock) -> Desk:
    return await open_desk(database, people, clock)


@pytest.fixture
async def lease(desk: Desk) -> Lease:
    return await desk.run()


async def grow(desk: Desk, lease: Lease, key: SigningKey | None) -> int:
    """Let a run grow and its log with it."""
    await journal.append(desk.database, lease.access, lease.run, {"kind": "note"})
    return await log.extend(desk.database, lease.access.principal.tenant, key)


async def rewrite(superuser: Connect, tenant: str, statement: str) -> None:
    """Execute a statement as the owner of the log, with its triggers off."""
    async with superuser() as above, above.transaction():
        for table in LOG:
            await above.execute(f"alter table {table} disable trigger user".encode())
        await above.execute("set local role cs_owner")
        await above.execute("select enter(%s, 'tests', '{}', '{}')", [tenant])
        for part in statement.split("; "):
            await above.execute(part.encode())
        await above.execute("reset role")
        for table in LOG:
            for act in ("change", "truncate"):
                await above.execute(f"alter table {table} enable always trigger {table}_no_{act}".encode())


AGAIN = (
    "delete from log_heads; delete from log_leaves; "
    "insert into journal_news (tenant, run) select r.tenant, r.id from runs r where r.seq > 0"
)
LEAF = "update log_leaves set text = replace(text, '\"seq\": ', '\"seq\":  ') where position = 0"


@pytest.mark.parametrize("is_new", [False, True], ids=["by the same process", "by its successor"])
async def test_a_log_that_was_made_again_gets_no_signature(
    desk: Desk, lease: Lease, superuser: Connect, tmp_path: Path, *, is_new: bool
) -> None:
    secret = draw()
    key = SigningKey.of(secret, tmp_path)
    assert [await grow(desk, lease, key) for _ in range(3)] == [1, 1, 1]
    await rewrite(superuser, lease.access.principal.tenant, AGAIN)
    with pytest.raises(Permanent, match="written anew") as error:
        await grow(desk, lease, SigningKey.of(secret, tmp_path) if is_new else key)
    assert error.value.code == "journal_broken"
    assert await desk.database.rows(lease.access, "select 1 from log_heads") == []


async def test_who_remembers_nothing_computes_the_log_from_its_beginning(
    desk: Desk, lease: Lease, superuser: Connect
) -> None:
    key = SigningKey.of(draw())
    await grow(desk, lease, key)
    await rewrite(superuser, lease.access.principal.tenant, LEAF)
    with pytest.raises(Permanent, match="written anew"):
        await grow(desk, lease, SigningKey.of(key.secret.hex()))


async def test_a_head_that_names_our_key_and_is_not_ours_is_not_followed(
    desk: Desk, lease: Lease, superuser: Connect
) -> None:
    key = SigningKey.of(draw())
    await grow(desk, lease, key)
    await rewrite(superuser, lease.access.principal.tenant, "update log_heads set signature = sha512('x')")
    with pytest.raises(Permanent, match="did not sign it"):
        await grow(desk, lease, SigningKey.of(key.secret.hex()))


async def test_a_memory_that_cannot_be_read_signs_nothing(desk: Desk, lease: Lease, tmp_path: Path) -> None:
    secret, tenant = draw(), lease.access.principal.tenant
    await grow(desk, lease, SigningKey.of(secret, tmp_path))
    for text in ("", "[]", '{"size": 3, "parts": []}', '{"size": 1, "parts": ["zz"]}'):
        (tmp_path / f"{tenant}.json").write_text(text)
        with pytest.raises(Permanent, match="cannot be read"):
            await grow(desk, lease, SigningKey.of(secret, tmp_path))


async def test_what_is_remembered_is_the_tree_alone(desk: Desk, lease: Lease, tmp_path: Path) -> None:
    key = SigningKey.of(draw(), tmp_path)
    for _ in range(5):
        await grow(desk, lease, key)
    state = json.loads((tmp_path / f"{lease.access.principal.tenant}.json").read_text())
    assert (state["size"], len(state["parts"])) == (6, 2)


async def test_two_processes_with_one_key_go_on_from_each_other(desk: Desk, lease: Lease) -> None:
    secret = draw()
    keys = [SigningKey.of(secret), SigningKey.of(secret)]
    for number in range(6):
        assert await grow(desk, lease, keys[number % 2]) == 1
