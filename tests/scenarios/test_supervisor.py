"""Supervisor: children come back, give up with their last words, and never outlive it."""

import asyncio
import sys
from pathlib import Path

import pytest

from app.settings import load
from app.supervisor import Child, environment, supervise
from memory.errors import Permanent
from tests.scenarios.waiting import alive, until

pytestmark = pytest.mark.slow


def toy(folder: Path, manner: str = "waits") -> Child:
    return Child("toy", (str(folder), manner), module="tests.scenarios.toy")


def births(folder: Path) -> list[int]:
    return [int(path.read_text()) for path in sorted(folder.glob("born-*"))]


async def test_a_killed_child_lives_again(tmp_path: Path) -> None:
    async with supervise([toy(tmp_path)], logs=tmp_path / "logs") as supervisor:
        await until(lambda: len(births(tmp_path)) == 1, "first life")
        supervisor.kill("toy")
        await until(lambda: len(births(tmp_path)) == 2, "second life")
    assert not any(alive(pid) for pid in births(tmp_path))
    assert supervisor.restarts == {"toy": 1}


async def test_a_child_that_cannot_stay_up_is_given_up_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(Permanent, match="the port is taken"):
        async with supervise([toy(tmp_path, "fails")], logs=tmp_path / "logs"):
            await asyncio.Event().wait()
    assert len(births(tmp_path)) == 3


async def test_no_child_outlives_a_killed_supervisor(tmp_path: Path) -> None:
    keeper = await asyncio.create_subprocess_exec(sys.executable, "-m", "tests.scenarios.keeper", str(tmp_path))
    await until(lambda: len(births(tmp_path)) == 1, "the child's life")
    keeper.kill()
    await keeper.wait()
    await until(lambda: not alive(births(tmp_path)[0]), "the orphan's end")


def test_children_are_told_every_setting_and_nothing_else(tmp_path: Path) -> None:
    variables = {"COUNTERSIGN_PORT": "8123", "COUNTERSIGN_BUDGET__CALLS": "7", "COUNTERSIGN_KEY": "secret"}
    settings = load(environ=variables, folder=tmp_path)
    child_variables = environment(settings)
    assert variables.items() <= child_variables.items()
    assert load(environ=child_variables, folder=tmp_path) == settings
