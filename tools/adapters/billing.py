"""Billing tools: charges, invoices and jobs, and the effects that move money; discovered by the catalogue."""

from collections import Counter
from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from memory.errors import Permanent
from tools.action import Json
from tools.observations import Listing, Totals
from tools.services import SETTLES_WITHIN, lookup_in, pages_of, request_body
from tools.tool import Call, SliceArgument, tool

ChargeId = Annotated[str, Field(pattern=r"^ch_[a-z0-9]{12}$")]
InvoiceId = Annotated[str, Field(pattern=r"^in_[a-z0-9_]{1,40}$")]
JobId = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{2,60}$")]
Cents = Annotated[int, Field(ge=1, le=100_000_000)]

PAGE = 10_000
BATCH = 500
_JOBS = Listing("billing", "jobs", "jobs", "job")
_REFUNDS = Totals("billing", "refund_totals", "charges", "charge", "refunded")
_CHARGES = Totals("billing", "charge_totals", "invoices", "invoice", "charged")
_REFUND_FAILURES = ("account_closed: people pay it out", "disputed: the bank decides")


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
    """Rows with `charge` and `amount`."""

    charges: SliceArgument


class InvoicesArguments(BillingArguments):
    """Rows with `invoice` and `amount`."""

    invoices: SliceArgument


class RefundArguments(BillingArguments):
    """One charge and the amount to give back, in cents."""

    charge: ChargeId
    amount: Cents


class CollectionArguments(BillingArguments):
    """One invoice and the amount to collect, in cents."""

    invoice: InvoiceId
    amount: Cents


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
    `charge` and `amount` name the one that can be refunded: the only one, or the only one that doubles another;
    they are empty if there is none or more than one.
    """
    return await call.services.get("billing", "charges", args.model_dump())


@tool("billing.jobs", effect="read")
async def jobs(args: JobKindArguments, call: Call) -> Mapping[str, Json]:
    """List billing jobs by kind; `job` and `status` are set if there is exactly one."""
    return await call.services.get("billing", "jobs", args.model_dump())


@tool("billing.refund_totals", effect="read", data=("payment",), timeout=30.0)
async def refund_totals(args: ChargesArguments, call: Call) -> Mapping[str, Json]:
    """Count what was given back for these charges: how many, how much, and how many more than once."""
    totals = Counter[str]()
    async for ids in _charge_ids(args.charges, call):
        totals.update(await call.services.post("billing", "refund_totals", {"charges": ids}))
    return dict(totals)


async def _charge_ids(part: SliceArgument, call: Call) -> AsyncIterator[list[Json]]:
    """Yield the charges of a slice in pages; one page of none if it is empty."""
    ids: list[Json] = []
    async for row in call.rows.read(part):
        ids.append(row["charge"])
        if len(ids) == PAGE:
            yield ids
            ids = []
    if ids or not part.count:
        yield ids


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
    key=lambda args: f"billing.refund:{args.charge}",
    target=lambda args: f"charge/{args.charge}",
    amount=lambda args: args.amount,
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
    """Give one charge back to the customer."""
    return await call.services.post("billing", "refund", await request_body(args, call))


async def _look_for_refunds(args: ChargesArguments, call: Call) -> Mapping[str, Json]:
    return await _count_failures(call, await call.services.find_operation("billing", call.key))


@tool(
    "billing.refund_batch",
    effect="write",
    key=lambda args: f"billing.refund_batch:{args.charges.digest}",
    target=lambda args: f"charges/{args.charges.handle}",
    amount=lambda args: args.charges.total,
    observe=_REFUNDS.batch,
    inapplicable=("environment",),
    lookup=_look_for_refunds,
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
    return await _count_failures(call, await call.services.post("billing", path, await request_body(args, call)))


@tool(
    "billing.charge",
    effect="write",
    key=lambda args: f"billing.charge:{args.invoice}",
    target=lambda args: f"invoice/{args.invoice}",
    amount=lambda args: args.amount,
    observe=_CHARGES.one,
    inapplicable=("environment",),
    lookup=lookup_in("billing"),
    keyed=True,
    settles_within=SETTLES_WITHIN,
    reversible=False,
    playbook="billing.double-charge",
    data=("payment",),
    failures=("account_closed: nothing can be collected", "amount: not that of the invoice"),
)
async def charge(args: CollectionArguments, call: Call) -> Mapping[str, Json]:
    """Collect one invoice from its customer."""
    return await call.services.post("billing", "charge", await request_body(args, call))


async def _look_for_charges(args: InvoicesArguments, call: Call) -> Mapping[str, Json]:
    return await _count_failures(call, await call.services.find_operation("billing", call.key))


@tool(
    "billing.charge_batch",
    effect="write",
    key=lambda args: f"billing.charge_batch:{args.invoices.digest}",
    target=lambda args: f"invoices/{args.invoices.handle}",
    amount=lambda args: args.invoices.total,
    observe=_CHARGES.batch,
    inapplicable=("environment",),
    lookup=_look_for_charges,
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
    return await _count_failures(call, await call.services.post("billing", path, await request_body(args, call)))


async def _keep_pages(call: Call, name: str, path: str, params: Mapping[str, str | int]) -> Mapping[str, Json]:
    part = await call.rows.keep(name, pages_of(call, "billing", path, params, PAGE))
    return {name: part.model_dump(), "count": part.count, "sum": part.total}


def _refuse_excess(part: SliceArgument) -> None:
    if part.count > BATCH:
        raise Permanent("invalid_arguments", f"a batch of {part.count} rows; cut it into slices of at most {BATCH}")


async def _count_failures(call: Call, answer: Mapping[str, Any]) -> Mapping[str, Json]:
    """Return the answer with the failed items as a slice: ids in any number stay out of plans and prompts."""
    if not answer:
        return {}
    failures = answer["failed"]

    async def rows() -> AsyncIterator[Mapping[str, Json]]:
        for item in failures:
            yield item

    references = {"failures": (await call.rows.keep("failures", rows())).model_dump()} if failures else {}
    return {**answer, "failed": len(failures), **references}
