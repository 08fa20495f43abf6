"""Diagnosis of an installation: one line per check, each with what to do; called by `countersign doctor`."""

import math
import shutil
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Literal
from urllib.parse import urlsplit

from app.addresses import Addresses, addresses_of, world_url
from app.bootstrap import FUNCTIONS
from app.settings import Settings
from app.supervisor import answers
from memory.embeddings.providers import embedder_of, id_of
from memory.errors import ControlError
from memory.evidence import checks, log, signers
from memory.evidence.checks import CheckStanding
from memory.governance import policy_version
from memory.maintenance import duties, reembedding
from memory.maintenance.duties import Duty
from memory.postgres.database import Database
from memory.postgres.schema_version import missing, seconds_apart

DiagnosisLevel = Literal["ok", "warn", "fail"]
_LEAST_FREE = 500_000_000
_LEAST_PYTHON = (3, 11)
_MOST_SECONDS_APART = 5
_LONGEST_ROUND = 600.0
_LONGEST_TRUST = 7200.0
_SIGNING_ADVICE = "give serve and worker COUNTERSIGN_SIGNING_KEY, 64 hexadecimal digits (docs/operating.md)"
_CHANGE_ADVICE = "compare with `journal heads` kept elsewhere, and see that serve and worker have one key"
_WORKER_ADVICE = "set COUNTERSIGN_WORKER_DATABASE_URL, role cs_worker's address, where workers run"
_OF_WORKERS = frozenset({"vectors", "housekeeping", "room for memories", "journal"})
"""Checks that ask what workers alone may see."""
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1", "0.0.0.0"})  # noqa: S104  # read from settings, not listened at


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Result of one check; `fix` is what to do unless it is ok."""

    check: str
    verdict: DiagnosisLevel
    found: str
    fix: str = ""


async def examine(settings: Settings) -> list[Diagnosis]:
    """Return the diagnoses that need no database."""
    return [
        _python(),
        _disk(settings),
        await _endpoint("API", settings.api, "/readyz", "COUNTERSIGN_URL, or COUNTERSIGN_HOST and COUNTERSIGN_PORT"),
        await _endpoint("business services", world_url(settings), "/livez", "COUNTERSIGN_WORLD_URL"),
        _embedder(settings),
    ]


async def examine_database(addresses: Addresses, settings: Settings) -> list[Diagnosis]:
    """Return the diagnoses of a database that answers."""
    try:
        database = await Database.open(addresses.app, size=1, worker_url=addresses.worker)
    except ControlError as error:
        fix = "mend what the message names; COUNTERSIGN_DATABASE_URL is role cs_app's address"
        return [Diagnosis("database role", "fail", str(error), fix)]
    has_key = bool(settings.signing_key) or addresses.is_embedded
    try:
        return [
            Diagnosis("database role", "ok", "the app's role stands below row security"),
            _worker_role(database),
            await _run_check("migrations", database, _migrations, needs_migrations=False),
            await _run_check("clock", database, _clock, needs_migrations=False),
            await _run_check("vectors", database, partial(_vectors, id_of(settings.embeddings))),
            await _run_check("housekeeping", database, _housekeeping),
            await _run_check("room for memories", database, _room),
            await _run_check("journal", database, _journal),
            await _run_check("signatures", database, partial(_signatures, settings.tenant, has_key)),
        ]
    finally:
        await database.close()


def reach(settings: Settings, stack: ExitStack) -> tuple[Diagnosis, Addresses | None]:
    """Start or find the database and hold it on `stack`; the addresses are None if it cannot be reached."""
    try:
        addresses = stack.enter_context(addresses_of(settings))
    except ControlError as error:
        return Diagnosis("postgres", "fail", str(error), "mend what the message names"), None
    return Diagnosis(
        "postgres", "ok", "embedded" if addresses.is_embedded else "by COUNTERSIGN_DATABASE_URL"
    ), addresses


def _python() -> Diagnosis:
    version = ".".join(map(str, sys.version_info[:3]))
    is_supported = sys.version_info >= _LEAST_PYTHON
    return Diagnosis(
        "python", "ok" if is_supported else "fail", version, "" if is_supported else "install Python 3.11 or newer"
    )


def _disk(settings: Settings) -> Diagnosis:
    folder = settings.data_dir.absolute()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    text = f"{str(settings.data_dir)!r}, {free // 10**6:,} MB free"
    if free < _LEAST_FREE:
        return Diagnosis("data folder", "warn", text, "make room or set COUNTERSIGN_DATA_DIR to another disk")
    return Diagnosis("data folder", "ok", text)


async def _endpoint(name: str, url: str, probe: str, setting: str) -> Diagnosis:
    """Return whether a service answers at its address, and if not, whether its port is free to start it."""
    if await answers(url + probe):
        return Diagnosis(name, "ok", f"answers at {url}")
    address = urlsplit(url)
    if address.hostname not in _LOOPBACK:
        return Diagnosis(name, "warn", f"nothing answers at {url}", f"start it there, or mend {setting}")
    if obstacle := _obstacle(str(address.hostname), address.port or 80):
        text = f"port {address.port} is no use: {obstacle}, and what is there is not ready or not ours"
        return Diagnosis(name, "warn", text, f"end that process, or set {setting}")
    return Diagnosis(name, "ok", f"not running; port {address.port} is free for it")


def _obstacle(host: str, port: int) -> str:
    """Return why no server could listen at a port of this machine; empty if one could."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as free:
        # As the server itself binds, so that a port in TIME_WAIT counts as free.
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            free.bind((host, port))
        except OSError as error:
            return error.strerror or "in use"
    return ""


async def _migrations(database: Database) -> Diagnosis:
    if lacking := await _lacking(database):
        return Diagnosis("migrations", "fail", f"missing: {', '.join(lacking)}", "run `countersign migrate`")
    return Diagnosis("migrations", "ok", "the database has this release's shape")


async def _clock(database: Database) -> Diagnosis:
    async with database.system() as connection:
        apart = await seconds_apart(connection, time.time())
    is_close = abs(apart) <= _MOST_SECONDS_APART
    fix = "" if is_close else "set both clocks by NTP; permits live two minutes"
    return Diagnosis("clock", "ok" if is_close else "warn", f"{apart:+.1f} s between here and the database", fix)


def _embedder(settings: Settings) -> Diagnosis:
    try:
        embedder = embedder_of(settings.embeddings, settings.embeddings_base_url).id
    except ControlError as error:
        return Diagnosis("embeddings", "fail", str(error), "mend it or set COUNTERSIGN_EMBEDDINGS=lexical")
    return Diagnosis("embeddings", "ok", embedder)


async def _vectors(embedder: str, database: Database) -> Diagnosis:
    backlog = await reembedding.backlog(database, embedder)
    if backlog.memories or backlog.knowledge:
        text = f"{backlog.memories:,} memories and {backlog.knowledge:,} items of knowledge wait for {embedder!r}"
        return Diagnosis("vectors", "warn", text, "workers make them in the background; until then words find these")
    return Diagnosis("vectors", "ok", f"all of {embedder!r}")


async def _housekeeping(database: Database) -> Diagnosis:
    """Return when any worker last did each duty, and which failed since."""
    latest = await duties.ls(database)
    return _failure(latest) or _last_round(latest)


def _failure(latest: Sequence[Duty]) -> Diagnosis | None:
    troubles = [f"{duty.name} ({duty.trouble}, {_ago(duty.seconds_since_failure)})" for duty in latest if duty.trouble]
    fix = "look for it in the log of the workers; the other duties go on"
    return Diagnosis("housekeeping", "warn", f"failed: {', '.join(troubles)}", fix) if troubles else None


def _last_round(latest: Sequence[Duty]) -> Diagnosis:
    """Return how long ago the duty that waits longest was done."""
    oldest = max((duty.seconds_since_success or 0 for duty in latest), default=math.inf)
    if oldest > _LONGEST_ROUND:
        text = f"last done {_ago(oldest)}" if latest else "no worker has tidied yet"
        return Diagnosis("housekeeping", "warn", text, "start a worker: `countersign worker`, or `countersign up`")
    return Diagnosis("housekeeping", "ok", f"last done {_ago(oldest)}")


def _ago(seconds: float | None) -> str:
    """Return an age in the largest unit that fits."""
    for size, unit in ((86_400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds and seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds or 0:.0f} seconds ago"


async def _room(database: Database) -> Diagnosis:
    if count := await duties.count_full_scopes(database):
        fix = "workers prune them within minutes; what is pinned stays, so ask whose it is to unpin some"
        return Diagnosis("room for memories", "warn", f"{count:,} scope(s) hold more than their room", fix)
    return Diagnosis("room for memories", "ok", "every scope has room")


async def _signatures(tenant: str, has_key: bool, database: Database) -> Diagnosis:
    """Return whether all heads of the log were signed by one key; before the first one, whether it will be."""
    access = policy_version.installation(tenant)
    standing = await log.standing(database, access)
    async with database.transaction(access) as connection:
        remarks = (await signers.signers(connection)).remarks
    if standing and standing.key and remarks:
        return Diagnosis("signatures", "warn", "; ".join(remarks), _CHANGE_ADVICE)
    if standing and standing.key:
        return Diagnosis("signatures", "ok", f"the log is signed with key {standing.key}")
    if standing is None and has_key:
        return Diagnosis("signatures", "ok", "the log has no head yet; the first will be signed")
    text = "the log is unsigned: whoever owns the database can write it anew"
    return Diagnosis("signatures", "warn", text, _SIGNING_ADVICE)


async def _journal(database: Database) -> Diagnosis:
    """Return when the journals of all tenants last held, and where the first does not."""
    standings = await checks.standings(database)
    for standing in standings:
        if standing.broken is not None:
            return Diagnosis("journal", "fail", _break_of(standing), "`countersign journal verify` names every place")
    checked = [standing.checked for standing in standings if standing.checked is not None]
    fix = "workers check it: `countersign worker` or `up`"
    if not checked or len(checked) < len(standings):
        return Diagnosis("journal", "warn", "not checked yet", fix)
    text = f"every chain, row and head held, last looked at {_ago(max(checked))}"
    return (
        Diagnosis("journal", "warn", text, fix) if max(checked) > _LONGEST_TRUST else Diagnosis("journal", "ok", text)
    )


def _break_of(standing: CheckStanding) -> str:
    text = f"{standing.tenant!r} does not hold, first seen {_ago(standing.broken)}: {standing.first}"
    return text if standing.held is None else f"{text}; it last held {_ago(standing.held)}"


def _worker_role(database: Database) -> Diagnosis:
    """Return whether this process knows the workers' role, which sees across tenants what several checks ask for."""
    if database.has_worker:
        return Diagnosis("worker role", "ok", "the workers' role is known here")
    return Diagnosis("worker role", "warn", "unknown here, and with it what workers do", _WORKER_ADVICE)


async def _run_check(
    name: str,
    database: Database,
    check: Callable[[Database], Awaitable[Diagnosis]],
    *,
    needs_migrations: bool = True,
) -> Diagnosis:
    try:
        if name in _OF_WORKERS and not database.has_worker:
            return Diagnosis(name, "warn", "unknown without the workers' role", _WORKER_ADVICE)
        if needs_migrations and await _lacking(database):
            return Diagnosis(name, "warn", "unknown before the migrations", "run `countersign migrate`")
        return await check(database)
    except ControlError as error:
        return Diagnosis(name, "fail", str(error), "mend what the message names")


async def _lacking(database: Database) -> list[str]:
    async with database.system() as connection:
        return await missing(connection, FUNCTIONS)
