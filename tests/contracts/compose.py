"""Services of `docker-compose.yml` without a container engine: their own commands, settings and health checks.

A secret's path, a host name and a port of the file are replaced by local ones; nothing else is.
"""

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.contracts.measures import ROOT

FILE = ROOT / "docker-compose.yml"
_START_SECONDS = 60.0


def parse() -> dict[str, Any]:
    """Return the content of the file."""
    return yaml.safe_load(FILE.read_text())


@dataclass(frozen=True)
class Local:
    """Addresses of the services on this machine."""

    secrets: Path
    ports: Mapping[int, int]
    """Local port by the port in the file."""
    folder: Path

    def localize(self, text: str) -> str:
        """Return a text of the file with local addresses."""
        for port, local in self.ports.items():
            text = re.sub(rf"(?<!\d){port}(?!\d)", str(local), text)
        text = text.replace("0.0.0.0", "127.0.0.1").replace("//world:", "//127.0.0.1:")
        return text.replace("/run/secrets", str(self.secrets))

    def environment(self, service: Mapping[str, Any]) -> dict[str, str]:
        """Return the environment of a service; nothing of ours leaks in."""
        outside = {
            name: value for name, value in os.environ.items() if not name.startswith(("COUNTERSIGN_", "DATABASE_"))
        }
        variables = {name: self.localize(str(value)) for name, value in service.get("environment", {}).items()}
        bin_folder = str(Path(sys.executable).parent)
        return {**outside, **variables, "PATH": f"{bin_folder}{os.pathsep}{outside['PATH']}"}

    def run(self, service: Mapping[str, Any], *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the place of a service until it ends."""
        return subprocess.run(
            command, env=self.environment(service), cwd=self.folder, capture_output=True, text=True, check=False
        )

    @contextmanager
    def up(self, *names: str) -> Generator[None]:
        """Keep services running, each healthy by its own check before the next one starts."""
        services = parse()["services"]
        with ExitStack() as stack:
            for name in names:
                stack.enter_context(self._up(name, services[name]))
            yield

    @contextmanager
    def _up(self, name: str, service: Mapping[str, Any]) -> Generator[None]:
        command = ["countersign", *map(self.localize, service["command"])]
        log = self.folder / f"{name}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                command,
                env=self.environment(service),
                cwd=self.folder,
                stdout=out,
                stderr=out,
                stdin=subprocess.DEVNULL,
            )
        try:
            check = [self.localize(word) for word in service["healthcheck"]["test"][1:]]
            wait_until(lambda: process.poll() is not None or self.run(service, *check).returncode == 0)
            assert process.poll() is None, f"{name} ended: {log.read_text()}"
            yield
        finally:
            process.terminate()
            process.wait(20)


def wait_until(is_ready: Callable[[], bool]) -> None:
    """Ask again and again until the answer is yes; fails after a minute."""
    end = time.monotonic() + _START_SECONDS
    while not is_ready():
        assert time.monotonic() < end, "a service did not become healthy"


def free_port() -> int:
    """Return a port of this machine that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]
