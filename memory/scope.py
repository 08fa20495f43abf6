"""Who acts, and what they may see: the lowest words of the system, used by every room."""

from dataclasses import dataclass
from typing import Literal, cast, get_args

ScopeKind = Literal["user", "session", "agent", "run"]
Trust = Literal["human", "tool", "model", "untrusted"]
"""How much a text may count: a person said it, a tool reported it, a model wrote it, or an outsider did."""


@dataclass(frozen=True, slots=True, order=True)
class Scope:
    """One place where memories live; `run` is working memory and ends with its run."""

    kind: ScopeKind
    id: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.id}"

    @classmethod
    def parse(cls, text: str) -> "Scope":
        """Read `kind:id`; raises ValueError for any other form."""
        kind, _, name = text.partition(":")
        if kind in get_args(ScopeKind) and name:
            return cls(cast(ScopeKind, kind), name)
        raise ValueError(f"{text!r} is no scope; write kind:id with kind one of user, session, agent, run")


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated person or service of one tenant."""

    tenant: str
    id: str
    groups: frozenset[str] = frozenset()
    limit_alone: int = 0
    """The largest amount (minor units) that this person may approve alone."""
    limit_joint: int = 0
    """The largest amount (minor units) that this person may approve together with others."""

    @property
    def reads(self) -> tuple[Scope, ...]:
        """Return the scopes that this principal always reads: their own and the shared agent scope."""
        return (Scope("user", self.id), Scope("agent", "shared"))


@dataclass(frozen=True, slots=True)
class Access:
    """A principal with the one read set and the one write scope of a piece of work.

    Both come from the authenticated principal and the run, never from arguments or model output.
    """

    principal: Principal
    reads: tuple[Scope, ...]
    writes: Scope | None = None

    @classmethod
    def of(cls, principal: Principal) -> "Access":
        """Return what a person may do outside any run: read their own and shared scopes, write their own."""
        return cls(principal, principal.reads, Scope("user", principal.id))
