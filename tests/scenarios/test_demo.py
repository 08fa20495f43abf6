"""Demo as a newcomer starts it, on a smaller business; a database with foreign content is refused."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import psycopg
import pytest

from memory.postgres.roles import Urls

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
KEYS = {
    *("refunds", "duplicate_effects", "escalated", "manual", "lookalikes_touched", "naive_duplicate_effects"),
    *("expected", "approvals", "kills_survived", "journal_verified", "checkpoint_bytes", "seconds", "recovery_seconds"),
}


async def play(folder: Path, *arguments: str, **variables: str) -> tuple[int | None, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(str(Path(sys.executable).with_name("countersign")), "demo", "--json", *arguments),
        env={**os.environ, "COUNTERSIGN_DATA_DIR": str(folder), **variables}, stdout=PIPE, stderr=PIPE,
    )  # fmt: skip
    out, log = await process.communicate()
    return process.returncode, out.decode(), log.decode()


async def test_the_demo_proves_itself(passable: Path) -> None:
    """R70 R77"""
    code, out, log = await play(passable, "--customers=900", "--seed=7")
    result = json.loads(out)
    assert code == 0, log
    assert result.keys() >= KEYS
    assert {name: result[name] for name in result["expected"]} == result["expected"]
    assert result["approvals"] == {"asked": 3, "voided": 1, "decided": 2}


async def test_the_demo_leaves_a_database_alone_that_holds_something(tmp_path: Path, urls: Urls) -> None:
    outside = {
        "COUNTERSIGN_DATABASE_URL": urls.app,
        "COUNTERSIGN_DATABASE_OWNER_URL": urls.owner,
        "COUNTERSIGN_WORLD_DATABASE_URL": urls.world,
    }
    code, out, log = await play(tmp_path, **outside)
    assert (code, json.loads(out)["error"]["code"]) == (1, "configuration")
    assert "public.approvals" in log
    with psycopg.connect(urls.superuser) as connection:
        schemas = connection.execute("select count(*) from pg_namespace where nspname like 'naive%'").fetchone()
    assert schemas == (0,)
