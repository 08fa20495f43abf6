"""History in bulk, and the blocks that statements touch with it and without: `python -m tests.bench.history`.

Blocks are counted by the server (pg_stat_statements), whatever else the machine does. One finished run is copied as
often as wanted, with all that it left; the copies are not chained, since nothing that is counted here looks at chains.
"""

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from psycopg import AsyncConnection

from app import housekeeping
from app.worker import Driver
from memory.clock import SystemClock
from memory.evidence import checks, log
from memory.governance import approvals, journal
from memory.maintenance import duties, reembedding
from memory.runs import outcomes, records, transcripts
from memory.store import context, search
from tests.bench.governed import Shopping, activate, shopping, start
from tests.bench.ground import Ground, open_ground
from tools import effects

RUNS, PAGE = 10_000, 120
"""Finished runs of one person: many, and so many that every list has a page."""
ROOM = 400
"""Notes that stay of them in each scope; what is beyond a scope's room was pruned into the archive."""
SAMPLE = 4
"""How often each part is done while blocks are counted."""
SETTINGS = {"shared_preload_libraries": "pg_stat_statements"}
"""What a server needs for the count."""
_EXTENSION = "create extension if not exists pg_stat_statements"
_BLOCKS = """
select queryid::text, max(regexp_replace(query, '\\s+', ' ', 'g')), sum(calls)::bigint,
       sum(shared_blks_hit + shared_blks_read)::bigint
  from pg_stat_statements where toplevel and dbid = (select oid from pg_database where datname = current_database())
   and query !~ 'pg_stat_statements' group by 1
"""
_COLUMNS = """
select attname from pg_attribute where attrelid = %s::regclass and attnum > 0 and not attisdropped
   and attgenerated = '' order by attnum
"""
_IDS = {"id": "t.id || '-' || n"}
_RUN = {"run": "t.run || '-' || n"}
_THREAD = {"thread_id": "t.thread_id || '-' || n"}
_OF_NOTES = f"t.memory = any(%(notes)s) and n <= {ROOM}"
_COPIES: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "runs": (
        "t.id = %(run)s",
        {
            **_IDS,
            "thread": "t.thread || '-' || n",
            "created": "t.created - n * interval '1 minute'",
            "ended": "t.ended - n * interval '1 minute'",
        },
    ),
    "journal": ("t.run = %(run)s", _RUN),
    "effects": ("t.run = %(run)s", {**_RUN, **_IDS, "key": "t.key || '-' || n"}),
    "approvals": ("t.run = %(run)s and n %% 5 = 0", {**_RUN, **_IDS}),
    "votes": ("t.approval = 'approval' and n %% 5 = 0", {"approval": "t.approval || '-' || n"}),
    "log_leaves": ("t.run = %(run)s", {**_RUN, "position": "1000000 + n * 100 + t.position"}),
    "checkpoints": ("t.thread_id = %(run)s", _THREAD),
    "checkpoint_blobs": ("t.thread_id = %(run)s", _THREAD),
    "checkpoint_writes": ("t.thread_id = %(run)s", _THREAD),
    "memories": (
        f"t.provenance ->> 'run' = %(run)s and n <= {ROOM}",
        {
            "id": "md5(t.id::text || n)::uuid",
            "key": "t.key || '-' || n",
            "provenance": "jsonb_set(t.provenance, '{run}', to_jsonb((t.provenance ->> 'run') || '-' || n))",
            "created": "t.created - n * interval '1 minute'",
        },
    ),
    "memory_postings": (_OF_NOTES, {"memory": "md5(t.memory::text || n)::uuid"}),
    "memory_marks": (_OF_NOTES, {"memory": "md5(t.memory::text || n)::uuid", "mark": "t.mark || '-' || n"}),
}
"""By table: which rows of the finished run are copied, and what differs between the copies."""
_APPROVAL = """
insert into approvals (tenant, id, run, round, requester, status, need, groups, requester_excluded, nonce, exposure,
                       step, plan_hash, policy, rules, pins, shown, expires, decided)
select r.tenant, 'approval', r.id, 1, r.requester, 'approved', 1, '{finance}', true, 'nonce', 1, 'act', r.plan_hash,
       '', '[]', '[]', '[]', r.ended, r.ended from runs r where r.id = %(run)s
on conflict do nothing
"""
_ARCHIVE = f"""
insert into memory_archive (tenant, id, scope, content, reason, policy, pruned_by, retained_until)
select m.tenant, md5(m.id::text || n)::uuid, m.scope, to_jsonb(m) - 'embedding', 'room', 'policy', 'housekeeping',
       now() + interval '1 day' from memories m, generate_series(greatest(%(first)s, {ROOM + 1}), %(last)s::int) n
 where m.id = any(%(notes)s)
"""
_VOTE = """
insert into votes (tenant, approval, approver, decision, reason, channel, nonce)
select tenant, id, 'bob', 'approve', '', 'console', nonce from approvals where id = 'approval'
on conflict do nothing
"""


async def fill(superuser: str, run: str, last: int, first: int = 1) -> None:
    """Copy a finished run with all that it left, numbered, each copy a minute older, and have the server look at it."""
    async with await AsyncConnection.connect(superuser, autocommit=True) as above:
        # Neither triggers nor foreign keys: rows are copied that stood against both once.
        await above.execute("set session_replication_role = replica")
        rows = await (await above.execute("select id from memories where provenance ->> 'run' = %s", [run])).fetchall()
        values = {"run": run, "first": first, "last": last, "notes": [str(id) for (id,) in rows]}
        for statement in (_APPROVAL, _VOTE, _ARCHIVE):
            await above.execute(statement.encode(), values)
        for table, (where, changes) in _COPIES.items():
            names = [str(name) for (name,) in await (await above.execute(_COLUMNS, [table])).fetchall()]
            columns = ", ".join(changes.get(name, f't."{name}"') for name in names)
            quoted = ", ".join(f'"{name}"' for name in names)
            copies = f"select {columns} from {table} t, generate_series(%(first)s::int, %(last)s::int) n where {where}"
            await above.execute(f"insert into {table} ({quoted}) {copies}".encode(), values)
    await vacuum(superuser)


async def vacuum(superuser: str) -> None:
    """Have the server clean all tables and look at them, as it does by itself after a while."""
    async with await AsyncConnection.connect(superuser, autocommit=True) as above:
        await above.execute("vacuum analyze")


@dataclass(frozen=True, slots=True)
class StatementBlocks:
    """Calls of a statement and the shared blocks that they touched."""

    query: str
    calls: int
    blocks: int

    @property
    def per_call(self) -> float:
        """Return blocks per call."""
        return self.blocks / max(self.calls, 1)


_NEVER = StatementBlocks("", 0, 0)


class Workload:
    """What an installation does every minute, over the shop of the benchmarks."""

    def __init__(self, ground: Ground, shop: Shopping) -> None:
        self._ground = ground
        self._driver = Driver(ground.database, shop.deps(), SystemClock(), 0)

    async def drive(self) -> str:
        """Drive one run of a read and a write to its end; returns its id."""
        run = await start(self._ground.database, self._ground.access)
        await self._driver.drive(run)
        return run

    async def look(self, run: str) -> None:
        """Ask for a run and for every list that people and clients ask for."""
        database, access = self._ground.database, self._ground.access
        await records.get(database, access, run)
        await records.ls(database, access, limit=20)
        async with database.transaction(access) as connection:
            await records.thread_state(connection, run)
        await journal.read(database, access, run)
        await outcomes.steps(database, access, run)
        await effects.ls(database, access, limit=20)
        await effects.ls(database, access, run=run)
        await effects.ls(database, access, state="in_doubt")
        await approvals.ls(database, access, limit=20)
        await approvals.ls(database, access, status="open", limit=20)
        await approvals.ls(database, access, run=run)
        await search.ls(database, access, limit=20)
        await context.last_outcomes(database, access, "bench")
        await transcripts.ls(database, access, limit=20)

    async def keep_house(self) -> None:
        """Do each background duty once, and ask what `doctor` asks."""
        database = self._ground.database
        await housekeeping.sweep(database)
        await housekeeping.tidy(database)
        await housekeeping.extend_logs(database, None)
        await log.standing(database, self._ground.access)
        await duties.count_full_scopes(database)
        await duties.ls(database)
        await reembedding.backlog(database, "lexical-1024-v1")
        await checks.standings(database)


Parts = Mapping[str, Mapping[str, StatementBlocks]]
"""Blocks by statement, of runs, lists and duties."""


async def measure(ground: Ground, runs: int) -> tuple[Parts, Parts]:
    """Return the blocks of a few runs, lists and duties, beside a page of finished runs and beside so many."""
    shop = shopping(ground.database)
    await activate(ground.database, ground.access, shop.policy)
    workload, superuser = Workload(ground, shop), ground.server.urls.superuser
    sample = await workload.drive()
    await fill(superuser, sample, PAGE)
    few = await _parts(workload, superuser)
    await fill(superuser, sample, runs, PAGE + 1)
    return few, await _parts(workload, superuser)


async def _parts(workload: Workload, superuser: str) -> Parts:
    for _ in range(2):
        await workload.look(await workload.drive())
        await workload.keep_house()
        # What was tidied now is not what a minute costs.
        await vacuum(superuser)
    sample = await workload.drive()
    works = {"runs": workload.drive, "lists": lambda: workload.look(sample), "duties": workload.keep_house}
    return {name: await _count(work, superuser) for name, work in works.items()}


async def _count(work: Callable[[], Awaitable[object]], superuser: str) -> Mapping[str, StatementBlocks]:
    # Once before, for whatever plans are made anew.
    await work()
    async with await AsyncConnection.connect(superuser, autocommit=True) as above:
        await above.execute(_EXTENSION)
        await above.execute("select pg_stat_statements_reset()")
        for _ in range(SAMPLE):
            await work()
        rows = await (await above.execute(_BLOCKS)).fetchall()
    return {str(id): StatementBlocks(str(query), int(calls), int(blocks)) for id, query, calls, blocks in rows}


def total(blocks: Mapping[str, StatementBlocks]) -> float:
    """Return the blocks of one run, one look at all lists, or one round of duties."""
    return sum(statement.blocks for statement in blocks.values()) / SAMPLE


async def _measure_alone(runs: int) -> tuple[Parts, Parts]:
    async with open_ground(SETTINGS) as ground:
        return await measure(ground, runs)


def main() -> None:
    """Measure and print one line for each statement that grew, the dearest growth first."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.history", description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS, help="finished runs of one person")
    few, many = asyncio.run(_measure_alone(parser.parse_args().runs))
    for part, after in many.items():
        before = few[part]
        growths = {id: (now.blocks - before.get(id, _NEVER).blocks) / SAMPLE for id, now in after.items()}
        ratio = total(after) / total(before)
        sys.stdout.write(f"{part}: {total(before):.0f} blocks, {total(after):.0f} then: {ratio:.2f} x\n")
        for id in sorted(growths, key=lambda id: -growths[id]):
            old, now = before.get(id, _NEVER), after[id]
            sys.stdout.write(
                f"{growths[id]:10.1f} {old.per_call:8.1f} {now.per_call:8.1f} x{now.calls:3} {now.query[:190]}\n"
            )


if __name__ == "__main__":
    main()
