"""Forgetting with `--scrub`: rows, files and log are rewritten, searched, and each is said to be clean or not."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from app import bootstrap, scrub
from app.addresses import addresses_of
from app.settings import Settings
from memory.errors import Permanent
from memory.maintenance import remains
from memory.maintenance.remains import Remains
from memory.postgres.database import Database
from memory.postgres.embedded import attach
from memory.postgres.roles import Urls
from memory.scope import Access, Principal, Scope
from memory.store import erasure, write
from memory.store.models import Provenance

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
TEXTS = 30


@pytest.fixture
def installation(passable: Path) -> Settings:
    """Return the settings of an installation with a server of its own."""
    settings = Settings(data_dir=passable / "data")
    with addresses_of(settings) as addresses:
        asyncio.run(bootstrap.set_up(settings, addresses))
    return settings


async def remember(url: str, tenant: str, texts: list[str], person: str = "alice") -> None:
    scope = Scope("user", person)
    access = Access(Principal(tenant, person), (scope,), scope)
    database = await Database.open(url, size=1)
    for text in texts:
        await write.remember(database, access, text, trust="human", provenance=Provenance(principal=person))
    await database.close()


async def erase(url: str, tenant: str) -> Mapping[str, Any]:
    database = await Database.open(url, size=1)
    receipt = await erasure.forget_person(database, Principal(tenant, "alice"), requester="alice")
    await database.close()
    return {"person": receipt.person, "counts": receipt.counts}


def canaries() -> list[str]:
    return [f"the canary{uuid4().hex} sings number {number} in Porto" for number in range(TEXTS)]


def files_with(folder: Path, texts: list[str]) -> set[str]:
    """Return the files that hold one of these texts in clear, looked for by other means than the product's."""
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and any(text.encode() in path.read_bytes() for text in texts)
    }


def test_rows_files_and_log_are_clean_afterwards_and_said_to_be(installation: Settings) -> None:
    """Of texts that stood in files and in the log, none stands anywhere below the data folder."""
    texts = canaries()
    with attach(installation.data_dir) as server:
        app = server.urls.app
        asyncio.run(remember(app, installation.tenant, texts))
        before = files_with(installation.data_dir, texts)
        result = scrub.forget(installation, "alice", lambda: asyncio.run(erase(app, installation.tenant)))
        after = files_with(installation.data_dir, texts)
    assert any("/pg_wal/" in name for name in before)
    assert after == set()
    states = {name: place.state for name, place in result["places"].items()}
    assert (states, result["texts"]) == ({"rows": "clean", "files": "clean", "log": "clean"}, TEXTS)


def test_what_stays_is_said_with_its_place(installation: Settings) -> None:
    """A colleague said the same, and a file of ours holds a text."""
    (text, *_) = texts = canaries()
    with attach(installation.data_dir) as server:
        app = server.urls.app
        asyncio.run(remember(app, installation.tenant, texts))
        asyncio.run(remember(app, installation.tenant, [text], person="bob"))
        (installation.data_dir / "logs").mkdir(exist_ok=True)
        (installation.data_dir / "logs" / "worker.log").write_text(f"somebody logged {text}")
        result = scrub.forget(installation, "alice", lambda: asyncio.run(erase(app, installation.tenant)))
    rows, files = result["places"]["rows"], result["places"]["files"]
    assert (rows.state, "public.memories" in rows.why) == ("not clean", True)
    assert (files.state, "logs/worker.log" in files.why) == ("not clean", True)


def test_an_outside_server_is_rewritten_and_its_files_are_not_claimed_clean(
    own: Urls, tmp_path: Path, tenant_of_own: str
) -> None:
    settings = Settings.model_validate(
        {"data_dir": tmp_path, "tenant": tenant_of_own, "database_url": own.app, "database_owner_url": own.owner}
    )
    asyncio.run(remember(own.app, tenant_of_own, canaries()))
    result = scrub.forget(settings, "alice", lambda: asyncio.run(erase(own.app, tenant_of_own)))
    states = {name: place.state for name, place in result["places"].items()}
    assert states == {"rows": "clean", "files": "not looked at", "log": "not looked at"}
    assert all(place.next for name, place in result["places"].items() if name != "rows")


def test_nothing_is_forgotten_without_the_owners_address(own: Urls, tmp_path: Path) -> None:
    settings = Settings.model_validate({"data_dir": tmp_path, "database_url": own.app})
    with pytest.raises(Permanent, match="COUNTERSIGN_DATABASE_OWNER_URL"):
        scrub.forget(settings, "alice", lambda: pytest.fail("this must not be reached"))


@pytest.fixture(scope="module")
def own(clone: Callable[[str], Urls], worker_id: str) -> Urls:
    """Return a database of our own, whose tables may be locked."""
    return clone(f"scrub_{worker_id}")


@pytest.fixture
def tenant_of_own(own: Urls, tmp_path: Path) -> str:
    """Return a tenant with people in it."""
    name = f"t-{uuid4().hex[:12]}"
    settings = Settings.model_validate(
        {"data_dir": tmp_path, "tenant": name, "database_url": own.app, "database_owner_url": own.owner}
    )
    with addresses_of(settings) as addresses:
        asyncio.run(bootstrap.set_up(settings, addresses))
    return name


def test_a_piece_across_two_blocks_is_seen(tmp_path: Path) -> None:
    piece = b"a canary of some length"
    (tmp_path / "segment").write_bytes(b"\0" * ((1 << 20) - 5) + piece + b"\0" * 100)
    assert remains.in_files(tmp_path, Remains("t", frozenset([piece]))) == {"segment": {piece}}
