"""The container files: valid, without privileges, and made of commands that really start."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.contracts import compose
from tests.contracts.measures import ROOT

SERVICES: dict[str, Any] = compose.parsed()["services"]
OURS = ("migrate", "world", "api", "worker")


def test_the_file_fits_the_schema() -> None:
    program = Path(sys.executable).with_name("check-jsonschema")
    check = [program, "--builtin-schema", "vendor.compose-spec", compose.FILE]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", OURS)
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
    assert [name for name in OURS if "owner_url" in SERVICES[name]["secrets"]] == ["migrate"]
