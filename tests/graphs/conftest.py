"""Stages for the tests of flow and nodes."""

from typing import Any

import pytest

from memory.postgres.database import Database
from memory.scope import Principal
from tests.conftest import VirtualClock
from tests.graphs.stage import Stage, Stages


@pytest.fixture
def stages(database: Database, clock: VirtualClock, people: dict[str, Principal]) -> Stages:
    """Return a factory of systems on this test's tenant."""

    def make(**options: Any) -> Stage:
        return Stage(database, clock, people, **options)

    return make
