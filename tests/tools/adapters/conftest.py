"""Fixture of adapter tests: a factory of offices, each with its own billing night, faults and policy."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial

import pytest

from memory.postgres.database import Database
from memory.postgres.roles import Urls
from memory.scope import Principal
from tests.tools.adapters.office import Office, office

OpenOffice = Callable[..., AbstractAsyncContextManager[Office]]


@pytest.fixture
def open_office(urls: Urls, database: Database, people: Mapping[str, Principal]) -> OpenOffice:
    """Return a factory of offices."""
    return partial(office, urls, database, people)
