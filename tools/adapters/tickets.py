"""Ticket tools: messages of customers, and tickets and notices for people; discovered by the catalogue."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from tools.action import Json
from tools.services import SETTLES_WITHIN, lookup_in, pages_of, request_body
from tools.tool import Call, Observation, SliceArgument, tool

PAGE = 10_000
TicketId = Annotated[str, Field(pattern=r"^t_[0-9]{4,12}$")]


class TicketingArguments(BaseModel):
    """Base of all arguments here: unknown fields are errors."""

    model_config = ConfigDict(extra="forbid")


class StatusArguments(TicketingArguments):
    """Tickets of one status."""

    status: Literal["open", "closed"] = "open"


class TicketArguments(TicketingArguments):
    """One ticket."""

    ticket: TicketId


class CommentArguments(TicketArguments):
    """An internal note on a ticket."""

    text: str = Field(min_length=1, max_length=2000)


class OpeningArguments(TicketingArguments):
    """Rows with `charge` and `customer`, each of which becomes one ticket."""

    kind: Literal["escalation", "manual"]
    """`escalation`: somebody must decide; `manual`: somebody must do it by hand."""
    items: SliceArgument


class NoticeArguments(TicketingArguments):
    """Rows with `charge`, `customer` and `amount`; each customer gets one message."""

    template: Literal["refund_made"]
    items: SliceArgument


@tool("tickets.list", effect="read", data=("personal",))
async def ls(args: StatusArguments, call: Call) -> Mapping[str, Json]:
    """List tickets without their text."""
    part = await call.rows.keep("found", pages_of(call, "tickets", "tickets", args.model_dump(), PAGE))
    return {"found": part.model_dump(), "count": part.count}


@tool("tickets.read", effect="read", data=("personal", "untrusted_text"))
async def read(args: TicketArguments, call: Call) -> Mapping[str, Json]:
    """Read one ticket with its text, which an outsider wrote."""
    return await call.services.get("tickets", f"tickets/{args.ticket}")


async def _comment_is_there(args: CommentArguments, call: Call, report: Mapping[str, Json]) -> Observation:
    count = (await call.services.post("tickets", "commented", args.model_dump()))["comments"]
    return Observation(count > 0, {"ticket": args.ticket, "commented": min(count, 1)})


async def _tickets_are_open(args: OpeningArguments, call: Call, report: Mapping[str, Json]) -> Observation:
    body = {"kind": args.kind, "charges": await _charges(call, args.items)}
    count = (await call.services.post("tickets", "standing", body))["tickets"]
    return Observation(count == args.items.count, {"opened": count, "already_open": 0})


async def _notices_are_sent(args: NoticeArguments, call: Call, report: Mapping[str, Json]) -> Observation:
    body = {"template": args.template, "charges": await _charges(call, args.items)}
    count = (await call.services.post("tickets", "notified", body))["notified"]
    return Observation(count == args.items.count, {"notified": count, "already_notified": 0})


async def _charges(call: Call, items: SliceArgument) -> list[Json]:
    return [row["charge"] async for row in call.rows.read(items)]


@tool(
    "tickets.comment",
    effect="write",
    target=lambda args: f"ticket/{args.ticket}",
    observe=_comment_is_there,
    inapplicable=("amount", "environment"),
    lookup=lookup_in("tickets"),
    keyed=True,
    settles_within=SETTLES_WITHIN,
    playbook="billing.single-refund",
    data=("personal",),
    failures=("not_found: no such ticket",),
)
async def comment(args: CommentArguments, call: Call) -> Mapping[str, Json]:
    """Add an internal note to a ticket; customers do not see it."""
    return await call.services.post("tickets", "comment", await request_body(args, call))


@tool(
    "tickets.open_batch",
    effect="write",
    key=lambda args: f"tickets.open_batch:{args.kind}:{args.items.digest}",
    target=lambda args: f"queue/{args.kind}",
    observe=_tickets_are_open,
    inapplicable=("amount", "environment"),
    lookup=lookup_in("tickets"),
    keyed=True,
    settles_within=SETTLES_WITHIN,
    playbook="billing.double-charge",
    data=("personal",),
    failures=("too_many: a batch holds at most 500 rows",),
)
async def open_batch(args: OpeningArguments, call: Call) -> Mapping[str, Json]:
    """Open one ticket per row for people to decide or do by hand."""
    return await call.services.post("tickets", "open_batch", await request_body(args, call))


@tool(
    "tickets.notify_batch",
    effect="write",
    key=lambda args: f"tickets.notify_batch:{args.template}:{args.items.digest}",
    target=lambda args: f"customers/{args.items.handle}",
    observe=_notices_are_sent,
    inapplicable=("amount", "environment"),
    lookup=lookup_in("tickets"),
    keyed=True,
    settles_within=SETTLES_WITHIN,
    reversible=False,
    playbook="billing.double-charge",
    data=("personal",),
    failures=("too_many: a batch holds at most 10000 rows",),
    timeout=30.0,
)
async def notify_batch(args: NoticeArguments, call: Call) -> Mapping[str, Json]:
    """Write to the customers of up to 10,000 rows; what was sent cannot be called back."""
    return await call.services.post("tickets", "notify_batch", await request_body(args, call))
