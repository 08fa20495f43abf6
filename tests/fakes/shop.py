"""Tiny business in memory for tests of flows: it counts every call of its tools, repeats included."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from memory.errors import Permanent
from tools.action import Json, Role
from tools.money import Money
from tools.tool import BusinessServices, Call, SliceArgument, Tool, tool


class NoArguments(BaseModel):
    """No arguments."""


class OrderArguments(BaseModel):
    """One order."""

    order: str
    amount: int = 100


class OrdersArguments(BaseModel):
    """Many orders, by reference."""

    orders: SliceArgument


class Desk(BaseModel):
    """A desk that can be closed and opened."""

    desk: str


@dataclass
class Shop:
    """Payments, closures and calls; `failures` names orders or desks that fail for good, `mute` makes payments lie."""

    orders: int = 25
    payments: dict[str, int] = field(default_factory=dict[str, int])
    calls: list[str] = field(default_factory=list[str])
    closures: list[str] = field(default_factory=list[str])
    failures: set[str] = field(default_factory=set[str])
    mute: bool = False
    answers: dict[str, Mapping[str, Json]] = field(default_factory=dict[str, Mapping[str, Json]])
    during: Callable[[], Awaitable[None]] | None = None
    """Happens in the middle of the next payment, once."""

    def bind(self, role: Role, run: str, *, permit: str | None = None, key: str | None = None) -> BusinessServices:
        """Return no services: these tools are the service."""
        return NO_SERVICES

    async def pay(self, key: str, rows: list[tuple[str, int]]) -> Mapping[str, Json]:
        """Pay orders under a key; a key that is known answers as before."""
        during, self.during = self.during, None
        if during:
            await during()
        self.calls.append(key)
        if key in self.answers:
            return self.answers[key]
        if bad := self.failures & {order for order, _ in rows}:
            raise Permanent("tool_failed", f"order {min(bad)!r} cannot be paid")
        if not self.mute:
            for order, amount in rows:
                self.payments[order] = self.payments.get(order, 0) + amount
        self.answers[key] = {"paid": len(rows), "total": sum(amount for _, amount in rows)}
        return self.answers[key]

    async def rows(self) -> AsyncIterator[Mapping[str, Json]]:
        """Yield the open orders."""
        for number in range(self.orders):
            yield {"order": f"o_{number:05}", "amount": 100 + number, "currency": "EUR"}


class _NoServices:
    async def get(self, service: str, path: str, params: Mapping[str, str | int] | None = None) -> Any:
        raise NotImplementedError

    async def post(self, service: str, path: str, body: Mapping[str, Any]) -> Any:
        raise NotImplementedError

    async def find_operation(self, service: str, key: str) -> Mapping[str, Any]:
        raise NotImplementedError


NO_SERVICES: BusinessServices = _NoServices()


def tools(shop: Shop) -> list[Tool]:
    """Return the shop's tools."""
    return [_list(shop), _count(shop), _pay(shop), _pay_batch(shop), _close(shop), _open(shop)]


def _list(shop: Shop) -> Tool:
    @tool("shop.list", effect="read")
    async def ls(args: NoArguments, call: Call) -> Mapping[str, Json]:
        """List open orders."""
        slice = await call.rows.keep("orders", shop.rows())
        return {"orders": slice.model_dump(), "count": slice.count}

    return ls


def _count(shop: Shop) -> Tool:
    @tool("shop.count", effect="read")
    async def count(args: NoArguments, call: Call) -> Mapping[str, Json]:
        """Count what was paid."""
        return {"paid": len(shop.payments), "total": sum(shop.payments.values())}

    return count


def _pay(shop: Shop) -> Tool:
    @tool(
        "shop.pay",
        effect="write",
        key=lambda args: f"pay:{args.order}",
        amount=lambda args: Money(args.amount, "EUR"),
        target=lambda args: f"order/{args.order}",
        reversible=False,
        keyed=True,
        playbook="none",
    )
    async def pay(args: OrderArguments, call: Call) -> Mapping[str, Json]:
        """Pay one order."""
        return await shop.pay(call.key, [(args.order, args.amount)])

    return pay


def _pay_batch(shop: Shop) -> Tool:
    @tool(
        "shop.pay_batch",
        effect="write",
        key=lambda args: f"pay:{args.orders.digest}",
        amount=lambda args: args.orders.money,
        reversible=False,
        keyed=True,
        playbook="none",
    )
    async def pay_batch(args: OrdersArguments, call: Call) -> Mapping[str, Json]:
        """Pay many orders."""
        rows = [(str(row["order"]), int(str(row["amount"]))) async for row in call.rows.read(args.orders)]
        return await shop.pay(call.key, rows)

    return pay_batch


def _close(shop: Shop) -> Tool:
    @tool(
        "shop.close",
        effect="write",
        target=lambda args: f"desk/{args.desk}",
        inapplicable=("amount",),
        compensate="shop.open",
        keyed=True,
        playbook="none",
        key=lambda args: f"close:{args.desk}",
    )
    async def close(args: Desk, call: Call) -> Mapping[str, Json]:
        """Close a desk."""
        shop.calls.append(call.key)
        if args.desk in shop.failures:
            raise Permanent("tool_failed", f"desk {args.desk!r} is stuck")
        shop.closures.append(args.desk)
        return {"closed": 1}

    return close


def _open(shop: Shop) -> Tool:
    @tool(
        "shop.open",
        effect="write",
        target=lambda args: f"desk/{args.desk}",
        inapplicable=("amount",),
        keyed=True,
        playbook="none",
    )
    async def reopen(args: Desk, call: Call) -> Mapping[str, Json]:
        """Open a desk again."""
        shop.calls.append(call.key)
        if f"open:{args.desk}" in shop.failures:
            raise Permanent("tool_failed", f"desk {args.desk!r} stays shut")
        shop.closures.remove(args.desk)
        return {"opened": 1}

    return reopen
