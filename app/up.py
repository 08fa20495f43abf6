"""Whole installation as children of one command (world, API, worker) with keys and a prompt; called by `up`."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from app import bootstrap
from app.addresses import Addresses, addresses_of, service_keys, signing_key, world_port
from app.processes import listening, run
from app.settings import Settings
from app.supervisor import STOP_SECONDS, Child, ServerKeeper, answers, environment, supervise, until
from memory.errors import Temporary
from memory.postgres.embedded import attach
from memory.postgres.refusals import DriverError, refusal_of

_LOG = logging.getLogger(__name__)
PEOPLE = ("alice", "bob", "carol", "dave")
PROMPT = "customers say they were billed twice on Friday night, fix it"
_KEY_DAYS = 30
_START_SECONDS = 90.0
_PAUSE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Ready:
    """Addresses, keys and a prompt for people to begin with."""

    api: str
    world: str
    keys: Mapping[str, str]
    prompt: str = PROMPT


def up(settings: Settings, announce: Callable[[Ready], None], *, seed: int, customers: int) -> None:
    """Run everything until interrupted; `announce` is called once all of it answers.

    Raises Permanent("configuration") for a port that is taken, before anything is started.
    """
    listening(settings.host, settings.port).close()
    listening(settings.host, world_port(settings), "--world-port").close()
    with ExitStack() as stack:
        addresses = _reach(settings, stack)
        work = partial(_run, settings, addresses, announce, seed=seed, customers=customers)
        run(work, grace=STOP_SECONDS * 2)


def _reach(settings: Settings, stack: ExitStack) -> Addresses:
    """Hold the database on `stack`; a server that dies while it starts is started again for a while."""
    end = time.monotonic() + _START_SECONDS
    while True:
        try:
            return stack.enter_context(addresses_of(settings))
        except Temporary as error:
            if time.monotonic() > end:
                raise
            _LOG.warning("%s; trying again", error)
            time.sleep(_PAUSE_SECONDS)


async def _run(
    settings: Settings, addresses: Addresses, announce: Callable[[Ready], None], *, seed: int, customers: int
) -> None:
    keeper = await _keeper(settings) if addresses.is_embedded else None
    try:
        keys = await _prepare(settings, addresses, keeper)
        await _keep(settings, keeper, keys, announce, seed=seed, customers=customers)
    finally:
        if keeper:
            keeper.close()


async def _keeper(settings: Settings) -> ServerKeeper:
    """Return the keeper of the embedded server, which may die while it is attached to."""
    end = time.monotonic() + _START_SECONDS
    while True:
        try:
            return await asyncio.to_thread(
                lambda: ServerKeeper(lambda: attach(settings.data_dir, programs=settings.postgres_bin))
            )
        except Temporary as error:
            if time.monotonic() > end:
                raise
            _LOG.warning("%s; trying again", error)
            await asyncio.sleep(_PAUSE_SECONDS)


async def _prepare(settings: Settings, addresses: Addresses, keeper: ServerKeeper | None) -> Mapping[str, str]:
    """Set up and return the people's keys; begins again if the embedded server dies in the middle."""
    # Drawn before the children start, which read them from the same folder.
    service_keys(settings)
    signing_key(settings, addresses)
    end = time.monotonic() + _START_SECONDS
    while True:
        try:
            await bootstrap.set_up(settings, addresses)
            return await _people_keys(settings, addresses)
        except (Temporary, DriverError) as error:
            refusal = refusal_of(error) or error
            if keeper is None or not isinstance(refusal, Temporary) or time.monotonic() > end:
                raise refusal from error
            _LOG.warning("%s; trying again", refusal)
            await _recover(keeper)


async def _recover(keeper: ServerKeeper) -> None:
    """Give the server a moment, and start it again if it is gone; whether it came back the next attempt sees."""
    await asyncio.sleep(_PAUSE_SECONDS)
    try:
        await keeper.recover()
    except Temporary as error:
        _LOG.warning("%s", error)


async def _people_keys(settings: Settings, addresses: Addresses) -> Mapping[str, str]:
    return {
        name: (await bootstrap.first_key(settings, addresses, name, label="up", days=_KEY_DAYS)).secret
        for name in PEOPLE
    }


async def _keep(
    settings: Settings,
    keeper: ServerKeeper | None,
    keys: Mapping[str, str],
    announce: Callable[[Ready], None],
    *,
    seed: int,
    customers: int,
) -> None:
    """Run the children until interrupted."""
    port = world_port(settings)
    world = f"http://127.0.0.1:{port}"
    variables = environment(settings)
    # Whoever only plays the business signs nothing.
    business = environment(settings.model_copy(update={"signing_key": None}))
    children = [
        Child("world", ("world", f"--seed={seed}", f"--customers={customers}", f"--port={port}"), business),
        Child("serve", ("serve", "--no-worker"), variables),
        Child("worker", ("worker",), variables),
    ]
    async with supervise(children, logs=settings.data_dir / "logs", server=keeper):
        await _until_ready(f"{settings.api}/readyz", "the API", keeper)
        await _until_ready(f"{world}/livez", "the demo business", keeper)
        announce(Ready(settings.api, world, keys))
        await asyncio.Event().wait()


async def _until_ready(probe: str, name: str, keeper: ServerKeeper | None) -> None:
    """Wait until a child answers; one whose database died meanwhile has its whole time again."""
    while True:
        recoveries = keeper.recoveries if keeper else 0
        try:
            return await until(lambda: answers(probe), name, _START_SECONDS)
        except Temporary:
            if keeper is None or not await keeper.was_away(recoveries):
                raise
