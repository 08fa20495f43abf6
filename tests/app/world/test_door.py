"""Entrance of the demo business: service keys, permits and idempotency, over a real socket."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from app.world.faults import RateLimit
from memory.postgres.roles import Urls
from tests.app.world.business import Business, business, permit
from tests.conftest import Connect

TOOL = "tickets.comment"
PATH = "/tickets/comment"
BODY: dict[str, Any] = {"ticket": "t_1001", "text": "looked at it"}


@pytest.fixture
async def strict_shop(urls: Urls, anyio_backend: str) -> AsyncGenerator[Business]:
    async with business(urls, permits=True) as shop:
        yield shop


async def _comments(shop: Business) -> int:
    return (await shop.actual_counts())["comments"]


async def test_nobody_gets_in_without_a_key(shop: Business) -> None:
    assert (await shop.client.get("/billing/jobs")).status_code == 401
    assert (await shop.client.post(PATH, json=BODY, headers={"Authorization": "Bearer guess"})).status_code == 401


async def test_researchers_key_may_only_read(shop: Business) -> None:
    """R26."""
    assert (await shop.get("/billing/jobs")).status_code == 200
    assert (await shop.post(PATH, BODY, role="researcher")).status_code == 403
    assert await _comments(shop) == 0


async def test_write_with_its_permit_happens_on_behalf_of_the_person(strict_shop: Business, superuser: Connect) -> None:
    answer = await strict_shop.post(PATH, BODY, key="k", permit=await permit(superuser, TOOL, BODY))
    assert answer.status_code == 200
    (entry,) = await strict_shop.rows("select * from {i}_billing.requests where outcome = 'done'")
    assert (entry["subject"], entry["actor"], entry["correlation"]) == ("alice", "executor", "tests")


async def test_write_without_a_permit_is_refused(strict_shop: Business) -> None:
    assert (await strict_shop.post(PATH, BODY, key="k")).status_code == 401
    assert (await strict_shop.post(PATH, BODY, key="k", permit="made up")).status_code == 401
    assert await _comments(strict_shop) == 0


async def test_expired_permit_is_refused(strict_shop: Business, superuser: Connect) -> None:
    late = await permit(superuser, TOOL, BODY, seconds=-1)
    assert (await strict_shop.post(PATH, BODY, key="k", permit=late)).status_code == 401


async def test_permit_of_other_arguments_or_another_tool_is_refused(strict_shop: Business, superuser: Connect) -> None:
    other = await permit(superuser, TOOL, {**BODY, "text": "something else"})
    foreign = await permit(superuser, "billing.pause_job", BODY)
    assert (await strict_shop.post(PATH, BODY, key="k", permit=other)).status_code == 403
    assert (await strict_shop.post(PATH, BODY, key="k", permit=foreign)).status_code == 403
    assert await _comments(strict_shop) == 0


async def test_permit_serves_one_key_only_and_its_answer_stays_known(strict_shop: Business, superuser: Connect) -> None:
    once = await permit(superuser, TOOL, BODY)
    first = await strict_shop.post(PATH, BODY, key="a", permit=once)
    again = await strict_shop.post(PATH, BODY, key="a", permit=once)
    assert (await strict_shop.post(PATH, BODY, key="b", permit=once)).status_code == 401
    assert (again.status_code, again.json()) == (200, first.json())
    assert again.headers["Idempotent-Replay"] == "true"
    assert await _comments(strict_shop) == 1


async def test_refused_write_leaves_its_permit_usable(strict_shop: Business, superuser: Connect) -> None:
    body = {"ticket": "t_9999", "text": "nobody there"}
    jti = await permit(superuser, TOOL, body)
    assert (await strict_shop.post(PATH, body, key="a", permit=jti)).status_code == 422
    assert (await strict_shop.post(PATH, body, key="a", permit=jti)).status_code == 422


async def test_eight_senders_of_one_key_make_one_effect_and_get_one_answer(
    strict_shop: Business, superuser: Connect
) -> None:
    """R71."""
    once = await permit(superuser, TOOL, BODY)
    answers = await asyncio.gather(*(strict_shop.post(PATH, BODY, key="race", permit=once) for _ in range(8)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1
    assert sum("Idempotent-Replay" in answer.headers for answer in answers) == 7
    assert await _comments(strict_shop) == 1


async def test_key_with_another_body_is_refused(shop: Business) -> None:
    await shop.post(PATH, BODY, key="k")
    assert (await shop.post(PATH, {**BODY, "text": "other"}, key="k")).status_code == 422
    assert await _comments(shop) == 1


async def test_client_without_keys_writes_as_often_as_it_asks(shop: Business) -> None:
    await shop.post(PATH, BODY)
    await shop.post(PATH, BODY)
    assert await _comments(shop) == 2


async def test_read_back_tells_what_was_done_under_a_key(shop: Business) -> None:
    receipt = await shop.post(PATH, BODY, key="billing.odd:ch/1")
    answer = await shop.read("/tickets/operations/billing.odd%3Ach%2F1")
    assert answer == {"response": receipt.json()}
    assert (await shop.get("/tickets/operations/never")).status_code == 404
    assert (await shop.get("/billing/operations/billing.odd%3Ach%2F1")).status_code == 404


@pytest.mark.parametrize("body", [{}, {"ticket": "t_1001"}, {"ticket": 1, "text": "x"}])
async def test_unusable_body_is_refused_before_anything(shop: Business, body: dict[str, Any]) -> None:
    answer = await shop.post(PATH, body)
    assert answer.status_code == 422
    assert "tickets.comment" in answer.json()["detail"]


@pytest.mark.parametrize("content", [b"no json", b"[1]", b"\xff"])
async def test_body_that_is_no_object_is_refused(shop: Business, content: bytes) -> None:
    headers = {"Authorization": "Bearer reads-and-writes"}
    assert (await shop.client.post(PATH, content=content, headers=headers)).status_code == 400


async def test_too_many_calls_in_a_second_are_told_to_wait(shop: Business) -> None:
    shop.world.rate_limit = RateLimit(per_second=0)
    answer = await shop.get("/billing/jobs")
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "1")
