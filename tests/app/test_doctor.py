"""Diagnosis by `doctor`: the addresses of the settings in force, and whether housekeeping lives."""

import socket

import httpx2
import pytest

from app import doctor, housekeeping
from app.addresses import Addresses
from app.doctor import Diagnosis
from app.settings import Settings
from memory.maintenance import duties
from memory.postgres.database import Database
from memory.postgres.roles import Urls
from memory.scope import Access, Principal
from memory.store import write
from memory.store.models import Provenance
from memory.store.pruning import PruningPolicy
from tests.conftest import Connect

pytestmark = pytest.mark.anyio


async def examine_check(urls: Urls, check: str) -> Diagnosis:
    """Return one finding about the database."""
    addresses = Addresses(urls.app, None, None, is_embedded=False, worker=urls.worker)
    (result,) = [
        diagnosis for diagnosis in await doctor.examine_database(addresses, Settings()) if diagnosis.check == check
    ]
    return result


async def examine_api(**settings: object) -> Diagnosis:
    """Return what is found where the API should be."""
    (result,) = [
        diagnosis for diagnosis in await doctor.examine(Settings.model_validate(settings)) if diagnosis.check == "API"
    ]
    return result


async def test_it_looks_where_the_settings_say_the_api_is(api: str) -> None:
    finding = await examine_api(url=api)
    assert (finding.verdict, finding.found) == ("ok", f"answers at {api}")


async def test_a_port_that_somebody_else_has_is_no_place_for_us() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        finding = await examine_api(port=port)
    assert (finding.verdict, f"port {port}" in finding.found, "COUNTERSIGN_PORT" in finding.fix) == ("warn", True, True)
    assert (await examine_api(port=port)).found == f"not running; port {port} is free for it"


async def test_nobody_far_away_is_bound_to() -> None:
    """A reserved address, at which nothing can be started from here."""
    assert (
        await examine_api(url="http://localhost.invalid:9")
    ).found == "nothing answers at http://localhost.invalid:9"


async def test_it_says_whether_housekeeping_lives(urls: Urls, database: Database, superuser: Connect) -> None:
    """R91."""
    async with superuser() as above:
        await above.execute("delete from housekeeping")
        never = await examine_check(urls, "housekeeping")
        await housekeeping.tidy(database)
        lately = await examine_check(urls, "housekeeping")
        await above.execute("update housekeeping set done = now() - interval '3 days' where duty = 'full scopes'")
        long_ago = await examine_check(urls, "housekeeping")
        await duties.note(database, "full scopes", "ValueError")
        failing = await examine_check(urls, "housekeeping")
        await above.execute("delete from housekeeping")
    assert [diagnosis.verdict for diagnosis in (never, lately, long_ago, failing)] == ["warn", "ok", "warn", "warn"]
    assert (never.found, long_ago.found) == ("no worker has tidied yet", "last done 3 days ago")
    assert "full scopes (ValueError, 0 seconds ago)" in failing.found


async def test_it_counts_scopes_over_their_room(urls: Urls, database: Database, alice: Principal) -> None:
    """R94."""
    before = await duties.count_full_scopes(database, PruningPolicy(episodes=1))
    for body in ("the gate is green", "invoice 4711 was paid"):
        await write.remember(database, Access.of(alice), body, trust="human", provenance=Provenance())
    assert await duties.count_full_scopes(database, PruningPolicy(episodes=1)) == before + 1
    assert (await examine_check(urls, "room for memories")).verdict in {"ok", "warn"}


async def test_a_check_of_long_ago_or_of_tomorrow_is_none(
    urls: Urls, superuser: Connect, a: httpx2.AsyncClient, tenant: str
) -> None:
    async def set_time(time: str) -> tuple[str, str, str]:
        await above.execute(f"update evidence_checks set began = {time}, ended = {time}".encode())
        diagnosis = await examine_check(urls, "journal")
        return diagnosis.verdict, diagnosis.found.rpartition(", ")[2], (await a.get("/readyz")).json()["journal"]

    async with superuser() as above:
        await above.execute("delete from evidence_checks")
        await above.execute(
            "insert into evidence_checks (tenant, began, held) values (%s, now(), now() + interval '1 year')", [tenant]
        )
        now = await set_time("clock_timestamp()")
        late = await set_time("clock_timestamp() - interval '3 hours'")
        ahead = await set_time("clock_timestamp() + interval '3 hours'")
        await above.execute("delete from evidence_checks")
    assert now == ("ok", "last looked at 0 seconds ago", "held 0 seconds ago")
    assert late[:2] == ("warn", "last looked at 3 hours ago")
    assert ahead == ("warn", "not checked yet", "not checked yet")
