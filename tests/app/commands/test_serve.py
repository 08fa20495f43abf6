"""The command line as processes of their own: what stops them from starting, and what ends them."""

import contextlib
import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from app.processes import listening

COUNTERSIGN = (sys.executable, "-c", "from app.cli import main; main()")


@pytest.mark.parametrize("command", ["worker", "serve", "migrate"])
def test_an_unreachable_database_is_69(tmp_path: Path, command: str) -> None:
    url = "postgresql://cs_app:x@127.0.0.1:9/none"
    names = ("DATABASE_URL", "DATABASE_OWNER_URL", "WORKER_DATABASE_URL")
    process = command_line(command, folder=tmp_path, **{f"COUNTERSIGN_{name}": url for name in names})
    assert (process.returncode, "Traceback" in process.stderr) == (69, False)
    assert "127.0.0.1" in process.stderr
    assert ":x@" not in process.stderr


def test_a_taken_port_says_what_to_do(tmp_path: Path) -> None:
    with listening("127.0.0.1", 0) as listener:
        port = str(listener.getsockname()[1])
        process = command_line(
            "serve", "--port", port, COUNTERSIGN_DATABASE_URL="postgresql://x@127.0.0.1:9/none", folder=tmp_path
        )
    assert (process.returncode, "--port" in process.stderr) == (1, True)


def test_a_taken_port_of_the_demo_business_names_its_own_flag(tmp_path: Path) -> None:
    with listening("127.0.0.1", 0) as listener:
        port = str(listener.getsockname()[1])
        process = command_line("up", "--port", "0", "--world-port", port, folder=tmp_path)
    assert (process.returncode, "--world-port" in process.stderr, (tmp_path / ".countersign").exists()) == (
        1,
        True,
        False,
    )


def test_an_unwritable_data_folder_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    process = command_line("doctor", COUNTERSIGN_DATA_DIR=str(tmp_path / "file" / "data"), folder=tmp_path)
    assert (process.returncode, "DATA_DIR" in process.stdout, "Traceback" in process.stderr) == (1, True, False)


def test_doctor_says_when_the_embedder_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    environ = {"COUNTERSIGN_DATA_DIR": str(tmp_path / "file" / "data"), "COUNTERSIGN_EMBEDDINGS": "nobody:model"}
    process = command_line("doctor", "--json", folder=tmp_path, **environ)
    (diagnosis,) = [row for row in json.loads(process.stdout)["findings"] if row["check"] == "embeddings"]
    assert (process.returncode, diagnosis["verdict"], "nobody:model" in diagnosis["found"]) == (1, "fail", True)


@pytest.mark.slow
def test_doctor_looks_at_an_installation_that_was_never_started(tmp_path: Path) -> None:
    tmp_path.chmod(0o711)
    process = command_line("doctor", "--json", folder=tmp_path)
    verdicts = {row["check"]: row["verdict"] for row in json.loads(process.stdout)["findings"]}
    assert (verdicts["migrations"], verdicts["vectors"], "Traceback" in process.stderr) == ("fail", "warn", False)


def command_line(*argv: str, folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COUNTERSIGN, *argv], env=environ, cwd=folder, capture_output=True, text=True, check=False, timeout=60
    )


def test_what_failed_together_is_told_by_its_first_cause() -> None:
    """A worker's tasks fail as a group, and "unhandled errors in a TaskGroup" would tell nobody anything."""
    script = (
        "from app import cli\n"
        "def broken():\n"
        "    raise ExceptionGroup('unhandled errors', [ExceptionGroup('more', [ValueError('math domain error')])])\n"
        "cli.app.command()(broken)\ncli.main(['broken'])"
    )
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert (process.returncode, "ValueError: math domain error" in process.stderr) == (1, True)
    assert "unhandled" not in process.stderr


def test_help_needs_nothing_heavy() -> None:
    script = (
        "import sys\nfrom app import cli\nassert cli.run(['--help']) == 0\n"
        "print([m for m in ('langgraph', 'mcp', 'fastapi', 'langchain_core') if m in sys.modules])"
    )
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert process.stdout.splitlines()[-1] == "[]"


def test_interrupted_is_130(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        environ = {"COUNTERSIGN_URL": f"http://127.0.0.1:{silent.getsockname()[1]}", "COUNTERSIGN_KEY": "x"}
        child = subprocess.Popen([*COUNTERSIGN, "chat", "hello"], env=environ, cwd=tmp_path, stderr=subprocess.PIPE)
        connection, _ = silent.accept()
        with connection:
            err = _interrupt(child)
    assert (child.returncode, b"Traceback" in err) == (130, False)


def _interrupt(child: subprocess.Popen[bytes]) -> bytes:
    """Press Ctrl-C until it ends: one that falls into connecting can be lost in the client's libraries."""
    for _ in range(5):
        child.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return child.communicate(timeout=10)[1]
    child.kill()
    return child.communicate()[1]
