"""Fixtures of the scenarios: towns, stages and counters on this worker's database."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from memory.postgres.database import Database
from memory.postgres.roles import Urls
from memory.scope import Principal
from tests.conftest import VirtualClock
from tests.graphs.stage import Stage, Stages
from tests.scenarios.counter import Counters, open_counter
from tests.scenarios.town import Towns, open_town


@pytest.fixture
def passable(tmp_path: Path) -> Path:
    """Return a folder through which a server that must not be root may pass."""
    tmp_path.chmod(0o711)
    return tmp_path


@pytest.fixture
def towns(urls: Urls, tmp_path: Path) -> Towns:
    """Return a factory of towns; each has a tenant and a business of its own."""
    return partial(open_town, urls, tmp_path)


@pytest.fixture
def stages(database: Database, clock: VirtualClock, people: dict[str, Principal]) -> Stages:
    """Return a factory of systems on this test's tenant."""

    def make(**options: Any) -> Stage:
        return Stage(database, clock, people, **options)

    return make


@pytest.fixture
def counters(urls: Urls, stages: Stages) -> Counters:
    """Return a factory of counters on this test's tenant."""
    return partial(open_counter, urls, stages)
