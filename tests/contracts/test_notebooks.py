"""The notebooks run from top to bottom, without outputs kept, on data that a real run left behind."""

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import nbformat
import pytest
from nbclient import NotebookClient

from app.addresses import Addresses, addresses_of, service_keys
from app.bootstrap import people, set_up
from app.settings import Settings, load
from app.wiring import System, open_system
from app.worker import Driver
from app.world.service import open_world, server
from app.world.store import load as tell
from memory.governance import approvals
from memory.runs import records
from memory.scope import Access
from tests.contracts.measures import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
_NB: Any = nbformat
"""The package's own functions carry no types."""
_BUDGET = {"tokens": 50_000, "micros": 5_000_000, "calls": 100}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_is_kept_without_outputs(path: Path) -> None:
    cells = _NB.read(path, as_version=4).cells
    assert [cell.id for cell in cells if cell.get("outputs") or cell.get("execution_count")] == []


@pytest.mark.slow
async def test_the_checkpoint_notebook_forks_a_run_and_nothing_happens_twice(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R124 R112: history, state at the gate, a fork that is rejected and has no effects, and the difference."""
    folder = run_folder / f"notebook-{uuid4().hex[:8]}"
    await _incident(load({"data_dir": folder, "world_url": "http://127.0.0.1:9"}, environ={}, folder=tmp_path))
    for name in ("COUNTERSIGN_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(folder if name.startswith("COUNTERSIGN") else tmp_path))
    output = await _execute(ROOT / "notebooks" / "checkpoints.ipynb", tmp_path)
    assert "done db.disk-full" in output
    assert "planner" in output
    assert "denied approval_rejected - tried in a notebook" in output
    assert "0 effects" in output
    assert "+++ rejected" in output


@pytest.mark.slow
async def test_the_memory_notebook_shows_scopes_reasons_previews_and_forgetting(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R92 R94 R124: two people, a search that says why, a preview that removes nothing, and nothing left at the end."""
    folder = run_folder / f"notebook-{uuid4().hex[:8]}"
    settings = load({"data_dir": folder}, environ={}, folder=tmp_path)
    with addresses_of(settings) as addresses:
        await set_up(settings, addresses)
        for name in ("COUNTERSIGN_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
            monkeypatch.setenv(name, str(folder if name.startswith("COUNTERSIGN") else tmp_path))
        output = await _execute(ROOT / "notebooks" / "memory.ipynb", tmp_path)
    assert "ben finds ['The office printer is on the third floor']" in output
    assert "forged scope: 0 found\nrewritten setting: 0 rows" in output
    assert "left out: {'expired': 0, 'superseded': 1," in output
    assert "would leave" in output
    assert "[{'style': 'short', 'weight': 3}]\nben sees []\nforbidden" in output
    assert "forgotten: 1 left: 0\na tool says it again: tainted\njournal holds: True" in output
    assert output.count("tainted") == 2


async def _execute(path: Path, folder: Path) -> str:
    notebook = _NB.read(path, as_version=4)
    await NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(folder)}}).async_execute()
    outputs = (output for cell in notebook.cells for output in cell.get("outputs", []))
    return "".join(output.get("text", "") for output in outputs)


async def _incident(settings: Settings) -> None:
    """Let a full disk be repaired: asked by alice, approved by dave of operations."""
    with addresses_of(settings) as addresses:
        await set_up(settings, addresses)
        async with _business(settings, addresses) as url, open_system(_at(settings, url), addresses) as system:
            alice, _, _, dave, _ = map(Access.of, people(settings.tenant))
            run = str(uuid4())
            request: dict[str, Any] = {"request": "the database disk is almost full", "inputs": {}, "given": None}
            async with system.database.transaction(alice) as connection:
                await records.start(connection, id=run, thread=run, input=request, correlation=run, budget=_BUDGET)
            driver = Driver(system.database, system.deps, system.clock, 1)
            await driver.drive(run)
            await _approve(system, dave, run)
            await driver.drive(run)


def _at(settings: Settings, url: str) -> Settings:
    return settings.model_copy(update={"world_url": url})


async def _approve(system: System, access: Access, run: str) -> None:
    approval = (await approvals.ls(system.database, access, run=run))[0]
    answer: dict[str, Any] = {"decision": "approve", "reason": "needed", "channel": "test"}
    async with system.database.transaction(access) as connection:
        result = await approvals.decide(connection, approval=approval["id"], nonce=approval["nonce"], **answer)
    assert result.code == "ok"


@asynccontextmanager
async def _business(settings: Settings, addresses: Addresses) -> AsyncGenerator[str]:
    await tell(addresses.business_url, "world", seed=1, customers=60)
    keys = {str(role): key for role, key in service_keys(settings).items()}
    async with open_world(addresses.business_url, "world", keys) as world:
        listening = socket.create_server(("127.0.0.1", 0))
        business = server(world, "127.0.0.1", 0)
        task = asyncio.create_task(business.serve([listening]))
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        business.should_exit = True
        await task
