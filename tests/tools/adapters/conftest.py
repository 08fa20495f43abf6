"""How adapter tests open an office: with the night, the faults and the policy that they want."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial

import pytest

from memory.postgres.database import Database
from memory.postgres.roles import Urls
from memory.scope import Principal
from tests.tools.adapters.office import Office, office

Open = Callable[..., AbstractAsyncContextManager[Office]]


@pytest.fixture
def opened(urls: Urls, database: Database, people: Mapping[str, Principal]) -> Open:
    """Return a factory of offices."""
    return partial(office, urls, database, people)
