"""Billing tools: charges, invoices and jobs, and the effects that move money; discovered by the catalogue."""

from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from memory.errors import Permanent
from tools.action import Json
from tools.money import CurrencyCode, Money
from tools.observations import Listing, Totals
from tools.services import SETTLES_WITHIN, id_pages, keep_failures, lookup_in, pages_of, request_body
from tools.tool import Call, SliceArgument, tool

ChargeId = Annotated[str, Field(pattern=r"^ch_[a-z0-9]{12}$")]
InvoiceId = Annotated[str, Field(pattern=r"^in_[a-z0-9_]{1,40}$")]
JobId = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{2,60}$")]
MinorUnits = Annotated[int, Field(ge=1, le=100_000_000)]

BOOKED_IN = "EUR"
"""What the demo business books in, for calls that name no currency."""
PAGE = 10_000
BATCH = 500
_JOBS = Listing("billing", "jobs", "jobs", "job")
_REFUNDS = Totals("billing", "refund_totals", "charges", "charge", "refunded")
_CHARGES = Totals("billing", "charge_totals", "invoices", "invoice", "charged")
_REFUND_FAILURES = (
    "account_closed: people pay it out",
    "disputed: the bank decides",
    "currency: not that of the charge",
    "amount: more than is left of the charge",
)


class BillingArguments(BaseModel):
    """Base of all arguments here: unknown fields are errors."""

    model_config = ConfigDict(extra="forbid")


class NightArguments(BillingArguments):
    """One billing night."""

    night: str = Field(default="latest", pattern=r"^(latest|[0-9]{4}-[0-9]{2}-[0-9]{2})$")


class CustomerArguments(BillingArguments):
    """A customer by charge id, customer id, e-mail address or full name."""

    of: str = Field(min_length=3, max_length=120)


class JobKindArguments(BillingArguments):
    """A kind of billing jobs."""

    kind: Literal["any", "charge_retry", "invoice_run", "dunning"] = "any"


class JobArguments(BillingArguments):
    """One run of a billing job."""

    job: JobId


class ChargesArguments(BillingArguments):
    """Rows with `charge`, `amount` and `currency`."""

    charges: SliceArgument


class InvoicesArguments(BillingArguments):
    """Rows with `invoice`, `amount` and `currency`."""

    invoices: SliceArgument


class RefundArguments(BillingArguments):
    """One charge and what to give back of it, in minor units; the service refuses any currency but the charge's own."""

    charge: ChargeId
    amount: MinorUnits
    currency: CurrencyCode = BOOKED_IN
    part: int = Field(default=0, ge=0, le=99)
    """0 for the charge or its first part, 1 for the second part and so on; together they come to the charge at most."""


class CollectionArguments(BillingArguments):
    """One invoice and the amount to collect, in minor units; the service refuses any currency but the invoice's own."""

    invoice: InvoiceId
    amount: MinorUnits
    currency: CurrencyCode = BOOKED_IN


class NoArguments(BillingArguments):
    """No arguments."""


@tool("billing.duplicates", effect="read", data=("payment",), timeout=30.0)
async def duplicates(args: NightArguments, call: Call) -> Mapping[str, Json]:
    """Find charges of one night that repeat an earlier one of the same customer and amount, whatever the reason.

    Rows say what tells them apart: same_invoice, refunded, disputed, account. Legitimate pairs are among them.
    """
    return await _keep_pages(call, "found", "duplicates", args.model_dump())


@tool("billing.open_invoices", effect="read", data=("payment",), timeout=30.0)
async def open_invoices(args: NoArguments, call: Call) -> Mapping[str, Json]:
    """Find the invoices that are due and not collected yet."""
    return await _keep_pages(call, "found", "open_invoices", args.model_dump())


@tool("billing.charges", effect="read", data=("payment", "personal"))
async def charges(args: CustomerArguments, call: Call) -> Mapping[str, Json]:
    """Find the charges of one customer, or one charge by its id.

    `customers` says how many people the words fit, `count` and `refunded` how many of their charges there are.
    `charge`, `amount` and `currency` name the one that can be refunded: the only one, or the only one that doubles
    another; they are empty if there is none or more than one.
    """
    return await call.services.get("billing", "charges", args.model_dump())


@tool("billing.jobs", effect="read")
async def jobs(args: JobKindArguments, call: Call) -> Mapping[str, Json]:
    """List billing jobs by kind; `job` and `status` are set if there is exactly one."""
    return await call.services.get("billing", "jobs", args.model_dump())


@tool("billing.refund_totals", effect="read", data=("payment",), timeout=30.0)
async def refund_totals(args: ChargesArguments, call: Call) -> Mapping[str, Json]:
    """Count what was given back for these charges: how many, how much, and how many more than once."""
    totals, currencies = Counter[str](), set[str]()
    async for ids in id_pages(call, args.charges, "charge", PAGE):
        answer = await call.services.post("billing", "refund_totals", {"charges": ids})
        currencies.add(answer.pop("currency", ""))
        totals.update(answer)
    if len(currencies - {""}) > 1:
        raise Permanent("invalid_arguments", "these charges are in several currencies; ask for those of each by itself")
    return {**totals, "currency": max(currencies)}


@tool(
    "billing.pause_job",
    effect="write",
    key=lambda args: f"billing.pause_job:{args.job}",
    target=lambda args: f"job/{args.job}",
    observe=_JOBS.status_is("paused"),
    sets_state=True,
    inapplicable=("amount", "environment"),
    lookup=lookup_in("billing"),
    keyed=True,
    settles_within=SETTLES_WITHIN,
    compensate="billing.resume_job",
    playbook="billing.double-charge",
    failures=("not_found: no such job", "finished: nothing left to pause"),
)
async def pause_job(args: JobArguments, call: Call) -> Mapping[str, Json]:
    """Pause a billing job before it does more."""
    return await call.services.post("billing", "pause_job", await request_body(args, call))


@tool(
    "billing.resume_job",
    effect="write",
    target=lambda args: f"job/{args.job}",
    observe=_JOBS.status_is("running"),
    sets_state=True,
    inapplicable=("amount", "environment"),
    lookup=lookup_in("billing"),
    keyed=True,
    settles_within=SETTLES_WITHIN,
    compensate="billing.pause_job",
    playbook="billing.double-charge",
    failures=("not_found: no such job",),
)
async def resume_job(args: JobArguments, call: Call) -> Mapping[str, Json]:
    """Let a paused billing job go on."""
    return await call.services.post("billing", "resume_job", await request_body(args, call))


@tool(
    "billing.refund",
    effect="write",
    key=lambda args: f"billing.refund:{args.charge}" + (f":{args.part}" if args.part else ""),
    target=lambda args: f"charge/{args.charge}",
    amount=lambda args: Money(args.amount, args.currency),
    observe=_REFUNDS.one,
    inapplicable=("environment",),
    lookup=lookup_in("billing"),
    keyed=True,
    settles_within=SETTLES_WITHIN,
    reversible=False,
    playbook="billing.single-refund",
    data=("payment",),
    failures=_REFUND_FAILURES,
)
async def refund(args: RefundArguments, call: Call) -> Mapping[str, Json]:
    """Give one charge, or a part of it, back to the customer."""
    return await call.services.post("billing", "refund", await request_body(args, call))


async def _look_for_batch(args: BillingArguments, call: Call) -> Mapping[str, Json]:
    return await keep_failures(call, await call.services.find_operation("billing", call.key))


@tool(
    "billing.refund_batch",
    effect="write",
    key=lambda args: f"billing.refund_batch:{args.charges.digest}",
    target=lambda args: f"charges/{args.charges.handle}",
    amount=lambda args: args.charges.money,
    observe=_REFUNDS.batch,
    inapplicable=("environment",),
    lookup=_look_for_batch,
    keyed=True,
    settles_within=SETTLES_WITHIN,
    reversible=False,
    playbook="billing.double-charge",
    data=("payment",),
    failures=(*_REFUND_FAILURES, "too_many: a batch holds at most 500 rows"),
    timeout=30.0,
)
async def refund_batch(args: ChargesArguments, call: Call) -> Mapping[str, Json]:
    """Give up to 500 charges back; one that fails does not stop the others, and is kept under `failures`."""
    _refuse_excess(args.charges)
    # Item keys are those of single refunds, so that both ways together refund a charge at most once.
    path = "refund_batch?item_key=billing.refund:{charge}"
    return await keep_failures(call, await call.services.post("billing", path, await request_body(args, call)))


@tool(
    "billing.charge",
    effect="write",
    key=lambda args: f"billing.charge:{args.invoice}",
    target=lambda args: f"invoice/{args.invoice}",
    amount=lambda args: Money(args.amount, args.currency),
    observe=_CHARGES.one,
    inapplicable=("environment",),
    lookup=lookup_in("billing"),
    keyed=True,
    settles_within=SETTLES_WITHIN,
    reversible=False,
    playbook="billing.double-charge",
    data=("payment",),
    failures=(
        "account_closed: nothing can be collected",
        "amount: not that of the invoice",
        "currency: not that of the invoice",
    ),
)
async def charge(args: CollectionArguments, call: Call) -> Mapping[str, Json]:
    """Collect one invoice from its customer."""
    return await call.services.post("billing", "charge", await request_body(args, call))


@tool(
    "billing.charge_batch",
    effect="write",
    key=lambda args: f"billing.charge_batch:{args.invoices.digest}",
    target=lambda args: f"invoices/{args.invoices.handle}",
    amount=lambda args: args.invoices.money,
    observe=_CHARGES.batch,
    inapplicable=("environment",),
    lookup=_look_for_batch,
    keyed=True,
    settles_within=SETTLES_WITHIN,
    reversible=False,
    playbook="billing.double-charge",
    data=("payment",),
    failures=("account_closed: nothing can be collected", "too_many: a batch holds at most 500 rows"),
    timeout=30.0,
)
async def charge_batch(args: InvoicesArguments, call: Call) -> Mapping[str, Json]:
    """Collect up to 500 invoices; one that fails does not stop the others, and is kept under `failures`."""
    _refuse_excess(args.invoices)
    path = "charge_batch?item_key=billing.charge:{invoice}"
    return await keep_failures(call, await call.services.post("billing", path, await request_body(args, call)))


async def _keep_pages(call: Call, name: str, path: str, params: Mapping[str, str | int]) -> Mapping[str, Json]:
    part = await call.rows.keep(name, pages_of(call, "billing", path, params, PAGE))
    return {name: part.model_dump(), "count": part.count, "sum": part.total, "currency": part.currency}


def _refuse_excess(part: SliceArgument) -> None:
    if part.count > BATCH:
        raise Permanent("invalid_arguments", f"a batch of {part.count} rows; cut it into slices of at most {BATCH}")
