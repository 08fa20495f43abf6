"""Interface of embedders, which turn text into vectors; implemented by `lexical`, `minilm` and `providers`."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

Embedding = tuple[float, ...]
"""A dense vector of length 1, or of zeros for a text without terms."""


class Embedder(Protocol):
    """Turns texts into vectors of one length; other implementations may ask a model or a service."""

    @property
    def id(self) -> str:
        """Return name and version; vectors of different ids are never compared."""
        ...

    @property
    def lexical(self) -> bool:
        """Return whether each dimension stands for terms, so that rare ones may weigh more."""
        ...

    async def embed(self, texts: Sequence[str]) -> list[Embedding]:
        """Return one vector of length 1 per text, or of zeros for a text without any term."""
        ...


@runtime_checkable
class AsymmetricEmbedder(Embedder, Protocol):
    """An embedder with a second encoding, for questions, beside the one for texts."""

    async def ask(self, text: str) -> Embedding:
        """Return the vector of a question."""
        ...
