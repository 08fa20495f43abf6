"""A run from last week, looked at today: the exact text it rested on, whatever was published and tidied since."""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
import uvicorn

from app import bootstrap, cli, housekeeping
from app.api.server import create_app
from app.processes import listening
from tests.conftest import Connect
from tests.scenarios.town import Town, Towns

pytestmark = pytest.mark.slow
RUNBOOK = "billing.double-charge"
Ask = Callable[..., Awaitable[str]]


@asynccontextmanager
async def served(place: Town) -> AsyncGenerator[str]:
    """Serve the API of a town on loopback."""
    with listening("127.0.0.1", 0) as listener:
        config = uvicorn.Config(
            create_app(place.system.api_services), log_level="warning", lifespan="off", timeout_graceful_shutdown=1
        )
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve([listener]))
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        await serving


async def key(place: Town, person: str) -> str:
    return (await bootstrap.first_key(place.settings, place.addresses, person)).secret


async def publish_edits(url: str, secret: str) -> list[str]:
    """Publish three later versions of the runbook over HTTP; returns their texts."""
    texts = list[str]()
    async with httpx2.AsyncClient(base_url=url, headers={"X-Api-Key": secret}, timeout=20) as carol:
        for edit in ("once", "twice", "three times"):
            known = (await carol.get(f"/api/knowledge/{RUNBOOK}")).json()
            body = known["body"].replace(f"version: {known['version']}\n", f"version: {known['version'] + 1}\n")
            texts.append(f"{body}\nEdited {edit}.\n")
            answer = await carol.post("/api/knowledge", json={"id": RUNBOOK, "kind": "runbook", "body": texts[-1]})
            assert answer.status_code == 201, answer.text
    return texts


async def a_week_passes(place: Town, superuser: Connect) -> None:
    """Move all runs of a town into the past, and tidy as workers do."""
    async with superuser() as above:
        for column in ("created", "ended"):
            await above.execute(
                f"update runs set {column} = {column} - interval '7 days' where tenant = %s".encode(),
                [place.settings.tenant],
            )
    await housekeeping.tidy(place.system.database)


async def test_a_run_of_last_week_shows_the_exact_runbook_it_used(
    towns: Towns, superuser: Connect, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """R95 R118: found from the run alone, over HTTP and on the command line, after three later edits."""

    async def told(*argv: str) -> str:
        code = await asyncio.to_thread(cli.run, list(argv))
        out, err = capfd.readouterr()
        assert code == 0, err
        return out

    async with towns() as place, served(place) as url:
        async with place.worker():
            run = await place.ask()
            assert (await place.ended(run))["status"] == "done"
        monkeypatch.setenv("COUNTERSIGN_URL", url)
        monkeypatch.setenv("COUNTERSIGN_KEY", await key(place, "alice"))
        then = await told("knowledge", "show", RUNBOOK)
        later = await publish_edits(url, await key(place, "carol"))
        await a_week_passes(place, superuser)

        shown: dict[str, Any] = json.loads(await told("runs", "show", run, "--json"))
        ((id, version),) = [(cited["id"], cited["version"]) for cited in shown["plan"]["cites"]]
        assert id == RUNBOOK
        assert await told("knowledge", "show", id, "--version", str(version)) == then
        assert await told("knowledge", "show", id) == later[-1] != then
        async with httpx2.AsyncClient(base_url=url, headers={"X-Api-Key": await key(place, "alice")}) as alice:
            over = (await alice.get(f"/api/knowledge/{id}", params={"version": version})).json()
        assert (over["body"], over["version"]) == (then, version)
