"""Fixture of gateway tests: a shop behind a gateway."""

from collections.abc import Mapping

import pytest

from memory.postgres.database import Database
from memory.scope import Principal
from tests.conftest import VirtualClock
from tests.tools.support import Desk, open_desk


@pytest.fixture
async def desk(database: Database, people: Mapping[str, Principal], clock: VirtualClock) -> Desk:
    """Return a shop behind a gateway, with its policy in force for a fresh tenant."""
    return await open_desk(database, people, clock)
