"""Amounts on the command line and over HTTP: each with its currency and that currency's decimals."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from app import bootstrap
from app.addresses import Addresses
from app.settings import load
from memory.errors import Permanent
from memory.governance import limits
from memory.governance.limits import Limit
from memory.postgres.roles import Urls
from memory.runs.leases import Lease
from memory.scope import Principal
from tests.app.conftest import Client, Run, decision

Ask = Callable[..., Awaitable[Lease]]


@pytest.fixture
async def hold(a: httpx2.AsyncClient, ask: Ask, urls: Urls, bob: Principal) -> Callable[..., Awaitable[str]]:
    """Return a factory of open questions about an amount, which carol could decide."""

    async def make(exposure: int, currency: str | None, **fields: Any) -> str:
        await limits.put(urls.owner, bob.tenant, Limit("carol", currency or "EUR", 10**9, 10**9))
        run = (await a.post("/api/runs", json={"message": "pay"})).json()["run"]
        await ask(run, exposure=exposure, exposure_currency=currency, amount=exposure, currency=currency, **fields)
        return f"ask-{run}"

    return make


# gumroad#3749, woocommerce-gateway-stripe#435
@pytest.mark.parametrize(
    ("amount", "currency", "right"),
    [(9899, "JPY", "9,899"), (1255, "KWD", "1.255"), (1234567, "EUR", "12,345.67"), (5, None, "0.05")],
)
async def test_question_shows_whoever_decides_the_amount_in_its_currency(
    hold: Callable[..., Awaitable[str]], run: Run, amount: int, currency: str | None, right: str
) -> None:
    approval = await hold(amount, currency)
    shown = await run("bob", "approvals", "show", approval)
    line = next(line for line in shown.out.splitlines() if "in all" in line)
    assert f"{right} {currency or 'EUR'} in all" in line
    assert f"{right} {currency or 'EUR'}" in (await run("bob", "approvals", "ls")).out
    view = (await run("bob", "approvals", "show", approval, "--json")).json
    assert (view["exposure"], view["currency"]) == (amount, currency or "EUR")


async def test_arguments_and_steps_are_shown_in_words_too(hold: Callable[..., Awaitable[str]], run: Run) -> None:
    item = {"amount": 9899, "currency": "JPY"}
    view = {"args": {"to": "bob", **item}, "each": [{"step": "pay", **item}], "amount": 9899, "currency": "JPY"}
    out = (await run("bob", "approvals", "show", await hold(9899, "JPY", shown=view))).out
    assert out.count("9,899 JPY") == 4
    assert "98.99" not in out


@pytest.mark.parametrize(
    ("exposure", "currency", "words"),
    [(60_000, "EUR", "600.00 EUR is more than your limit of 500.00 EUR"), (1, "JPY", "you have no limit in JPY"),
     (9_001, "KWD", "9.001 KWD is more than your limit of 9.000 KWD")],
)  # fmt: skip
async def test_refusal_names_the_currency_in_which_a_limit_lacks(
    hold: Callable[..., Awaitable[str]], b: httpx2.AsyncClient, urls: Urls, bob: Principal, *, exposure: int,
    currency: str, words: str,
) -> None:  # fmt: skip
    await limits.put(urls.owner, bob.tenant, Limit("bob", "KWD", 9_000, 9_000))
    approval = await hold(exposure, currency)
    answer = await b.post(f"/api/approvals/{approval}/decisions", json=decision(approval))
    assert (answer.status_code, answer.json()["code"]) == (403, "over_limit")
    assert words in answer.json()["detail"]


async def test_who_a_key_belongs_to_comes_with_limits_per_currency(client: Client, urls: Urls, bob: Principal) -> None:
    await limits.put(urls.owner, bob.tenant, Limit("bob", "JPY", 5, 6))
    me = (await (await client("bob")).get("/api/me")).json()
    assert (me["limit_alone"], me["currency"]) == (50_000, "EUR")
    assert me["limits"] == [
        {"currency": "EUR", "alone": 50_000, "joint": 1_000_000_000},
        {"currency": "JPY", "alone": 5, "joint": 6},
    ]


def test_accounting_currency_is_a_setting_and_a_code(tmp_path: Path) -> None:
    assert load({}, environ={}, folder=tmp_path).accounting_currency == "EUR"
    assert load({"accounting_currency": "JPY"}, environ={}, folder=tmp_path).accounting_currency == "JPY"
    with pytest.raises(Permanent, match="'COUNTERSIGN_ACCOUNTING_CURRENCY' is not usable"):
        load({"accounting_currency": "yen"}, environ={}, folder=tmp_path)


async def test_installation_in_another_currency_than_its_records_does_not_start(
    urls: Urls, bob: Principal, tmp_path: Path
) -> None:
    await limits.put(urls.owner, bob.tenant, Limit("bob", "JPY", 5, 6))
    settings = load({"tenant": bob.tenant, "accounting_currency": "JPY"}, environ={}, folder=tmp_path)
    with pytest.raises(Permanent, match="accounts in EUR, not in JPY"):
        await bootstrap.set_up(settings, Addresses(urls.app, urls.owner, urls.world, False))
