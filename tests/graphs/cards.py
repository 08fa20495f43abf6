"""A small catalogue for tests of plans: schemas as real tools have them, and nothing that could act."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from tools.action import Effect
from tools.catalog import ToolCard
from tools.tool import SliceArgument


class _Arguments(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Job(_Arguments):
    job: str


class Night(_Arguments):
    night: str = Field(default="last", pattern=r"^[a-z0-9-]+$")
    limit: int = Field(default=100, ge=1, le=1000)


class Split(_Arguments):
    rows: SliceArgument
    cases: list[str]
    otherwise: str = "other"


class Refunds(_Arguments):
    charges: SliceArgument


class Refund(_Arguments):
    charge: str = Field(pattern=r"^ch_[a-z0-9]{6,32}$")
    amount: int = Field(gt=0)
    reason: Literal["duplicate", "goodwill"] = "duplicate"


class Charge(_Arguments):
    charge: str


class Ticket(_Arguments):
    ticket: str
    text: str | None = None


class Table(_Arguments):
    table: str


def _card(name: str, effect: Effect, arguments: type[BaseModel], *data: str) -> ToolCard:
    return ToolCard(
        name=name,
        summary="does what its name says",
        effect=effect,
        arguments=arguments,
        schema=arguments.model_json_schema(),
        schema_hash="",
        roles=(),
        reversible=False,
        keyed=False,
        has_lookup=False,
        is_observed=False,
        sets_state=False,
        attempts=1,
        settles_within=None,
        compensate="",
        playbook="",
        facts={"environment": ("prod", "staging")} if effect == "destructive" else {},
        inapplicable=(),
        data=data,
        failures=(),
        cost={},
        idempotency="per request",
    )


CARDS: Mapping[str, ToolCard] = {
    card.name: card
    for card in (
        _card("jobs.look", "read", Job),
        replace(_card("jobs.pause", "write", Job), compensate="jobs.resume"),
        replace(_card("jobs.resume", "write", Job), compensate="jobs.pause"),
        _card("charges.duplicates", "read", Night),
        _card("charges.show", "read", Charge),
        _card("sets.split", "read", Split),
        _card("charges.totals", "read", Refunds),
        _card("charges.refund_batch", "write", Refunds, "payment"),
        _card("charges.refund", "write", Refund, "payment"),
        _card("tickets.read", "read", Ticket, "untrusted_text"),
        _card("tickets.answer", "write", Ticket, "personal"),
        _card("tables.drop", "destructive", Table),
    )
}
