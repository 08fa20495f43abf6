"""Start-up commands, `migrate` and `doctor`; all other commands are clients of the API."""

import asyncio
import logging
import shlex
import sys
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from app.commands.terminal import AsJson, emit, note, say, settings, table
from app.exit_codes import FAILURE
from app.settings import Settings

Seed = Annotated[int, typer.Option(help="Which story the demo business tells.")]
Customers = Annotated[int, typer.Option(min=1, help="How many customers the demo business has.")]
Folder = Annotated[Path | None, typer.Option(help="Where everything is kept (default .countersign).")]
Host = Annotated[str | None, typer.Option(help="Address to listen at; loopback unless you mean it.")]
Port = Annotated[int | None, typer.Option(help="Port to listen at.")]
SituationName = Literal["double_charge", "quiet", "invoice_night"]
FULL = 60_000


WorldPort = Annotated[int | None, typer.Option(min=1, max=65535, help="Port of the demo business.")]


def up(  # one option per thing that people may want elsewhere
    *,
    seed: Seed = 1,
    customers: Customers = FULL,
    data_dir: Folder = None,
    port: Port = None,
    world_port: WorldPort = None,
    as_json: AsJson = False,
) -> None:
    """Start everything, stay up, and print addresses, keys and something to say."""
    from app.up import Ready, up

    def announce(ready: Ready) -> None:
        if as_json:
            emit(asdict(ready))
            sys.stdout.flush()
            return
        keys = [f"{name:<6} {key}" for name, key in ready.keys.items()]
        for line in (
            f"API    {ready.api}", f"world  {ready.world}", "", *keys, "",
            "in another terminal:",
            f"  export COUNTERSIGN_URL={ready.api}",
            f"  export COUNTERSIGN_KEY={ready.keys['alice']}  # you are alice",
            f"  {shlex.quote(sys.argv[0])} chat {ready.prompt!r}",
            "end everything with Ctrl-C",
        ):  # fmt: skip
            say(line)
        sys.stdout.flush()

    note("starting Postgres, the demo business, the API and a worker")
    world_url = f"http://127.0.0.1:{world_port}" if world_port else None
    up(settings(data_dir=data_dir, port=port, world_url=world_url), announce, seed=seed, customers=customers)


def demo(
    seed: Seed = 1,
    customers: Customers = FULL,
    keep: Annotated[bool, typer.Option(help="Leave everything running at the end, until Ctrl-C.")] = False,
    as_json: AsJson = False,
) -> None:
    """Play the main job from end to end and prove what happened; exit code 0 only if every check held."""
    from app.demo.story import play

    if code := play(settings(), seed=seed, customers=customers, as_json=as_json, keep=keep):
        raise typer.Exit(code)


def serve(
    worker: Annotated[bool, typer.Option(help="Lead runs in this process too.")] = True,
    host: Host = None,
    port: Port = None,
) -> None:
    """Serve the API, and lead runs in the same process."""
    from app import processes
    from app.addresses import addresses_of

    _log()
    options = settings(host=host, port=port)
    with addresses_of(options) as addresses:
        processes.run(lambda: processes.serve(options, addresses, worker=worker))


def worker(lanes: Annotated[int | None, typer.Option(min=1, max=64, help="Runs at once.")] = None) -> None:
    """Lead runs."""
    from app import processes
    from app.addresses import addresses_of

    _log()
    options = settings(lanes=lanes)
    with addresses_of(options) as addresses:
        processes.run(lambda: processes.lead(options, addresses))


def world(  # one option per dial of the demo business
    *,
    instance: Annotated[str, typer.Option(help="Name of this copy of the business.")] = "world",
    seed: Seed = 1,
    customers: Customers = FULL,
    situation: Annotated[SituationName, typer.Option(help="What happened there.")] = "double_charge",
    faults: Annotated[
        str, typer.Option(help="none, drop7, drop3, slow, flaky500, fail_batch:N or busy409:SECONDS")
    ] = "none",
    permits: Annotated[bool, typer.Option(help="Demand a permit for each write.")] = True,
    reset: Annotated[bool, typer.Option(help="Load the story again although the instance has one.")] = False,
    host: Host = None,
    port: Port = None,
) -> None:
    """Serve the demo business that agents repair; not part of the product."""
    from app import processes
    from app.addresses import addresses_of

    _log()
    options = settings(host=host, world_port=port)
    copy = processes.Business(instance, seed, customers, situation, faults, permits, reset, options.world_port)
    with addresses_of(options) as addresses:
        processes.run(lambda: processes.business(options, addresses, copy))


def migrate(as_json: AsJson = False) -> None:
    """Bring the database to this release's shape, and put this folder's policies in force.

    Says first what becomes of everything that waits for people, as `doctor --waiting` does.
    """
    from app.addresses import addresses_of
    from app.bootstrap import set_up

    _log()
    options = settings()
    with addresses_of(options) as addresses:
        forecasts = _forecasts(options, addresses.owner_url)
        if not as_json and forecasts:
            _print_forecasts(forecasts)
        result = asyncio.run(set_up(options, addresses, activate=True))
    if as_json:
        emit({**asdict(result), "waiting": forecasts})
        return
    say(f"applied {', '.join(result.migrations)}" if result.migrations else "the database was up to date")
    say(f"policy {result.policy[:12]} is in force")
    if result.voided:
        runs = ", ".join(result.voided)
        say(f"open questions of {len(result.voided)} run(s) are void and will be asked again: {runs}")


def doctor(
    waiting: Annotated[
        bool, typer.Option("--waiting", help="Only say what a migration to this release does to what waits for people.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check python, database, roles, migrations, ports, data folder and clock; each finding says what to do."""
    from app.doctor import Diagnosis, examine, examine_database, reach

    options = settings()
    if waiting:
        _forecast_waiting(options, as_json=as_json)
        return
    diagnoses: list[Diagnosis] = asyncio.run(examine(options))
    with ExitStack() as stack:
        reachability, addresses = reach(options, stack)
        diagnoses.append(reachability)
        diagnoses += asyncio.run(examine_database(addresses, options)) if addresses else []
    rows: list[dict[str, Any]] = [asdict(diagnosis) for diagnosis in diagnoses]
    bad = any(row["verdict"] == "fail" for row in rows)
    if as_json:
        emit({"ok": not bad, "findings": rows})
    else:
        table(rows, ("check", "verdict", "found", "fix"), "")
    if bad:
        raise typer.Exit(FAILURE)


def _forecast_waiting(options: Settings, *, as_json: bool) -> None:
    from app.addresses import addresses_of

    with addresses_of(options) as addresses:
        forecasts = _forecasts(options, addresses.owner_url)
    if as_json:
        emit({"items": forecasts})
    else:
        _print_forecasts(forecasts)


def _forecasts(options: Settings, owner_url: str) -> list[dict[str, Any]]:
    from app.waiting import Release, forecast

    forecasts = asyncio.run(forecast(owner_url, Release.load(options)))
    return [{**asdict(item), "expires": item.expires and item.expires.isoformat()} for item in forecasts]


def _print_forecasts(forecasts: list[dict[str, Any]]) -> None:
    """Print one line per question; what people wrote stands in none of them but as a quoted name."""
    rows = [{**row, "because": "; ".join(row["reasons"])} for row in forecasts]
    table(rows, ("fate", "run", "approval", "requester", "step", "because"), "nothing waits for people")


def _log() -> None:
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("httpx2").setLevel(logging.WARNING)
