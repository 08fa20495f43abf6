"""Supervision of child processes and of the embedded Postgres: start, restart, end; used by up, demo, crash tests."""

import asyncio
import logging
import os
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGKILL, SIGTERM

import httpx2
from pydantic import SecretStr

from app.settings import PREFIX, SEPARATOR, Settings
from memory.errors import Permanent, Temporary
from memory.postgres.embedded import Embedded
from tools.certificates import trust_of

_LOG = logging.getLogger(__name__)
RESTART_SECONDS = 0.1
SHORT_LIFE_SECONDS = 5.0
SHORT_LIVES = 3
"""So many short lives in a row mean that starting again will not help."""
STOP_SECONDS = 10.0
UNAVAILABLE = 69
"""Exit code of a command whose database or service is away."""
_POSTGRES_SECONDS = 0.25
_RECOVERIES = 6
"""Times that a server may die again before it is up; some fifteen seconds in all."""
_LOOK_SECONDS = 0.05
_TAIL = 800


@dataclass(frozen=True, slots=True)
class Child:
    """A subcommand of `countersign` that should always run."""

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    module: str = "app.child"
    """What runs the arguments; it must end when its standard input does."""


class Supervisor:
    """The running children; get one from `supervise`. With a server, what ends for want of it is no failure."""

    def __init__(self, logs: Path, server: "ServerKeeper | None" = None) -> None:
        self._logs = logs
        self._server = server
        logs.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._processes: dict[str, Process] = {}
        self.restarts: dict[str, int] = {}

    def pid(self, name: str) -> int | None:
        """Return the process id of a child, or None while it is between two lives."""
        process = self._processes.get(name)
        return process.pid if process and process.returncode is None else None

    def kill(self, name: str) -> None:
        """End a child as a crash would; it is started again."""
        if process := self._processes.get(name):
            process.send_signal(SIGKILL)

    async def keep(self, child: Child) -> None:
        """Run a child, again and again; raises Permanent("unavailable") with its last words if it cannot stay up.

        A child that was killed, or that ends because something it needs is away, is given all the time it takes.
        """
        short = away = 0
        while True:
            began, recoveries = time.monotonic(), self._server.recoveries if self._server else 0
            code = await self._live(child)
            brief = time.monotonic() - began < SHORT_LIFE_SECONDS
            is_away = code == UNAVAILABLE or (self._server is not None and await self._server.was_away(recoveries))
            away = away + 1 if brief and is_away else 0
            # A negative code is a signal: killed children are started again however often that happens.
            short = short + 1 if brief and code >= 0 and not is_away else 0
            if short >= SHORT_LIVES:
                raise Permanent("unavailable", f"child {child.name!r} does not stay up: {self._last_words(child.name)}")
            self.restarts[child.name] = self.restarts.get(child.name, 0) + 1
            await asyncio.sleep(min(RESTART_SECONDS * 2**away, STOP_SECONDS))

    async def _live(self, child: Child) -> int:
        # In a session of its own, so that Ctrl-C reaches only us and children are ended in order.
        with self._log(child.name).open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", child.module, *child.arguments,
                env=_clean(os.environ) | dict(child.environment),
                stdin=PIPE, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self._processes[child.name] = process
        try:
            return await process.wait()
        finally:
            if process.returncode is not None:
                await _hang_up(process)

    async def end(self) -> None:
        """End all children: asked first, killed after `STOP_SECONDS`."""
        alive = [process for process in self._processes.values() if process.returncode is None]
        for process in alive:
            process.send_signal(SIGTERM)
        waits = [asyncio.ensure_future(process.wait()) for process in alive]
        if waits:
            await asyncio.wait(waits, timeout=STOP_SECONDS)
        for process in alive:
            if process.returncode is None:
                process.send_signal(SIGKILL)
        await asyncio.gather(*waits)
        for process in alive:
            await _hang_up(process)

    def _log(self, name: str) -> Path:
        return self._logs / f"{name}.log"

    def _last_words(self, name: str) -> str:
        text = self._log(name).read_text(errors="replace").strip()
        return f"{text[-_TAIL:] or 'it said nothing'} (all of it in {str(self._log(name))!r})"


async def _hang_up(process: Process) -> None:
    """Close our end of a dead child's standard input."""
    if process.stdin:
        process.stdin.close()
        with suppress(OSError):
            await process.stdin.wait_closed()


@asynccontextmanager
async def supervise(
    children: Sequence[Child], *, logs: Path, server: "ServerKeeper | None" = None
) -> AsyncGenerator[Supervisor]:
    """Keep children, and the embedded Postgres if there is one, running for the length of the block.

    Raises Permanent("unavailable") out of the block when a child cannot stay up.
    """
    supervisor = Supervisor(logs, server)
    keepers = [asyncio.create_task(supervisor.keep(child), name=child.name) for child in children]
    if server:
        keepers.append(asyncio.create_task(server.keep(), name="postgres"))
    try:
        async with _failing_with(keepers):
            yield supervisor
    finally:
        for keeper in keepers:
            keeper.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)
        await supervisor.end()


@asynccontextmanager
async def _failing_with(tasks: Sequence[asyncio.Task[None]]) -> AsyncGenerator[None]:
    """Interrupt the block with the first error of a task."""
    body = asyncio.current_task()
    errors: list[BaseException] = []

    def interrupt(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) and body:
            errors.append(error)
            body.cancel()

    for task in tasks:
        task.add_done_callback(interrupt)
    try:
        yield
    except asyncio.CancelledError:
        # The cancellation was ours: the block's caller gets the error instead.
        if errors and body:
            body.uncancel()
            raise errors[0] from None
        raise
    finally:
        for task in tasks:
            task.remove_done_callback(interrupt)


class ServerKeeper:
    """The embedded server, held by the supervisor and recovered when it dies."""

    def __init__(self, attach: Callable[[], Embedded]) -> None:
        self._attach = attach
        self.server = attach()
        self.recoveries = 0

    async def keep(self) -> None:
        """Attach again whenever the server is gone, for as long as it takes; runs until it is cancelled."""
        while True:
            await asyncio.sleep(_POSTGRES_SECONDS)
            try:
                await self.recover()
            except Temporary as error:
                _LOG.warning("%s; trying again", error)

    async def was_away(self, recoveries: int) -> bool:
        """Return whether the server is gone, or was since it had been recovered so many times."""
        return self.recoveries != recoveries or await asyncio.to_thread(lambda: self.server.pid) is None

    async def recover(self) -> None:
        """Attach again if the server is gone, also where it dies once more meanwhile.

        Raises Temporary("unavailable") if it cannot be kept alive.
        """
        for number in range(1, _RECOVERIES + 1):
            if await asyncio.to_thread(lambda: self.server.pid) is not None:
                return
            try:
                new_server = await asyncio.to_thread(self._attach)
            except Temporary as error:
                if number == _RECOVERIES:
                    raise
                _LOG.warning("%s; trying again", error)
                await asyncio.sleep(_POSTGRES_SECONDS * 2**number)
                continue
            dead_server, self.server = self.server, new_server
            await asyncio.to_thread(dead_server.close)
            self.recoveries += 1

    def close(self) -> None:
        """Let go; the last process to do so stops the server."""
        self.server.close()


async def until(probe: Callable[[], Awaitable[bool]], name: str, seconds: float = 30.0) -> None:
    """Wait until `probe` says yes; raises Temporary("unavailable") with `name` after `seconds`."""
    end = time.monotonic() + seconds
    while not await probe():
        if time.monotonic() > end:
            raise Temporary("unavailable", f"{name} did not answer within {seconds:.0f} s; see its log")
        await asyncio.sleep(_LOOK_SECONDS)


async def answers(url: str) -> bool:
    """Return whether an address answers a probe with success."""
    try:
        async with httpx2.AsyncClient(timeout=5.0, trust_env=False, verify=trust_of(url)) as client:
            return (await client.get(url)).is_success
    except httpx2.TransportError:
        return False


def environment(settings: Settings) -> dict[str, str]:
    """Return settings as the variables of a child."""
    return _variables(PREFIX, settings.model_dump(exclude_none=True))


def _variables(prefix: str, values: Mapping[str, object]) -> dict[str, str]:
    variables: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            variables |= _variables(f"{prefix}{name.upper()}{SEPARATOR}", value)  # pyright: ignore[reportUnknownArgumentType]  # dumped settings
        else:
            variables[prefix + name.upper()] = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
    return variables


def _clean(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the variables without our own settings: a child gets those from its supervisor alone."""
    return {n: v for n, v in variables.items() if not n.upper().startswith(PREFIX) and n != "DATABASE_URL"}
