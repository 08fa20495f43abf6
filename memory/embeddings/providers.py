"""Embedders by the name of a setting: lexical, MiniLM, or any of LangChain's; called by `app.wiring` and `doctor`."""

import asyncio
import re
from collections.abc import Sequence
from importlib import import_module
from math import isfinite, sqrt
from typing import Any

from memory.embeddings.embedder import Embedder, Embedding
from memory.embeddings.lexical import LEXICAL
from memory.errors import Permanent, Temporary

DIMENSION_LIMIT = 16_000
"""Most dimensions of a vector that the database can keep."""
_NAME = re.compile(r"lexical|minilm|[a-z0-9_]+:\S+")


class LangChainEmbedder:
    """Embeddings of LangChain, such as `openai:text-embedding-3-small`; texts leave for whoever serves the model."""

    lexical = False

    def __init__(self, name: str, embeddings: Any, *, timeout: float = 30.0) -> None:
        self.id = f"langchain:{name}"
        self._embeddings = embeddings
        self._timeout = timeout

    async def embed(self, texts: Sequence[str]) -> list[Embedding]:
        """Return one vector of length 1 per text; raises Temporary("unavailable") if the model does not answer."""
        if not texts:
            return []
        vectors: list[list[float]] = await self._await_model(self._embeddings.aembed_documents(list(texts)))
        if len(vectors) != len(texts):
            raise Temporary(
                "unavailable", f"embedder {self.id!r} returned {len(vectors)} vectors for {len(texts)} texts"
            )
        return [self._unit(values) for values in vectors]

    async def ask(self, text: str) -> Embedding:
        """Return the vector of a question, which some models encode differently from a text."""
        return self._unit(await self._await_model(self._embeddings.aembed_query(text)))

    async def _await_model(self, answer: Any) -> Any:
        try:
            async with asyncio.timeout(self._timeout):
                return await answer
        except Exception as error:  # providers share no family of errors
            message = f"{type(error).__name__}: {str(error)[:200]}"
            raise Temporary("unavailable", f"embedder {self.id!r} does not answer ({message}); mend or wait") from error

    def _unit(self, values: Sequence[float]) -> Embedding:
        length = sqrt(sum(value * value for value in values))
        if not isfinite(length) or len(values) not in range(1, DIMENSION_LIMIT):
            raise Temporary("unavailable", f"embedder {self.id!r} returned no usable vector; try another model")
        return tuple(value / max(length, 1e-30) for value in values)


def embedder_name(name: str) -> str:
    """Return the canonical name of a setting's embedder; raises ValueError for a name that no embedder can have."""
    embedder = "lexical" if name in ("", LEXICAL.id) else name
    if not _NAME.fullmatch(embedder):
        raise ValueError(f"no embedder is called {name!r}; write lexical, minilm or provider:model")
    return embedder


def id_of(name: str) -> str:
    """Return the id with which vectors of a setting's embedder are stored, without opening the embedder."""
    from memory.embeddings.minilm import MiniLm

    embedder = embedder_name(name)
    return {"lexical": LEXICAL.id, "minilm": MiniLm.id}.get(embedder, f"langchain:{embedder}")


def embedder_of(name: str, base_url: str | None = None) -> Embedder:
    """Return the embedder of a setting: `lexical` (or nothing), `minilm`, or `provider:model` for LangChain.

    `base_url` is the server of the model, if it is not the provider's own. Raises Permanent("configuration") for
    another name, and if a package or a setting that it needs is missing.
    """
    try:
        embedder = embedder_name(name)
    except ValueError as error:
        raise Permanent("configuration", str(error)) from None
    if embedder == "lexical":
        return LEXICAL
    if embedder == "minilm":
        from memory.embeddings.minilm import MiniLm

        return MiniLm()
    return LangChainEmbedder(embedder, _langchain(embedder, base_url))


def _langchain(name: str, base_url: str | None) -> Any:
    options: dict[str, Any] = {"base_url": base_url} if base_url else {}
    if name.startswith("openai:"):
        # Counting tokens beforehand would download a vocabulary, and other servers take texts only.
        options["check_embedding_ctx_length"] = False
    try:
        langchain = import_module("langchain.embeddings")
        return langchain.init_embeddings(name, **options)
    except ImportError as error:
        raise Permanent("configuration", f"embedder {name!r} lacks {error.name!r}; install its package") from error
    except Exception as error:  # providers share no family of errors
        message = str(error)[:300]
        raise Permanent(
            "configuration", f"embedder {name!r} cannot be opened: {message}; check the settings"
        ) from error
