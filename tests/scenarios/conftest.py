"""Fixtures of the scenarios: towns on this worker's database."""

from functools import partial
from pathlib import Path

import pytest

from memory.postgres.roles import Urls
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
