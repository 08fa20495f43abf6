"""Transcripts of real runs: small in storage, whole again on request, deleted after their retention."""

import pytest

from memory.errors import Permanent
from memory.postgres.database import Database
from memory.runs import transcripts
from memory.runs.checkpoints import Checkpoints
from memory.scope import Access
from tests.conftest import Connect
from tests.fakes.openai_endpoint import endpoint
from tests.memory.store.test_erasure import rows_of
from tests.scenarios.test_models import draft
from tests.scenarios.town import Town, Towns

pytestmark = pytest.mark.slow


async def refund(town: Town) -> str:
    """Let one charge be refunded: the shortest story that a run tells."""
    charge = (await town.charges("clean_duplicate"))[0]
    run = await town.ask(f"please refund charge {charge} to the customer")
    assert (await town.until_rest(run, approving=True)).status == "done"
    return run


async def conversation(database: Database, access: Access, run: str) -> list[str]:
    """Return all that is left of a run's conversation: checkpoints, and what a model was asked and answered."""
    calls = await database.rows(access, "select prompt, answer from model_calls where run = %s", run)
    return [*await rows_of(database, access, run), *(str(row) for row in calls)]


async def test_a_short_run_and_a_long_one_get_five_times_smaller_and_come_back_whole(towns: Towns) -> None:
    """R99: measured against the values alone, without their keys and indexes."""
    async with towns() as town, town.worker():
        database, access = town.system.database, town.access
        short, long = await refund(town), await town.ask()
        await town.until_end(long)
        for run in (short, long):
            before = await conversation(database, access, run)
            assert await transcripts.transcribe(database, access, run)
            (transcript, *_) = await transcripts.ls(database, access)
            assert (transcript.packed_size or 0) * 5 <= transcript.size
            assert await rows_of(database, access, run) == []
            await transcripts.restore(database, access, run)
            assert await conversation(database, access, run) == before


async def test_what_a_model_was_asked_leaves_the_hot_table_too(towns: Towns, monkeypatch: pytest.MonkeyPatch) -> None:
    """R99 R97"""
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    with endpoint([draft("billing.single-refund")]) as playing:
        async with towns(model="openai:scripted", model_base_url=playing.url) as town, town.worker():
            database, access = town.system.database, town.access
            run = await refund(town)
            before = await conversation(database, access, run)
            assert await transcripts.transcribe(database, access, run)
            assert await conversation(database, access, run) == ["{'prompt': None, 'answer': None}"]
            transcript = await transcripts.show(database, access, run, Checkpoints(database).serde)
            assert (len(transcript.calls), transcript.rows["calls"], bool(transcript.calls[0].prompt)) == (
                1,
                1,
                True,
            )
            assert transcript.state["plan"]["steps"]
            (row,) = await transcripts.ls(database, access)
            await transcripts.restore(database, access, run)
            assert await conversation(database, access, run) == before
    assert (row.packed_size or 0) * 5 <= row.size


async def test_after_its_retention_a_tombstone_is_left(towns: Towns, superuser: Connect) -> None:
    """R99"""
    async with towns() as town, town.worker():
        database, access = town.system.database, town.access
        run = await refund(town)
        assert await transcripts.transcribe(database, access, run)
        async with superuser() as above:
            await above.execute("update transcripts set retained_until = now() where thread = %s", [run])
        await transcripts.sweep(database, limit=1000)
        (stone,) = await transcripts.ls(database, access)
        with pytest.raises(Permanent, match="retention may be over"):
            await transcripts.restore(database, access, run)
    assert (stone.thread, stone.packed_size, stone.size > 0) == (run, None, True)
