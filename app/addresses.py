"""Database addresses by role and service keys; every process reads them here at start-up.

Without an address in the settings, the embedded Postgres of the data folder serves.
"""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr

from app.settings import Settings
from memory.errors import Permanent
from memory.evidence.signing_key import SigningKey, draw
from memory.postgres.embedded import attach
from memory.postgres.roles import Secrets, password

SIGNING_KEY = "signing-key"
"""Name of its file in the data folder."""
_SIGNED = "signed"
"""Folder of what was signed with it."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Addresses by database role; a process that only serves an outside database knows the app's alone."""

    app: str
    owner: str | None
    world: str | None
    is_embedded: bool
    worker: str | None = None

    @property
    def owner_url(self) -> str:
        """Return the owner's address; raises Permanent("configuration") if it is not known."""
        return _require(self.owner, "COUNTERSIGN_DATABASE_OWNER_URL", "the role that owns the database")

    @property
    def worker_url(self) -> str:
        """Return the workers' address; raises Permanent("configuration") if it is not known."""
        return _require(self.worker, "COUNTERSIGN_WORKER_DATABASE_URL", "the role of workers")

    @property
    def business_url(self) -> str:
        """Return the world's address; raises Permanent("configuration") if it is not known."""
        return _require(self.world, "COUNTERSIGN_WORLD_DATABASE_URL", "the role of the demo business")


@contextmanager
def addresses_of(settings: Settings) -> Generator[Addresses]:
    """Yield the addresses; without one in the settings, hold the embedded server for the length of the block.

    Blocks while the server starts: enter before an event loop has work to do.
    """
    # Only the app's address is needed to serve; the others are asked for where they are used.
    if settings.database_url:
        owner, world = _plain(settings.database_owner_url), _plain(settings.world_database_url)
        worker = _plain(settings.worker_database_url)
        yield Addresses(settings.database_url.get_secret_value(), owner, world, is_embedded=False, worker=worker)
        return
    with attach(settings.data_dir, programs=settings.postgres_bin) as server:
        urls = server.urls
        yield Addresses(urls.app, urls.owner, urls.world, is_embedded=True, worker=urls.worker)


def demand_server(settings: Settings) -> None:
    """Raise Permanent("configuration") where no address is set and no server of ours was ever started."""
    if settings.database_url is None and not (settings.data_dir / "postgres" / "data").exists():
        message = f"there never was a server in {str(settings.data_dir)!r}; set COUNTERSIGN_DATA_DIR to its folder"
        raise Permanent("configuration", f"{message}, or the addresses of another")


def world_url(settings: Settings) -> str:
    """Return the address of the business services."""
    return settings.world_url or f"http://127.0.0.1:{settings.world_port}"


def world_port(settings: Settings) -> int:
    """Return the port at which a demo world of our own listens."""
    return urlsplit(world_url(settings)).port or settings.world_port


def service_keys(settings: Settings) -> Mapping[str, str]:
    """Return the service key of each agent role; drawn once per data folder if the settings have none."""
    return {
        "researcher": _plain(settings.world_key_read) or _stored_secret(settings.data_dir, "world-read"),
        "executor": _plain(settings.world_key_write) or _stored_secret(settings.data_dir, "world-write"),
    }


def signing_key(settings: Settings, addresses: Addresses) -> SigningKey | None:
    """Return the key that signs heads, or None; without a setting an embedded installation has one in its data folder.

    Raises Permanent("configuration") for a stored key that is none.
    """
    if settings.signing_key:
        return SigningKey.of(settings.signing_key.get_secret_value(), settings.data_dir / _SIGNED)
    if not addresses.is_embedded:
        return None
    try:
        return SigningKey.of(_stored_secret(settings.data_dir, SIGNING_KEY, draw), settings.data_dir / _SIGNED)
    except ValueError as error:
        path = settings.data_dir / "secrets" / SIGNING_KEY
        raise Permanent("configuration", f"{str(path)!r} cannot be used: {error}; restore or remove it") from error


def _stored_secret(folder: Path, name: str, draw: Callable[[], str] = password) -> str:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Secrets(folder / "secrets").of(name, draw)
    except OSError as error:
        raise Permanent(
            "configuration",
            f"the data folder {str(folder)!r} cannot be used ({error.strerror}); make it writable or set DATA_DIR",
        ) from error


def _plain(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None


def _require(url: str | None, setting: str, role: str) -> str:
    if url is None:
        raise Permanent("configuration", f"this needs the address of {role}; set {setting}")
    return url
