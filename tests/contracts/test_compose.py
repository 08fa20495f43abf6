"""Container files: valid, without privileges, and made of commands that really start."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from memory.postgres.server import Account, Server, binaries
from tests.contracts import compose
from tests.contracts.compose import Local, free_port
from tests.contracts.measures import ROOT

SERVICES: dict[str, Any] = compose.parse()["services"]
OWN_SERVICES = ("migrate", "world", "api", "worker")


def test_the_file_fits_the_schema() -> None:
    program = Path(sys.executable).with_name("check-jsonschema")
    check = [program, "--builtin-schema", "vendor.compose-spec", compose.FILE]
    result = subprocess.run(check, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("name", OWN_SERVICES)
def test_a_service_has_no_privileges(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]


def test_the_image_does_not_run_as_root() -> None:
    last = (ROOT / "Dockerfile").read_text().rpartition("\nFROM ")[2]
    assert "\nUSER 10001\n" in last


@pytest.mark.parametrize("name", SERVICES)
def test_secrets_come_from_files(name: str) -> None:
    """No password stands in the file or in an environment."""
    service = SERVICES[name]
    secret = {key: value for key, value in service.get("environment", {}).items() if "/run/secrets/" in str(value)}
    assert all(key.endswith("_FILE") for key in secret)
    assert {value.rpartition("/")[2] for value in secret.values()} <= set(service["secrets"])


@pytest.mark.parametrize("name", [name for name in SERVICES if name != "migrate"])
def test_what_stays_up_is_checked(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"


def test_only_migrate_knows_the_owner() -> None:
    """A serving process cannot change what it is governed by."""
    assert [name for name in OWN_SERVICES if "owner_url" in SERVICES[name]["secrets"]] == ["migrate"]


@pytest.fixture
def local(run_folder: Path) -> Generator[Local]:
    """Return a place with an outside database, prepared by what the file gives to the database's image."""
    folder = run_folder / f"compose-{uuid4().hex[:8]}"
    ports = {5432: free_port(), 8000: free_port(), 8010: free_port()}
    machine = Local(folder / "secrets", ports, folder)
    subprocess.run(
        ["make", "-s", "secrets", f"COMPOSE={machine.secrets}", f"PYTHON={sys.executable}"], cwd=ROOT, check=True
    )
    for url in machine.secrets.glob("*_url"):
        url.write_text(url.read_text().replace("database:5432", f"127.0.0.1:{ports[5432]}"))
    server = _bare_server(folder / "postgres", (machine.secrets / "superuser").read_text(), ports[5432])
    try:
        _initialise(machine)
        yield machine
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _bare_server(home: Path, password: str, port: int) -> Server:
    server = Server(home, binaries(), Account.choose(home), {"fsync": "off"})
    home.mkdir(mode=0o700)
    server.give(home)
    server.create(password)
    server.start(home, port)
    return server


def _initialise(machine: Local) -> None:
    """Do what the image does with the files in its init folder."""
    script = machine.folder / "roles.sql"
    script.write_text(machine.localize(compose.parse()["configs"]["roles"]["content"]))
    address = ["-h", "127.0.0.1", "-p", str(machine.ports[5432]), "-U", "postgres", "-v", "ON_ERROR_STOP=1"]
    env = {**os.environ, "PGPASSWORD": (machine.secrets / "superuser").read_text()}
    for options in (["-d", "postgres", "-c", "create database countersign"], ["-d", "countersign", "-f", script]):
        subprocess.run([binaries() / "psql", "-q", *address, *options], env=env, check=True, capture_output=True)


@pytest.mark.slow
def test_every_service_starts_and_a_person_is_served(local: Local) -> None:
    """R129: the commands of the file, on a database outside, with three roles and secrets from files."""
    migrate = SERVICES["migrate"]
    migration = local.run(migrate, "countersign", *migrate["command"])
    assert migration.returncode == 0, migration.stderr
    key = local.run(migrate, "countersign", "keys", "create", "alice", "--bootstrap").stdout.strip()
    with local.up("world", "api", "worker"):
        person = {"environment": {"COUNTERSIGN_URL": local.localize("http://0.0.0.0:8000"), "COUNTERSIGN_KEY": key}}
        chat = local.run(person, "countersign", "chat", "the database disk is almost full", "--json")
    answer = json.loads(chat.stdout)
    assert (chat.returncode, answer["status"]) == (3, "waiting"), chat.stderr
