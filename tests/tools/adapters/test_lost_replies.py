"""The shipped billing adapter and HTTP client: replies that get lost, and a job whose state others change."""

from typing import Any, cast

import httpx2
import pytest

from app.world.store import RETRY_JOB
from tests.conftest import VirtualClock
from tests.tools.adapters.conftest import OpenOffice
from tests.tools.adapters.office import Office
from tools.catalog import Catalog
from tools.resilience import call_tool
from tools.services import ServiceClient
from tools.tool import Call

ARGS = {"charge": "ch_000000000000", "amount": 5}


class Billing(httpx2.AsyncBaseTransport):
    """A service whose first request is still at work: it knows nothing under the key and repeats one answer."""

    def __init__(self, status: int, *, loses_first: bool) -> None:
        self.status, self.loses_first = status, loses_first

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Answer a look-up with nothing, the first write with silence, and every other with the status."""
        if request.method == "GET":
            return httpx2.Response(404, json={"detail": "nothing was done under this key"}, request=request)
        if self.loses_first:
            self.loses_first = False
            raise httpx2.ReadTimeout("the first request is still at work")
        detail = {"detail": "a request with this key is still at work"}
        return httpx2.Response(self.status, json=detail, request=request)


async def refund(billing: Billing, *, first_look: bool) -> str:
    """Return what is concluded about one refund."""
    tool, key = Catalog.discover().get("billing.refund"), "billing.refund:x"
    async with ServiceClient("http://business.test", {"executor": "k"}, transport=billing) as services:
        way = services.bind("executor", "run-1", permit="p", key=key)
        call = Call(key, "run-1", "s", "alice", "executor", way, cast(Any, None))
        args = tool.arguments.model_validate(ARGS)
        return (await call_tool(tool, args, call, VirtualClock(), first_look=first_look)).state


@pytest.mark.parametrize("first_look", [False, True], ids=["a lost reply", "a take-over"])
@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 409, 422, 423, 425, 429, 499, 503])
async def test_no_answer_to_a_repetition_says_that_the_first_request_failed(status: int, *, first_look: bool) -> None:
    assert await refund(Billing(status, loses_first=not first_look), first_look=first_look) == "unknown"


async def test_a_job_that_is_paused_resumed_and_paused_in_three_runs_is_paused(open_office: OpenOffice) -> None:
    async with open_office() as office:
        for name, status in (("pause", "paused"), ("resume", "running"), ("pause", "paused"), ("pause", "paused")):
            outcome = await office.perform(f"billing.{name}_job", {"job": RETRY_JOB}, lease=await office.run())
            assert (outcome.state in ("done", "skipped"), await job_status(office)) == (True, status)


async def test_a_job_whose_pause_was_undone_by_hand_is_paused_again(open_office: OpenOffice) -> None:
    async with open_office() as office:
        await office.perform("billing.pause_job", {"job": RETRY_JOB}, lease=await office.run())
        await office.business.rows("update {i}_billing.jobs set status = 'running' returning id")
        outcome = await office.perform("billing.pause_job", {"job": RETRY_JOB}, lease=await office.run())
        assert (outcome.state, await job_status(office)) == ("done", "paused")


async def job_status(office: Office) -> str:
    """Return how the job is at the service itself."""
    (row,) = await office.business.rows(f"select status from {{i}}_billing.jobs where id = '{RETRY_JOB}'")
    return str(row["status"])
