"""Runbook version of an old run: its exact text stays readable, whatever was published and tidied since."""

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
from tests.serving import serving

pytestmark = pytest.mark.slow
RUNBOOK = "billing.double-charge"
Ask = Callable[..., Awaitable[str]]


@asynccontextmanager
async def serve(town: Town) -> AsyncGenerator[str]:
    """Serve the API of a town on loopback."""
    with listening("127.0.0.1", 0) as listener:
        config = uvicorn.Config(
            create_app(town.system.api_services), log_level="warning", lifespan="off", timeout_graceful_shutdown=1
        )
        async with serving(uvicorn.Server(config), listener):
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"


async def key(town: Town, person: str) -> str:
    return (await bootstrap.first_key(town.settings, town.addresses, person)).secret


async def publish_edits(url: str, secret: str) -> list[str]:
    """Publish three later versions of the runbook over HTTP; returns their texts."""
    texts = list[str]()
    async with httpx2.AsyncClient(base_url=url, headers={"X-Api-Key": secret}, timeout=20) as carol:
        for edit in ("once", "twice", "three times"):
            runbook = (await carol.get(f"/api/knowledge/{RUNBOOK}")).json()
            body = runbook["body"].replace(f"version: {runbook['version']}\n", f"version: {runbook['version'] + 1}\n")
            texts.append(f"{body}\nEdited {edit}.\n")
            answer = await carol.post("/api/knowledge", json={"id": RUNBOOK, "kind": "runbook", "body": texts[-1]})
            assert answer.status_code == 201, answer.text
    return texts


async def a_week_passes(town: Town, superuser: Connect) -> None:
    """Move all runs of a town into the past, and tidy as workers do."""
    async with superuser() as above:
        for column in ("created", "ended"):
            await above.execute(
                f"update runs set {column} = {column} - interval '7 days' where tenant = %s".encode(),
                [town.settings.tenant],
            )
    await housekeeping.tidy(town.system.database)


async def test_a_run_of_last_week_shows_the_exact_runbook_it_used(
    towns: Towns, superuser: Connect, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """R95 R118: found from the run alone, over HTTP and on the command line, after three later edits."""

    async def output(*argv: str) -> str:
        code = await asyncio.to_thread(cli.run, list(argv))
        out, err = capfd.readouterr()
        assert code == 0, err
        return out

    async with towns() as town, serve(town) as url:
        async with town.worker():
            run = await town.ask()
            assert (await town.until_end(run)).status == "done"
        monkeypatch.setenv("COUNTERSIGN_URL", url)
        monkeypatch.setenv("COUNTERSIGN_KEY", await key(town, "alice"))
        old_text = await output("knowledge", "show", RUNBOOK)
        later = await publish_edits(url, await key(town, "carol"))
        await a_week_passes(town, superuser)

        report: dict[str, Any] = json.loads(await output("runs", "show", run, "--json"))
        ((id, version),) = [(citation["id"], citation["version"]) for citation in report["plan"]["cites"]]
        assert id == RUNBOOK
        assert await output("knowledge", "show", id, "--version", str(version)) == old_text
        assert await output("knowledge", "show", id) == later[-1] != old_text
        async with httpx2.AsyncClient(base_url=url, headers={"X-Api-Key": await key(town, "alice")}) as alice:
            over = (await alice.get(f"/api/knowledge/{id}", params={"version": version})).json()
        assert (over["body"], over["version"]) == (old_text, version)
