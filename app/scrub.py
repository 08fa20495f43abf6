"""Forgetting with proof: what a person said is taken note of, forgotten by the API, scrubbed, and looked for again.

Called by `memory forget --scrub`, an operator's command: it has the owner's address, which the API never has.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from app.addresses import addresses_of, demand_server
from app.settings import Settings
from memory.maintenance import remains, scrubbing
from memory.maintenance.remains import Remains
from memory.maintenance.scrubbing import ScrubReport
from memory.postgres.embedded import attach

Cleanness = Literal["clean", "not clean", "not looked at"]
_FILES_ADVICE = (
    "as a superuser run `vacuum (full, analyze)` and `checkpoint`, then look for a text of theirs below data_directory"
)
_LOG_ADVICE = (
    "as a superuser set wal_recycle off, run `select pg_switch_wal()` and `checkpoint` until pg_wal has no older file, "
    "and let archived log, standbys and backups from before expire"
)


@dataclass(frozen=True, slots=True)
class Place:
    """One place where words can stay, and whether it is clean."""

    state: Cleanness
    why: str
    next: str = ""


@dataclass(frozen=True, slots=True)
class _Ground:
    """Addresses of one scrubbing."""

    owner: str
    superuser: str | None
    """Known of an embedded server alone."""
    folder: Path


def forget(settings: Settings, person: str, erase: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
    """Return the receipt of `erase`, which forgets the person, with the state of rows, files and log.

    Raises Permanent("configuration") without the owner's address or a server, before anything is forgotten.
    """
    demand_server(settings)
    with ExitStack() as stack:
        addresses = stack.enter_context(addresses_of(settings))
        superuser = None
        if addresses.is_embedded:
            server = stack.enter_context(attach(settings.data_dir, programs=settings.postgres_bin))
            superuser = server.urls.superuser
        ground = _Ground(addresses.owner_url, superuser, settings.data_dir.absolute())
        words = asyncio.run(remains.collect(ground.owner, settings.tenant, person))
        receipt = erase()
        places = asyncio.run(_scrub(ground, words))
    return {**receipt, "texts": len(words.pieces), "places": places}


async def _scrub(ground: _Ground, words: Remains) -> dict[str, Place]:
    report = await scrubbing.scrub(ground.owner, ground.superuser)
    return {
        "rows": await _rows(ground, words),
        "files": await _files(ground, words, report),
        "log": await _log(ground, words, report),
    }


async def _rows(ground: _Ground, words: Remains) -> Place:
    if not words.pieces:
        return Place("not looked at", "nothing they said is long enough to be looked for")
    hits = await remains.in_rows(ground.superuser or ground.owner, words)
    if hits:
        return Place("not clean", _named(hits, words), "others may have said the same: read those rows")
    seen = "all tables" if ground.superuser else "what the owner sees of the tenant"
    return Place("clean", f"none of {len(words.pieces)} text(s) in {seen}")


async def _files(ground: _Ground, words: Remains, report: ScrubReport) -> Place:
    if report.failures:
        return Place("not clean", f"not rewritten: {', '.join(report.failures)}", "run it again when nobody is at work")
    if ground.superuser is None:
        return Place("not looked at", "the server's files are elsewhere; tables were rewritten", _FILES_ADVICE)
    business = await remains.business_files(ground.superuser)
    return await _searched(ground.folder, words, _all_but_log(business))


async def _log(ground: _Ground, words: Remains, report: ScrubReport) -> Place:
    if ground.superuser is None:
        return Place("not looked at", f"the server's log is elsewhere; {report.log}", _LOG_ADVICE)
    place = await _searched(ground.folder / "postgres" / "data" / "pg_wal", words, remains.in_files)
    return Place("not clean", report.log, _LOG_ADVICE) if report.log and place.state == "clean" else place


Search = Callable[[Path, Remains], dict[str, set[bytes]]]


def _all_but_log(business: frozenset[str]) -> Search:
    def search(folder: Path, words: Remains) -> dict[str, set[bytes]]:
        hits = remains.in_files(folder, words, skip=business)
        return {name: pieces for name, pieces in hits.items() if "/pg_wal/" not in name}

    return search


async def _searched(folder: Path, words: Remains, search: Search) -> Place:
    if not words.pieces:
        return Place("not looked at", "nothing they said is long enough to be looked for")
    try:
        hits = await asyncio.to_thread(search, folder, words)
    except OSError as error:
        return Place("not looked at", f"{error.filename!r} cannot be read ({error.strerror})", _FILES_ADVICE)
    if hits:
        return Place("not clean", _named(hits, words), "remove log files of ours, or repeat it")
    return Place("clean", f"none of {len(words.pieces)} text(s) below {str(folder)!r}, as they were written")


def _named(hits: Mapping[str, set[bytes]], words: Remains) -> str:
    count = len(set[bytes]().union(*hits.values()))
    return f"{count} of {len(words.pieces)} text(s) in {', '.join(map(repr, sorted(hits)[:5]))}"
