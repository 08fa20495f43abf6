"""The interface of embedders: text to vector; implemented by the lexical one, by MiniLM and by LangChain providers."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

Embedding = tuple[float, ...]


class Embedder(Protocol):
    """Turns texts into vectors of one length; other implementations may ask a model or a service."""

    @property
    def id(self) -> str:
        """Name and version; vectors of different ids are never compared."""
        ...

    @property
    def lexical(self) -> bool:
        """True if each dimension stands for terms, so that rare ones may weigh more."""
        ...

    async def embed(self, texts: Sequence[str]) -> list[Embedding]:
        """Return one vector of length 1 per text, or of zeros for a text without any term."""
        ...


@runtime_checkable
class AsymmetricEmbedder(Embedder, Protocol):
    """An embedder that takes questions otherwise than texts."""

    async def ask(self, text: str) -> Embedding:
        """Return the vector of a question."""
        ...
