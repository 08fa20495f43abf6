"""Everything at once, and it stays up: Postgres, the demo business, API and worker; called by the command line."""

import asyncio
import os
import signal
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from app import founding
from app.places import WORLD_PORT, Places, located
from app.settings import Settings
from app.supervisor import Child, Watched, answers, environment, supervise, until
from memory import principals
from memory.database import Database
from memory.errors import Permanent
from memory.postgres import attach

PEOPLE = ("alice", "bob", "carol")
_START_SECONDS = 90.0
_PROMPT = "customers say they were billed twice on Friday night, fix it"


def up(settings: Settings, *, tell: Callable[[str], None], faults: str = "none") -> None:
    """Run until SIGTERM or Ctrl-C; tells addresses, three people's keys and a first prompt once all of it answers.

    Raises Permanent or Temporary if a part cannot start, with that part's last words.
    """
    with ExitStack() as stack:
        places = stack.enter_context(located(settings))
        watched = (
            Watched(lambda: attach(settings.data_dir, programs=settings.postgres_bin)) if places.embedded else None
        )
        if watched:
            stack.callback(watched.close)
        asyncio.run(_stay(settings, places, watched, tell=tell, faults=faults))


async def _stay(
    settings: Settings, places: Places, watched: Watched | None, *, tell: Callable[[str], None], faults: str
) -> None:
    await founding.found(settings, places)
    keys = await people_keys(settings, places)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with supervise(_children(settings, faults), logs=settings.data_dir / "logs", server=watched):
        ready = asyncio.create_task(_ready(settings, keys, tell))
        await stop.wait()
        ready.cancel()


async def _ready(settings: Settings, keys: Mapping[str, str], tell: Callable[[str], None]) -> None:
    await until(lambda: answers(f"{settings.api}/readyz"), "the API", _START_SECONDS)
    tell(f"Countersign answers at {settings.api} (logs in {settings.data_dir / 'logs'}).")
    for name, key in keys.items():
        tell(f"  {name:6} COUNTERSIGN_KEY={key}")
    tell(f"Try, as alice: COUNTERSIGN_URL={settings.api} COUNTERSIGN_KEY={keys['alice']} \\")
    tell(f'  countersign chat "{_PROMPT}"')


def _children(settings: Settings, faults: str) -> list[Child]:
    variables = environment(settings)
    children = [Child("serve", ("serve", "--no-worker"), variables), Child("worker", ("worker",), variables)]
    if settings.world_url is None:
        world = ("world", f"--port={WORLD_PORT}", f"--faults={faults}", "--no-reset")
        children.append(Child("world", world, variables))
    return children


async def people_keys(settings: Settings, places: Places) -> dict[str, str]:
    """Return a key for each of the story's people, kept beside the other secrets of the data folder."""
    database = await Database.open(places.app, size=1)
    try:
        return {name: await _key(settings, places, database, name) for name in PEOPLE}
    finally:
        await database.close()


async def _key(settings: Settings, places: Places, database: Database, name: str) -> str:
    path = settings.data_dir / "secrets" / f"key-{settings.tenant}-{name}"
    if (known := _read(path)) and await _opens(database, known):
        return known
    issued = await founding.first_key(settings, places, name)
    _write(path, issued.secret)
    return issued.secret


async def _opens(database: Database, key: str) -> bool:
    try:
        await principals.authenticate(database, key)
    except Permanent:
        return False
    return True


def _read(path: Path) -> str | None:
    return path.read_text() if path.exists() else None


def _write(path: Path, secret: str) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(secret)
