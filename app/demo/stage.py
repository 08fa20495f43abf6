"""Stage of the demo: an empty database, four instances of the business, three people's keys, API and worker."""

import fcntl
import os
import shutil
import socket
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from app import bootstrap
from app.addresses import Addresses, addresses_of, service_keys
from app.settings import Settings
from app.supervisor import Child, ServerKeeper, Supervisor, answers, environment, supervise, until
from memory.errors import Permanent
from memory.postgres import inventory
from memory.postgres.embedded import attach

PEOPLE = ("alice", "bob", "carol")
_START_SECONDS = 90.0


@dataclass(frozen=True, slots=True)
class Instance:
    """One copy of the business, with its own data and its own faults."""

    name: str
    situation: str
    faults: str
    permits: bool = True


NIGHT = Instance("night", "invoice_night", "drop3")
NIGHT_NAIVE = replace(NIGHT, name="night_naive", permits=False)
WORLD = Instance("world", "double_charge", "drop7")
NAIVE = replace(WORLD, name="naive", permits=False)
INSTANCES = (NIGHT, NIGHT_NAIVE, WORLD, NAIVE)


@dataclass(frozen=True, slots=True)
class Stage:
    """Settings, addresses, keys and ports that the acts share."""

    settings: Settings
    addresses: Addresses
    keys: dict[str, str]
    ports: dict[str, int]

    @property
    def api(self) -> str:
        """Return the address of the control plane."""
        return self.settings.api

    @property
    def service_key(self) -> str:
        """Return the key with which a client may write to the business."""
        return service_keys(self.settings)["executor"]

    def world(self, instance: Instance) -> str:
        """Return the address of an instance of the business."""
        return f"http://127.0.0.1:{self.ports[instance.name]}"

    @asynccontextmanager
    async def control_plane(self, instance: Instance) -> AsyncGenerator[Supervisor]:
        """Run API and worker against an instance for the length of the block."""
        settings = self.settings.model_copy(update={"world_url": self.world(instance)})
        variables = environment(settings)
        children = [Child("serve", ("serve", "--no-worker"), variables), Child("worker", ("worker",), variables)]
        async with supervise(children, logs=self.settings.data_dir / "logs") as supervisor:
            await until(lambda: answers(f"{self.api}/readyz"), "the API", _START_SECONDS)
            await until(self._has_a_worker, "the worker", _START_SECONDS)
            yield supervisor

    async def _has_a_worker(self) -> bool:
        return await inventory.workers(self.addresses.owner_url) > 0

    @asynccontextmanager
    async def business(self, *, seed: int, customers: int, invoices: int) -> AsyncGenerator[None]:
        """Run all four instances for the length of the block; each is loaded first."""
        children = [
            _instance(self, instance, seed, invoices if instance.situation == "invoice_night" else customers)
            for instance in INSTANCES
        ]
        logs = self.settings.data_dir / "logs"
        keeper = _server_keeper(self.settings) if self.addresses.is_embedded else None
        try:
            async with supervise(children, logs=logs, server=keeper):
                yield
        finally:
            if keeper:
                keeper.close()


async def wait_for(stage: Stage, *instances: Instance) -> None:
    """Wait until instances are loaded and answer."""
    for instance in instances:
        url = f"{stage.world(instance)}/livez"
        await until(lambda url=url: answers(url), f"instance {instance.name!r} of the business", _START_SECONDS)


@contextmanager
def empty_database(settings: Settings) -> Generator[tuple[Settings, Addresses]]:
    """Yield settings and addresses of an empty database: the demo's own folder made anew, or an outside one.

    Raises Permanent("conflict") while another process uses the folder. Blocks while the server starts.
    """
    folder = settings.data_dir / "demo"
    if settings.database_url is None:
        _clear(settings, folder)
    api, *_ = _free_ports(1)
    own = settings.model_copy(update={"data_dir": folder, "host": "127.0.0.1", "port": api, "url": None})
    with addresses_of(own) as addresses:
        yield own, addresses


async def prepare(settings: Settings, addresses: Addresses) -> Stage:
    """Set up the tenant with its people and make keys for three of them."""
    if not addresses.is_embedded:
        await _refuse_foreign(addresses)
    await bootstrap.set_up(settings, addresses)
    keys = {name: (await bootstrap.first_key(settings, addresses, name, label="demo")).secret for name in PEOPLE}
    names = [instance.name for instance in INSTANCES]
    return Stage(settings, addresses, keys, dict(zip(names, _free_ports(len(names)), strict=True)))


def _clear(settings: Settings, folder: Path) -> None:
    if not folder.exists():
        return
    with _nobody_uses(folder):
        pass
    # A server whose holders were all killed may still run: adopt it, and as the last one out stop it.
    attach(folder, programs=settings.postgres_bin).close()
    shutil.rmtree(folder)


@contextmanager
def _nobody_uses(folder: Path) -> Generator[None]:
    # The embedded server's users hold a shared lock on this file; ours is exclusive.
    handle = os.open(folder / "users", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise Permanent(
            "conflict", f"another process uses the demo's data in {str(folder)!r}; end it, then start the demo again"
        ) from None
    finally:
        os.close(handle)


async def _refuse_foreign(addresses: Addresses) -> None:
    if tables := await inventory.tables(addresses.owner_url):
        examples = ", ".join(repr(name) for name in tables[:3])
        raise Permanent(
            "configuration",
            f"the demo wants an empty database, and this one holds {len(tables)} tables such as {examples}; "
            "give it another database, or none for an embedded one",
        )


def _server_keeper(settings: Settings) -> ServerKeeper:
    return ServerKeeper(lambda: attach(settings.data_dir, programs=settings.postgres_bin))


def _instance(stage: Stage, instance: Instance, seed: int, customers: int) -> Child:
    arguments = [
        "world",
        f"--instance={instance.name}",
        f"--situation={instance.situation}",
        f"--faults={instance.faults}",
        f"--seed={seed}",
        f"--customers={customers}",
        f"--port={stage.ports[instance.name]}",
        *([] if instance.permits else ["--no-permits"]),
    ]
    # Whoever only plays the business signs nothing.
    own = stage.settings.model_copy(update={"signing_key": None})
    return Child(instance.name, arguments, environment(own))


def _free_ports(count: int) -> list[int]:
    # All are bound before any is closed, or the system might give one port twice.
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()
