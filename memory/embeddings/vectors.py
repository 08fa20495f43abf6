"""Vectors of texts and questions by the configured embedder, or by the lexical one while a model is away.

Called by the memory store and by knowledge when they write and search; also turns vectors into parameters of queries.
"""

import logging
from collections.abc import Sequence

from pgvector import SparseVector, Vector

from memory.embeddings.embedder import AsymmetricEmbedder, Embedder, Embedding
from memory.embeddings.lexical import LEXICAL
from memory.errors import Temporary

Parameter = Vector | SparseVector
"""A vector in the types of pgvector; columns are dense, and `Database.call` casts to that."""

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


def parameter(vector: Embedding) -> Parameter:
    """Return a vector as a query's parameter."""
    return parameters([vector])[0]


def parameters(vectors: Sequence[Embedding]) -> list[Vector] | list[SparseVector]:
    """Return vectors as a query's parameters, all of one type.

    Hashed vectors of short texts are mostly zeros: sparse, they take an eighth of the bytes to send.
    """
    values = [{index: value for index, value in enumerate(vector) if value} for vector in vectors]
    if 2 * sum(map(len, values)) < sum(map(len, vectors)):
        return [SparseVector(present, len(vector)) for present, vector in zip(values, vectors, strict=True)]
    return [Vector(list(vector)) for vector in vectors]
