"""Long-running processes (API, worker, world) with an orderly end on SIGTERM; called by their commands."""

import asyncio
import errno
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from app import bootstrap
from app.addresses import Addresses, service_keys
from app.settings import Settings
from memory.errors import Permanent, Temporary
from memory.postgres.refusals import DriverError, refusal_of
from memory.postgres.schema_version import holds

if TYPE_CHECKING:
    from app.wiring import System

_LOG = logging.getLogger(__name__)
GRACE_SECONDS = 9.0
"""After so long an asked end is not waited for any more; it is then as if the process had been killed, which all of its
work outlives. A second less than supervisors and containers usually wait."""
_FORCED = 1
_FIRST_PAUSE, _LONGEST_PAUSE, _CALM_SECONDS = 0.25, 4.0, 30.0


@dataclass(frozen=True, slots=True)
class Business:
    """One copy of the demo business and how it behaves."""

    instance: str
    seed: int
    customers: int
    situation: Literal["double_charge", "quiet", "invoice_night"]
    faults: str
    permits: bool
    reset: bool
    port: int


def run(work: Callable[[], Coroutine[Any, Any, None]], *, grace: float = GRACE_SECONDS) -> None:
    """Run one long work until it ends or SIGTERM asks for its end; everything opened is closed either way.

    What is not closed `grace` seconds after the signal is left as it is, and the process ends.
    """
    deadline = threading.Timer(grace, os._exit, [_FORCED])
    deadline.daemon = True
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_until_signal(work, deadline))
    finally:
        deadline.cancel()


async def serve(settings: Settings, addresses: Addresses, *, worker: bool) -> None:
    """Answer requests, and with `worker` lead runs too; prepares the database where the owner's URL is known."""
    from app.api.server import create_app, http_server
    from app.wiring import open_system

    with listening(settings.host, settings.port) as listener:
        if addresses.owner:
            await bootstrap.set_up(settings, addresses)
        async with open_system(settings, addresses, worker=worker) as system:
            server = http_server(create_app(system.api_services), settings.edge)
            await _together(server.serve([listener]), _work(system) if worker else None)


async def lead(settings: Settings, addresses: Addresses) -> None:
    """Lead runs until a signal or cancellation; raises Temporary("unavailable") if the database is lost."""
    from app.wiring import open_system

    async with open_system(settings, addresses) as system:
        await _work(system)


async def business(settings: Settings, addresses: Addresses, copy: Business) -> None:
    """Serve the demo business; its story is loaded first if the copy is new, or `reset` says so."""
    from app.world.service import serve_world

    # Before the story is loaded, which takes seconds: a port in use is told at once.
    with listening(settings.host, copy.port):
        pass
    await serve_world(
        url=addresses.business_url,
        instance=copy.instance,
        seed=copy.seed,
        customers=copy.customers,
        situation=copy.situation,
        faults=copy.faults,
        permits=copy.permits,
        keys=service_keys(settings),
        host=settings.host,
        port=copy.port,
        reset=copy.reset or not await holds(addresses.business_url, f"{copy.instance}_billing"),
    )


def listening(host: str, port: int, flag: str = "--port") -> socket.socket:
    """Return a listening socket; raises Permanent("configuration") that says what to do if the port is taken.

    `flag` is the option that chooses another one.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, the loop switches delayed sending off for every connection.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        in_use = error.errno == errno.EADDRINUSE
        reason = (
            "is taken by another process; end that one" if in_use else f"cannot be used ({error.strerror}); check it"
        )
        raise Permanent("configuration", f"port {port} on {host!r} {reason} or choose another with {flag}") from error
    return listener


async def _work(system: "System") -> None:
    """Lead runs until cancelled; when the database is lost, begin anew, as another worker would."""
    pause, clock = _FIRST_PAUSE, system.clock
    while True:
        began = clock.monotonic()
        try:
            await _lead_runs(system)
        except (Temporary, DriverError) as error:
            refusal = refusal_of(error) or error
            if not isinstance(refusal, Temporary):
                raise
            pause = _FIRST_PAUSE if clock.monotonic() - began > _CALM_SECONDS else min(pause * 2, _LONGEST_PAUSE)
            _LOG.warning("%s; this worker begins anew in %.1f s", refusal, pause)
            await clock.sleep(pause)


async def _lead_runs(system: "System") -> None:
    from app.worker import work

    await work(
        system.database,
        system.queue,
        system.deps,
        system.clock,
        lanes=system.settings.lanes,
        flows=system.flows,
        key=system.signing_key,
    )


async def _together(first: Coroutine[Any, Any, None], second: Coroutine[Any, Any, None] | None) -> None:
    """Run both until either ends; an error of one ends the other."""
    tasks = [asyncio.ensure_future(work) for work in (first, second) if work is not None]
    try:
        ready, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in ready:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _until_signal(work: Callable[[], Coroutine[Any, Any, None]], deadline: threading.Timer) -> None:
    task = asyncio.ensure_future(work())
    has_signal = False

    def end() -> None:
        nonlocal has_signal
        if not has_signal:
            deadline.start()
        has_signal = True
        task.cancel()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end)
    try:
        await task
    # Cancelled by our signal it is an orderly end; by anybody else it is theirs to see.
    except asyncio.CancelledError:
        if not has_signal:
            raise


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    with suppress(ImportError):
        import uvloop

        return uvloop.new_event_loop
    return None
