"""Principals, scopes and accesses: who acts and which memories they may read and write; used by every room."""

from dataclasses import dataclass
from typing import Literal, cast, get_args

ScopeKind = Literal["user", "session", "agent", "run"]
Trust = Literal["human", "tool", "model", "untrusted"]
"""Source of a text, which decides how much it counts: a person, a tool, a model, or an outsider."""


@dataclass(frozen=True, slots=True, order=True)
class Scope:
    """One partition of memory, written `kind:id`; `run` is working memory and ends with its run."""

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
    """A principal with the scopes that a piece of work may read and the one that it writes.

    Scopes come from the authenticated principal and the run, never from arguments or model output.
    """

    principal: Principal
    reads: tuple[Scope, ...]
    writes: Scope | None = None
    also_writes: tuple[Scope, ...] = ()
    """Further scopes, for the one statement that leaves something in several: the end of a run."""

    @property
    def all_writes(self) -> tuple[Scope, ...]:
        """Return every scope that may be written."""
        return self.also_writes if self.writes is None else (self.writes, *self.also_writes)

    @classmethod
    def of(cls, principal: Principal) -> "Access":
        """Return a person's access outside any run: they read their own and the shared scope, and write their own."""
        return cls(principal, principal.reads, Scope("user", principal.id))
