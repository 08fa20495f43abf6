"""The duty that extends logs: for every tenant, whatever ails one of them, and noted for `doctor`."""

import asyncio
from collections.abc import Mapping

import pytest

from app import doctor, housekeeping
from app.addresses import Addresses
from app.settings import Settings
from app.worker import work
from memory.clock import SystemClock
from memory.evidence import log
from memory.evidence.check import check
from memory.evidence.signing_key import SigningKey, draw
from memory.governance.policy_version import installation
from memory.maintenance import duties
from memory.postgres.database import Database
from memory.postgres.roles import Urls
from memory.runs.queue import Queue
from memory.scope import Principal
from tests.app.test_doctor import examine_check
from tests.app.test_worker import stages, start_and_queue, wait_for_status, waiting
from tests.conftest import Connect, Connection, VirtualClock
from tests.graphs.stage import Stages, pay, plan
from tests.scenarios.waiting import until
from tests.tools.support import act, open_desk

__all__ = ["stages", "waiting"]

pytestmark = pytest.mark.anyio
KEY = SigningKey.of(draw())


@pytest.fixture(autouse=True)
async def _alone(superuser: Connect) -> None:
    """Take away news of tenants that other tests left, of which some cannot have a log: a duty looks at all of them."""
    async with superuser() as above:
        await above.execute("delete from journal_news")


async def test_a_worker_takes_what_its_runs_did_into_a_signed_log(
    stages: Stages, waiting: Queue, alice: Principal, database: Database
) -> None:
    async def taken_in() -> bool:
        return alice.tenant not in await log.tenants_with_news(database)

    stage = stages()
    task = asyncio.create_task(work(stage.database, waiting, stage.deps(), SystemClock(), lanes=2, key=KEY))
    async with asyncio.timeout(60):
        await wait_for_status(stage, await start_and_queue(stage, waiting, plan=plan(pay("a"))))
        await until(taken_in, "the log of the tenant")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    standing = await log.standing(database, installation(alice.tenant))
    assert standing
    assert (standing.key, standing.unsigned_heads) == (KEY.id, 0)


async def test_the_trouble_of_one_tenant_keeps_no_other_from_its_log(
    database: Database, people: Mapping[str, Principal], owner: Connection, clock: VirtualClock, tenant: str
) -> None:
    desk = await open_desk(database, people, clock)
    lease = await desk.run()
    await desk.gateway.perform(lease, act(lease))
    await owner.execute("insert into tenants (id) values (%s)", [f"a-{tenant}"])
    async with owner.transaction():
        await owner.execute("select enter(%s, 'tests', '{}', '{}')", [f"a-{tenant}"])
        await owner.execute('select journal_extend(authority_chain(), \'{"kind": "note"}\')')
    constraint = f"alter table log_leaves add constraint full_disk check (tenant <> 'a-{tenant}')"
    await owner.execute(constraint.encode())
    try:
        with pytest.raises(Exception, match="full_disk"):
            await housekeeping.extend_logs(database, KEY)
        news = await log.tenants_with_news(database)
    finally:
        await owner.execute("alter table log_leaves drop constraint full_disk")
    assert (tenant in news, f"a-{tenant}" in news) == (False, True)
    assert await housekeeping.extend_logs(database, KEY) >= 1


async def test_trouble_is_noted_and_so_is_its_end(
    database: Database, people: Mapping[str, Principal], urls: Urls, owner: Connection, clock: VirtualClock
) -> None:
    desk = await open_desk(database, people, clock)
    constraint = f"alter table log_leaves add constraint full_disk check (tenant <> '{people['alice'].tenant}')"
    await owner.execute(constraint.encode())
    try:
        await housekeeping.note_logs(database, KEY, quietly=True)
        trouble = (await examine_check(urls, "housekeeping")).found
    finally:
        await owner.execute("alter table log_leaves drop constraint full_disk")
    await desk.run()
    await housekeeping.note_logs(database, KEY, quietly=True)
    assert "log (CheckViolation" in trouble
    assert [duty.trouble for duty in await duties.ls(database) if duty.name == "log"] == [""]


async def test_doctor_says_whether_the_log_is_signed(
    database: Database, urls: Urls, people: Mapping[str, Principal], owner: Connection, tenant: str
) -> None:
    """For the tenant of the settings: by one key from the first head to the last."""
    other, remarks = SigningKey.of(draw()), list[str]()
    steps = [(KEY, "ok", KEY.id), (None, "warn", "unsigned"), (KEY, "warn", "1 of 3 heads are unsigned")]
    for key, verdict, words in [*steps, (other, "warn", "heads are signed by 2 keys")]:
        async with owner.transaction():
            await owner.execute("select enter(%s, 'tests', '{}', '{}')", [tenant])
            await owner.execute('select journal_extend(authority_chain(), \'{"kind": "note"}\')')
        await log.extend(database, tenant, key)
        found = await doctor.examine_database(
            Addresses(urls.app, None, None, is_embedded=False), Settings.model_validate({"tenant": tenant})
        )
        (diagnosis,) = [diagnosis for diagnosis in found if diagnosis.check == "signatures"]
        assert (words in diagnosis.found, diagnosis.verdict) == (True, verdict)
        assert bool(key) or "COUNTERSIGN_SIGNING_KEY" in diagnosis.fix
        async with database.snapshot(installation(tenant)) as connection:
            remarks.append("; ".join((await check(connection)).notes))
    assert remarks[:3] == ["", "1 of 2 heads are unsigned", "1 of 3 heads are unsigned"]
    assert [id in remarks[3] for id in (KEY.id, other.id)] == [True, True]
