"""One quiet, unpermitted instance per test; tests that need faults or permits open their own."""

from collections.abc import AsyncGenerator

import pytest

from memory.postgres.roles import Urls
from tests.app.world.business import Business, business


@pytest.fixture
async def shop(urls: Urls, anyio_backend: str) -> AsyncGenerator[Business]:
    async with business(urls) as shop:
        yield shop
