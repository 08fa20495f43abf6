"""Vectors of texts and questions by the configured embedder, or by the lexical one while a model is away.

Called by the memory store and by knowledge when they write and search.
"""

import logging
from collections.abc import Sequence

from memory.embeddings.embedder import AsymmetricEmbedder, Embedder, Embedding
from memory.embeddings.lexical import LEXICAL
from memory.errors import Temporary

_LOG = logging.getLogger(__name__)


async def embed_question(embedder: Embedder, text: str) -> tuple[Embedder, Embedding]:
    """Return a question's vector and its embedder: the lexical one if the model is away, since words still find."""
    try:
        if isinstance(embedder, AsymmetricEmbedder):
            return embedder, await embedder.ask(text)
        (vector,) = await embedder.embed([text])
    except Temporary as error:
        _LOG.warning("searched by words alone: %s", error)
        return LEXICAL, LEXICAL.vector(text)
    return embedder, vector


async def embed_texts(embedder: Embedder, texts: Sequence[str]) -> tuple[Embedder, list[Embedding]]:
    """Return the vectors of texts to be stored and their embedder: the lexical one if the model is away.

    Housekeeping embeds them again once the model is back.
    """
    try:
        return embedder, await embedder.embed(texts)
    except Temporary as error:
        _LOG.warning("kept without vectors of the model: %s", error)
        return LEXICAL, await LEXICAL.embed(texts)


def literal(vector: Embedding) -> str:
    """Return the vector as pgvector reads it."""
    return "[" + ",".join(f"{value:.7g}" for value in vector) + "]"


def parse(text: str) -> Embedding:
    """Read a vector as pgvector writes it."""
    return tuple(float(value) for value in text.strip("[]").split(",") if value)
