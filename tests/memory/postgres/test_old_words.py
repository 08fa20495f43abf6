"""Memories of the release before: workers write their words anew where folded texts have others, and no others."""

from pathlib import Path

import psycopg
import pytest

from app.bootstrap import FUNCTIONS
from memory.embeddings.lexical import LEXICAL
from memory.maintenance import reembedding
from memory.postgres.database import Database
from memory.postgres.migrate import migrate
from memory.postgres.roles import Urls
from memory.postgres.signing import admit
from memory.postgres.sql_files import SCHEMA
from memory.scope import Access, Principal
from memory.store import pruning, search
from memory.store.pruning import PruningPolicy
from tests.memory.postgres.test_migrate import blank

__all__ = ["blank"]

pytestmark = pytest.mark.anyio
ALICE = Principal("t", "alice")
ROWS = """
insert into tenants (id) values ('t');
insert into memories (tenant, id, scope_kind, scope_id, body, digest, embedder, embedding, trust, provenance, size)
select 't', gen_random_uuid(), 'user', 'alice', body, encode(sha256(convert_to(body, 'UTF8')), 'hex'), %s, '[1]',
       'human',
       '{"run": "", "step": "", "call": "", "principal": "alice", "source": "", "derived_from": [], "facts": {}}', 2
  from unnest(array['the café opens', 'the invoice of 1,234.50', 'the ledger opens']) body;
insert into memory_postings (tenant, scope, lexeme, memory, hits)
select 't', 'user:alice', w.lexeme, m.id, cardinality(w.positions)
  from memories m, unnest(to_tsvector('pg_catalog.english', m.body)) w
"""


@pytest.fixture
async def upgraded(blank: Urls, tmp_path: Path) -> Urls:
    """Return a database of the release before with three memories, migrated to this one."""
    for file in SCHEMA.glob("*.sql"):
        if file.name < "0027":
            (tmp_path / file.name).write_text(file.read_text())
    await migrate(blank.owner, (), schema=tmp_path)
    async with await psycopg.AsyncConnection.connect(blank.superuser, autocommit=True) as above:
        for statement in ROWS.replace("%s", f"'{LEXICAL.id}'").split(";\n"):
            await above.execute(statement.encode())
    await migrate(blank.owner, FUNCTIONS)
    await admit(blank.owner, blank.app)
    return blank


async def test_words_from_before_the_upgrade_are_written_anew_once(upgraded: Urls) -> None:
    database = await Database.open(upgraded.app, size=2, worker_url=upgraded.worker)

    async def find(query: str) -> list[str]:
        return [hit.memory.body for hit in (await search.recall(database, Access.of(ALICE), query)).hits]

    try:
        assert await find("ledger") == ["the ledger opens"]
        counts = [await reembedding.post_memories(database, 1) for _ in range(3)]
        assert (counts, await find("cafe"), await find("1234.50")) == (
            [1, 1, 0],
            ["the café opens"],
            ["the invoice of 1,234.50"],
        )
        assert await find("café opens") == ["the café opens", "the ledger opens"]
    finally:
        await database.close()


async def test_scopes_that_were_full_before_the_upgrade_are_pruned(upgraded: Urls) -> None:
    database = await Database.open(upgraded.app, size=2, worker_url=upgraded.worker)
    try:
        counts = [await pruning.prune_overfull(database, PruningPolicy(facts=1, episodes=1)) for _ in range(2)]
        assert counts == [2, 0]
    finally:
        await database.close()
