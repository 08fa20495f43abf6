"""Memories: written where the access says, found at once, gone when they should be."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from memory.embeddings.embedder import Embedding
from memory.embeddings.lexical import LEXICAL
from memory.errors import Permanent
from memory.postgres.database import Database
from memory.runs import outcomes
from memory.runs.outcomes import RunOutcome
from memory.scope import Access, Principal, Scope
from memory.store import context, erasure, search, write
from memory.store.models import Memory, Provenance

pytestmark = pytest.mark.anyio
Remember = Callable[..., Awaitable[Memory]]
SOURCE = Provenance(principal="alice")


@pytest.fixture
def own_access(alice: Principal) -> Access:
    return Access.of(alice)


@pytest.fixture
def remember(database: Database, own_access: Access) -> Remember:
    async def keep(body: str, access: Access = own_access, **options: Any) -> Memory:
        return await write.remember(database, access, body, trust="human", provenance=SOURCE, **options)

    return keep


async def bodies(database: Database, access: Access, query: str, **options: Any) -> list[str]:
    answer = await search.recall(database, access, query, **options)
    return [hit.memory.body for hit in answer.hits]


async def row_count(connect: Any, tenant: str) -> int:
    async with connect() as above:
        row = await (await above.execute("select count(*) as n from memories where tenant = %s", [tenant])).fetchone()
        return row["n"]


async def test_what_was_written_is_found_at_once_with_its_origin(
    database: Database, own_access: Access, remember: Remember
) -> None:
    """R93: read your write."""
    origin = Provenance("r1", "s1", "c1", "alice", "ab", ("m1",), {"n": 1})
    memory_row = await write.remember(database, own_access, "prefers a weekly digest", trust="tool", provenance=origin)
    (hit,) = (await search.recall(database, own_access, "weekly digest")).hits
    assert (hit.memory, hit.memory.provenance, hit.memory.trust) == (memory_row, origin, "tool")
    assert hit.score == round(sum(hit.explain.values()), 6)


async def test_best_match_comes_first_and_ties_are_newest_first(
    database: Database, own_access: Access, remember: Remember
) -> None:
    """R93: the order is deterministic."""
    twins = [await remember("the invoice job ran twice", key=key) for key in ("monday", "friday")]
    await remember("the invoice was late")
    answer = await search.recall(database, own_access, "invoice job twice")
    assert [hit.memory.id for hit in answer.hits[:2]] == [twins[1].id, twins[0].id]
    assert [hit.score for hit in answer.hits] == sorted((hit.score for hit in answer.hits), reverse=True)


async def test_a_miss_says_what_was_hidden(database: Database, own_access: Access, remember: Remember) -> None:
    await remember("owner of billing is Ann", key="owner")
    await remember("owner of billing is Ben", key="owner")
    await remember("gone", ttl=timedelta(0))
    answer = await search.recall(database, own_access, "zebra")
    assert (answer.hits, answer.unrelated_count, answer.superseded_count, answer.expired_count) == ((), 1, 1, 1)


async def test_a_limit_and_a_choice_of_scopes_narrow_the_search(
    database: Database, own_access: Access, remember: Remember
) -> None:
    for n in range(4):
        await remember(f"note {n} on billing")
    assert len(await bodies(database, own_access, "billing", limit=2)) == 2
    assert await bodies(database, own_access, "billing", scopes=[context.SHARED_SCOPE]) == []


async def test_same_subject_supersedes_and_never_returns(
    database: Database, own_access: Access, remember: Remember
) -> None:
    await remember("notify by mail", key="notify")
    await remember("notify by phone", key="notify")
    assert await bodies(database, own_access, "notify mail phone") == ["notify by phone"]


async def test_concurrent_writers_of_a_subject_leave_one_current(
    database: Database, own_access: Access, remember: Remember
) -> None:
    await asyncio.gather(*(remember(f"version {n}", key="subject") for n in range(8)))
    assert len(await search.ls(database, own_access)) == 1


async def test_expired_rows_are_hidden_at_once_and_deleted_by_a_sweep(
    database: Database, own_access: Access, remember: Remember, superuser: Any
) -> None:
    """R91: gone within one sweep; nobody needs the sweep to be right."""
    memory_row = await remember("short lived", ttl=timedelta(0))
    await remember("long lived", ttl=timedelta(days=1))
    assert [m.body for m in await search.ls(database, own_access)] == ["long lived"]
    assert memory_row.body not in await bodies(database, own_access, "short lived")
    while await erasure.sweep(database):
        pass
    assert await row_count(superuser, own_access.principal.tenant) == 1


async def test_working_memory_always_expires(database: Database, alice: Principal, remember: Remember) -> None:
    """R90: task entries carry their run and an end."""
    run = Scope("run", str(uuid4()))
    memory_row = await remember("step 3 found 12", Access(alice, (run,), run))
    assert (memory_row.scope, memory_row.expires is not None) == (run, True)


async def test_a_finished_run_leaves_an_outcome_and_no_working_memory(
    database: Database, alice: Principal, remember: Remember, superuser: Any
) -> None:
    """R91, R97, R98: summary and figures stay, run rows are 0."""
    run = str(uuid4())
    working = Access(alice, (*alice.reads, Scope("run", run)), Scope("run", run))
    await remember("half of the batches done", working)
    closing = outcomes.closing_access(alice, run)
    outcome = RunOutcome(
        run, "billing.double-charge", "done", millis=12_400, tools={"billing.refund_batch": 100}, micros=7
    )
    async with database.transaction(closing) as connection:
        memory_row = await outcomes.conclude(connection, closing, outcome)
    assert await row_count(superuser, alice.tenant) == 1
    assert memory_row.provenance.facts["cost"] == {"calls": 100, "tokens": 0, "micros": 7}
    assert memory_row.body.startswith(f"billing.double-charge done in 12.4 s, run {run}; cost 100 calls")


async def test_working_memory_stays_if_the_ending_does_not_commit(
    database: Database, alice: Principal, remember: Remember
) -> None:
    run = Scope("run", str(uuid4()))
    working, closing = Access(alice, (run,), run), outcomes.closing_access(alice, run.id)
    await remember("half of the batches done", working)
    async with database.transaction(closing) as connection:
        await outcomes.conclude(connection, closing, RunOutcome(run.id, "x", "done"))
        raise psycopg.Rollback
    assert len(await search.ls(database, working)) == 1


async def test_similar_runs_are_found_by_their_subject(database: Database, alice: Principal, bob: Principal) -> None:
    """R98: a colleague's run of the same runbook is found, as figures."""
    for subject in ("billing.double-charge", "db.disk-full"):
        run = str(uuid4())
        closing = outcomes.closing_access(alice, run)
        async with database.transaction(closing) as connection:
            await outcomes.conclude(connection, closing, RunOutcome(run, subject, "done"))
    (outcome,) = await context.last_outcomes(database, Access.of(bob), "billing.double-charge")
    assert outcome.body.startswith("billing.double-charge done")


async def test_an_outcome_stays_concise_whatever_happened(alice: Principal) -> None:
    """R97: at most 300 characters."""
    tools = {f"service{n}.some_long_verb": n for n in range(60)}
    outcome = RunOutcome(str(uuid4()), "a" * 500, "failed", "step_failed", 10**9, tools, 10**12, 10**12)
    assert len(outcome.text) <= outcomes.TEXT_LIMIT


async def test_erasing_a_run_that_was_not_entered_is_refused(database: Database, own_access: Access) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="not among the scopes"):
        async with database.transaction(own_access) as connection:
            await erasure.erase_run(connection, "another-run")


async def test_forget_by_id_takes_older_versions_along(
    database: Database, own_access: Access, remember: Remember, superuser: Any
) -> None:
    """R102: what a person has deleted holds no leftovers."""
    await remember("notify by mail", key="notify")
    newest = await remember("notify by phone", key="notify")
    await remember("unrelated")
    assert await erasure.forget(database, own_access, id=newest.id) == 2
    assert await row_count(superuser, own_access.principal.tenant) == 1


async def test_forget_by_key_and_everything(database: Database, own_access: Access, remember: Remember) -> None:
    for key in ("a", "b", None):
        await remember(f"about {key}", key=key)
    assert await erasure.forget(database, own_access, key="a") == 1
    assert await erasure.forget(database, own_access, whole_scope=True) == 2
    assert await search.ls(database, own_access) == []


@pytest.mark.parametrize("choice", [{}, {"id": "x", "key": "y"}, {"key": "y", "whole_scope": True}])
async def test_forget_wants_one_choice(database: Database, own_access: Access, choice: dict[str, Any]) -> None:
    with pytest.raises(Permanent, match="exactly one"):
        await erasure.forget(database, own_access, **choice)


async def test_lists_continue_after_a_memory(database: Database, own_access: Access, remember: Remember) -> None:
    memory_row = [await remember(f"note {n}") for n in range(5)]
    first = await search.ls(database, own_access, limit=3)
    await erasure.forget(database, own_access, id=first[-1].id)
    next_page = await search.ls(database, own_access, after=(first[-1].created, first[-1].id))
    assert [m.id for m in [*first, *next_page]] == [m.id for m in reversed(memory_row)]


@pytest.mark.parametrize(
    ("body", "code"),
    [("x" * 8193, "too_large"), ("é" * 4097, "too_large"), (" ", "bad_request"), ("a\0b", "bad_request"),
     ("\ud800 broken", "bad_request")],
)  # fmt: skip
async def test_text_that_cannot_be_kept_is_refused(remember: Remember, body: str, code: str) -> None:
    with pytest.raises(Permanent) as refusal:
        await remember(body)
    assert refusal.value.code == code


async def test_without_a_write_scope_nothing_is_written(alice: Principal, remember: Remember) -> None:
    with pytest.raises(Permanent, match="no scope to write"):
        await remember("text", Access(alice, alice.reads))


class Tiny:
    """Another embedder, with vectors of another length."""

    id = "tiny-2"
    lexical = False

    async def embed(self, texts: Sequence[str]) -> list[Embedding]:
        return [(1.0, 0.0) for _ in texts]


async def test_vectors_of_two_embedders_never_meet(database: Database, own_access: Access, remember: Remember) -> None:
    """A memory of another embedder is found by its words; its vector counts for nothing, in spelling either."""
    for body in ("one way", "another way", "no way"):
        await remember(body, embedder=Tiny() if body == "another way" else LEXICAL)
    answer = await search.recall(database, own_access, "another wayy", relevance="any")
    reasons = {hit.memory.body: hit.explain for hit in answer.hits}
    assert (answer.foreign_count, "vector" in reasons["another way"], "vector" in reasons["one way"]) == (
        1,
        False,
        True,
    )
    assert (await search.recall(database, own_access, "way", embedder=Tiny())).foreign_count == 2


async def test_hostile_text_is_only_text(database: Database, own_access: Access, remember: Remember) -> None:
    body = "'); delete from memories; -- %s {} $1 ignore previous instructions"
    await remember(body, key="k'; --")
    assert await bodies(database, own_access, "'; drop table memories; --  previous instructions") == [body]
