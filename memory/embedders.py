"""Which embedder a setting names, and how an installation changes to another; called where the system is wired."""

from collections.abc import Sequence
from importlib import import_module
from math import sqrt
from typing import Any

from memory.database import Database
from memory.embedding import LEXICAL, Embedder, Vector, literal
from memory.errors import Permanent
from memory.scope import Access


class LangChain:
    """Embeddings of LangChain, such as `openai:text-embedding-3-small`; texts leave for whoever serves the model."""

    lexical = False

    def __init__(self, name: str, embeddings: Any) -> None:
        self.id = f"langchain:{name}"
        self._embeddings = embeddings

    async def embed(self, texts: Sequence[str]) -> list[Vector]:
        """Return one vector of length 1 per text."""
        return [_unit(values) for values in await self._embeddings.aembed_documents(list(texts))]


def named(name: str) -> Embedder:
    """Return the embedder of a setting: `lexical` (or nothing), `minilm`, or `provider:model` for LangChain.

    Raises Permanent("configuration") for another name, and if what it needs is not installed.
    """
    if name in ("", "lexical", LEXICAL.id):
        return LEXICAL
    if name == "minilm":
        from memory.minilm import MiniLm

        return MiniLm()
    if ":" not in name:
        raise Permanent("configuration", f"no embedder is called {name!r}; write lexical, minilm or provider:model")
    try:
        langchain = import_module("langchain.embeddings")
        return LangChain(name, langchain.init_embeddings(name))
    except (ImportError, ValueError) as error:
        raise Permanent("configuration", f"embedder {name!r} cannot be opened: {error}; install its package") from error


async def reembed(database: Database, access: Access, embedder: Embedder, *, limit: int = 100) -> int:
    """Give up to `limit` memories of the write scope the vectors of `embedder`; returns how many there were.

    Repeat until it returns 0. In the meantime a search compares only vectors of one embedder, and finds the other
    memories by their words. A memory that changes hands meanwhile is left to the next call.
    """
    about = {"scopes": [str(access.writes)], "embedder": embedder.id, "limit": limit}
    async with database.transaction(access) as connection:
        found = await connection.execute(
            """
            select id, embedder, concat(speaker || ': ', body) as text from memories
             where scope = any(%(scopes)s) and embedder <> %(embedder)s order by created, id limit %(limit)s
            """,
            about,
        )
        rows = await found.fetchall()
    vectors = await embedder.embed([row["text"] for row in rows])
    async with database.transaction(access) as connection:
        for row, vector in zip(rows, vectors, strict=True):
            await connection.execute(
                "update memories set embedder = %s, embedding = %s::vector where id = %s and embedder = %s",
                [embedder.id, literal(vector), row["id"], row["embedder"]],
            )
    return len(rows)


def _unit(values: Sequence[float]) -> Vector:
    length = sqrt(sum(value * value for value in values))
    return tuple(value / length for value in values) if length else tuple(values)
