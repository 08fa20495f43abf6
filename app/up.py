"""Whole installation as children of one command (world, API, worker) with keys and a prompt; called by `up`."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from app import bootstrap
from app.addresses import Addresses, addresses_of, service_keys, signing_key, world_port
from app.processes import listening, run
from app.settings import Settings
from app.supervisor import Child, ServerKeeper, answers, environment, supervise, until
from memory.errors import Temporary
from memory.postgres.embedded import attach
from memory.postgres.refusals import DriverError, refusal_of

PEOPLE = ("alice", "bob", "carol", "dave")
PROMPT = "customers say they were billed twice on Friday night, fix it"
_KEY_DAYS = 30
_START_SECONDS = 90.0
_PREPARATIONS = 3


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
    with addresses_of(settings) as addresses:
        run(lambda: _run(settings, addresses, announce, seed=seed, customers=customers))


async def _run(
    settings: Settings, addresses: Addresses, announce: Callable[[Ready], None], *, seed: int, customers: int
) -> None:
    keeper = (
        ServerKeeper(lambda: attach(settings.data_dir, programs=settings.postgres_bin))
        if addresses.is_embedded
        else None
    )
    try:
        keys = await _prepare(settings, addresses, keeper)
        await _keep(settings, keeper, keys, announce, seed=seed, customers=customers)
    finally:
        if keeper:
            keeper.close()


async def _prepare(settings: Settings, addresses: Addresses, keeper: ServerKeeper | None) -> Mapping[str, str]:
    """Set up and return the people's keys; begins again if the embedded server dies in the middle."""
    # Drawn before the children start, which read them from the same folder.
    service_keys(settings)
    signing_key(settings, addresses)
    for number in range(1, _PREPARATIONS + 1):
        try:
            await bootstrap.set_up(settings, addresses)
            return await _people_keys(settings, addresses)
        except (Temporary, DriverError) as error:
            if keeper is None or number == _PREPARATIONS:
                raise refusal_of(error) or error from error
            await keeper.recover()
    raise AssertionError("unreachable: the last attempt returns or raises")


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
        await until(lambda: answers(f"{settings.api}/readyz"), "the API", _START_SECONDS)
        await until(lambda: answers(f"{world}/livez"), "the demo business", _START_SECONDS)
        announce(Ready(settings.api, world, keys))
        await asyncio.Event().wait()
