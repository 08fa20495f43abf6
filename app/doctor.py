"""What stands in the way of running here: one line per check, each with what to do."""

import shutil
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Literal

from app.places import Places, located, world_port
from app.settings import Settings
from memory import reembedding
from memory.database import Database
from memory.embedders import id_of, named
from memory.errors import ControlError
from memory.shape import missing, seconds_apart

Verdict = Literal["ok", "warn", "fail"]
_LEAST_FREE = 500_000_000
_LEAST_PYTHON = (3, 11)
_MOST_SECONDS_APART = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """One check and what came of it; `fix` is what to do unless it is ok."""

    check: str
    verdict: Verdict
    found: str
    fix: str = ""


async def examine(settings: Settings) -> list[Finding]:
    """Return every finding that needs no database."""
    return [
        _python(),
        _disk(settings),
        _port(settings.host, settings.port),
        _port("127.0.0.1", world_port(settings)),
        _embedder(settings),
    ]


async def examine_database(places: Places, settings: Settings) -> list[Finding]:
    """Return what there is to say of a database that answers."""
    try:
        database = await Database.open(places.app, size=1)
    except ControlError as error:
        fix = "mend what the message names; COUNTERSIGN_DATABASE_URL is role cs_app's address"
        return [Finding("database role", "fail", str(error), fix)]
    try:
        return [
            Finding("database role", "ok", "the app's role stands below row security"),
            await _told("migrations", database, _migrations),
            await _told("clock", database, _clock),
            await _told("vectors", database, partial(_vectors, id_of(settings.embeddings))),
        ]
    finally:
        await database.close()


def reach(settings: Settings, held: ExitStack) -> tuple[Finding, Places | None]:
    """Start or find the database and hold it with `held`; the places are None if it cannot be reached."""
    try:
        places = held.enter_context(located(settings))
    except ControlError as error:
        return Finding("postgres", "fail", str(error), "mend what the message names"), None
    return Finding("postgres", "ok", "embedded" if places.embedded else "by COUNTERSIGN_DATABASE_URL"), places


def _python() -> Finding:
    found = ".".join(map(str, sys.version_info[:3]))
    good = sys.version_info >= _LEAST_PYTHON
    return Finding("python", "ok" if good else "fail", found, "" if good else "install Python 3.11 or newer")


def _disk(settings: Settings) -> Finding:
    place = settings.data_dir.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    told = f"{str(settings.data_dir)!r}, {free // 10**6:,} MB free"
    if free < _LEAST_FREE:
        return Finding("data folder", "warn", told, "make room or set COUNTERSIGN_DATA_DIR to another disk")
    return Finding("data folder", "ok", told)


def _port(host: str, port: int) -> Finding:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            fix = "fine if that is ours; else end that process or set another port"
            return Finding(f"port {port}", "warn", error.strerror or "in use", fix)
    return Finding(f"port {port}", "ok", "free")


async def _migrations(database: Database) -> Finding:
    async with database.system() as connection:
        lacking = await missing(connection)
    if lacking:
        return Finding("migrations", "fail", f"missing: {', '.join(lacking)}", "run `countersign migrate`")
    return Finding("migrations", "ok", "the database has this release's shape")


async def _clock(database: Database) -> Finding:
    async with database.system() as connection:
        apart = await seconds_apart(connection, time.time())
    good = abs(apart) <= _MOST_SECONDS_APART
    fix = "" if good else "set both clocks by NTP; permits live two minutes"
    return Finding("clock", "ok" if good else "warn", f"{apart:+.1f} s between here and the database", fix)


def _embedder(settings: Settings) -> Finding:
    try:
        found = named(settings.embeddings, settings.embeddings_base_url).id
    except ControlError as error:
        return Finding("embeddings", "fail", str(error), "mend it or set COUNTERSIGN_EMBEDDINGS=lexical")
    return Finding("embeddings", "ok", found)


async def _vectors(embedder: str, database: Database) -> Finding:
    async with database.system() as connection:
        if await missing(connection):
            return Finding("vectors", "warn", "unknown before the migrations", "run `countersign migrate`")
    left = await reembedding.waiting(database, embedder)
    if left.memories or left.knowledge:
        found = f"{left.memories:,} memories and {left.knowledge:,} items of knowledge wait for {embedder!r}"
        return Finding("vectors", "warn", found, "workers make them in the background; until then words find these")
    return Finding("vectors", "ok", f"all of {embedder!r}")


async def _told(name: str, database: Database, check: Callable[[Database], Awaitable[Finding]]) -> Finding:
    try:
        return await check(database)
    except ControlError as error:
        return Finding(name, "fail", str(error), "mend what the message names")
