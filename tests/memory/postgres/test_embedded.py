"""The embedded server: started once, shared, recovered, stopped by the last, whoever runs it."""

import os
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from threading import Event, Thread
from uuid import uuid4

import psutil
import psycopg
import pytest

from memory.errors import Permanent, Temporary
from memory.postgres.embedded import Embedded, attach
from memory.postgres.server import Account, binaries

pytestmark = pytest.mark.slow

HOLDER = """
import os, sys
from pathlib import Path
import psycopg
from memory.errors import ControlError
from memory.postgres.embedded import attach
if len(sys.argv) > 2:
    os.setgroups([]), os.setgid(65534), os.setuid(65534)
with attach(Path(sys.argv[1])) as server:
    with psycopg.connect(server.urls.app) as connection:
        user = connection.execute("select current_user").fetchone()[0]
    print(server.pid, user, os.geteuid(), flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def folder(run_folder: Path) -> Generator[Path]:
    """Return a folder of its own, in which no server is left behind."""
    path = run_folder / f"own-{uuid4().hex[:8]}"
    yield path
    for process in psutil.process_iter(["cwd"]):
        if str(process.info["cwd"]).startswith(f"{path}/"):
            process.kill()


def holder(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start another process that attaches, and prints its server's pid."""
    command = [sys.executable, "-c", HOLDER, str(folder), *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def first_line(process: subprocess.Popen[str]) -> list[str]:
    assert process.stdout is not None
    return process.stdout.readline().split()


def ask(server: Embedded, query: str) -> object:
    with psycopg.connect(server.urls.superuser) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def run(server: Embedded, statement: str) -> None:
    with psycopg.connect(server.urls.superuser) as connection:
        connection.execute(statement.encode())


def kill(server: Embedded) -> None:
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)


def test_last_one_out_stops_the_server(folder: Path) -> None:
    first, second = attach(folder), attach(folder)
    pid = first.pid
    first.close()
    assert second.pid == pid
    second.close()
    assert second.pid is None


def test_closing_twice_does_not_stop_the_server_of_others(folder: Path) -> None:
    with attach(folder) as stays:
        leaves = attach(folder)
        leaves.close()
        leaves.close()
        assert stays.pid is not None


def test_rows_survive_a_clean_stop(folder: Path) -> None:
    with attach(folder) as server:
        run(server, "create table kept as select 7 as n")
    with attach(folder) as server:
        assert ask(server, "select n from kept") == 7


def test_acknowledged_rows_survive_the_death_of_the_server(folder: Path) -> None:
    """R79"""
    with attach(folder) as server:
        run(server, "create table kept (n int)")
        numbers: list[int] = []
        signal = Event()
        writer = Thread(target=write, args=(server.urls.superuser, numbers, signal))
        writer.start()
        assert signal.wait(30)
        kill(server)
        writer.join()
        with attach(folder) as again:
            rows = ask(again, "select array_agg(n order by n) from kept")
            assert isinstance(rows, list)
            assert rows[: len(numbers)] == numbers


def write(url: str, numbers: list[int], signal: Event) -> None:
    """Insert until the server is gone."""
    with psycopg.connect(url, autocommit=True) as connection:
        while True:
            try:
                connection.execute("insert into kept values (%s)", [len(numbers)])
            except psycopg.OperationalError:
                return
            numbers.append(len(numbers))
            if len(numbers) == 200:
                signal.set()


def test_server_of_a_killed_process_is_adopted_and_stopped(folder: Path) -> None:
    with holder(folder) as other:
        pid = int(first_line(other)[0])
        other.kill()
    with attach(folder) as server:
        assert server.pid == pid
    assert server.pid is None


def test_server_used_by_another_process_stays_up(folder: Path) -> None:
    with holder(folder) as other:
        pid = int(first_line(other)[0])
        attach(folder).close()
        assert psutil.pid_exists(pid)
        other.communicate("")


def test_ordinary_user_runs_the_server_as_themselves(folder: Path) -> None:
    folder.mkdir()
    arguments: tuple[str, ...] = ()
    if os.geteuid() == 0:
        os.chown(folder, 65534, 65534)
        arguments = ("drop",)
    with holder(folder, *arguments) as other:
        pid, role, uid = first_line(other)
        assert (psutil.Process(int(pid)).uids().real, role) == (int(uid), "cs_app")
        other.communicate("")
    assert not psutil.pid_exists(int(pid)) or psutil.Process(int(pid)).status() == psutil.STATUS_ZOMBIE


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody")
def test_root_without_user_namespaces_runs_the_server_as_nobody(folder: Path) -> None:
    with attach(folder, account=Account.nobody()) as server:
        assert psutil.Process(server.pid).uids().real == Account.nobody().uid
        assert (folder / "secrets").stat().st_uid == 0
    with attach(folder) as server:
        assert psutil.Process(server.pid).uids().real == Account.nobody().uid


def test_files_are_closed_to_others(folder: Path) -> None:
    with attach(folder, account=Account.choose(folder / "postgres")):
        private = [folder / "secrets", folder / "postgres", folder / "postgres" / "data"]
        assert [path.stat().st_mode & 0o077 for path in private] == [0, 0, 0]
        assert {path.stat().st_mode & 0o177 for path in (folder / "secrets").iterdir()} == {0}


def test_wrong_password_is_refused(folder: Path) -> None:
    with attach(folder) as server:
        secret = (folder / "secrets" / "cs_app").read_text()
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(server.urls.app.replace(secret, "guess"))


@pytest.mark.parametrize("name", ["o'neil %20 é", "one, two"])
def test_folders_may_have_any_name(folder: Path, name: str) -> None:
    with attach(folder / name) as server:
        assert ask(server, "select current_user") == "postgres"


def test_tcp_port_appears_in_the_urls_and_asks_for_the_password(folder: Path) -> None:
    with attach(folder, tcp_port=0) as server:
        assert server.address.host == "127.0.0.1"
        assert ask(server, "select 1") == 1
        with pytest.raises(psycopg.OperationalError, match="no password supplied"):
            psycopg.connect(host="127.0.0.1", port=server.address.port, user="cs_app", dbname="countersign")


def test_no_tcp_port_is_open_unless_asked_for(folder: Path) -> None:
    with attach(folder) as server:
        process = psutil.Process(server.pid)
        assert process.net_connections("inet") == []
        with pytest.raises(Permanent, match="already runs without TCP port 5999"):
            attach(folder, tcp_port=5999)


def test_long_folder_gets_its_socket_elsewhere(folder: Path) -> None:
    with attach(folder / ("long" * 30)) as server:
        assert not server.address.host.startswith(str(folder))
        assert Path(server.address.host).stat().st_mode & 0o077 == 0
        assert ask(server, "select 1") == 1
    assert not Path(server.address.host).exists()


def test_pid_of_a_stranger_is_not_taken_for_the_server(folder: Path) -> None:
    attach(folder).close()
    (folder / "postgres" / "data" / "postmaster.pid").write_text(f"{os.getpid()}\n/elsewhere\n")
    with attach(folder) as server:
        assert server.pid not in (None, os.getpid())


def test_half_made_cluster_is_thrown_away(folder: Path) -> None:
    leftover = folder / "postgres" / "init-1"
    leftover.mkdir(parents=True, mode=0o700)
    (leftover / "PG_VERSION").write_text("18")
    with attach(folder) as server:
        assert ask(server, "select 1") == 1
    assert not leftover.exists()


def test_server_that_cannot_start_says_why_and_leaves_nothing_running(folder: Path) -> None:
    with pytest.raises(Temporary, match="no_such_setting"):
        attach(folder, settings={"no_such_setting": "1"})
    with attach(folder) as server:
        assert ask(server, "select 1") == 1


def test_lost_secrets_are_told(folder: Path) -> None:
    attach(folder).close()
    (folder / "secrets" / "postgres").unlink()
    with pytest.raises(Permanent, match="do not open the database beside them"):
        attach(folder)


def test_server_that_fails_while_its_roles_are_made_is_no_lost_secret(folder: Path) -> None:
    """Starting it again is right; the secrets beside it are as good as before."""
    with pytest.raises(Temporary, match="went away while its roles were made") as refusal:
        attach(folder, settings={"session_preload_libraries": "no_such_library"})
    assert "\n" not in str(refusal.value)
    with attach(folder) as server:
        assert ask(server, "select 1") == 1


def test_unwritable_folder_is_a_configuration_error(folder: Path) -> None:
    folder.write_text("a file, not a folder")
    with pytest.raises(Permanent, match="set DATA_DIR to another folder") as refusal:
        attach(folder / "inside")
    assert refusal.value.code == "configuration"


def test_programs_may_come_from_elsewhere_and_must_be_there(folder: Path) -> None:
    with attach(folder, programs=binaries()) as server:
        assert ask(server, "select 1") == 1
    with pytest.raises(Permanent, match="has no initdb, pg_ctl, postgres; set POSTGRES_BIN"):
        attach(folder, programs=folder)


def test_a_running_server_of_the_release_before_gets_the_roles_that_are_new(folder: Path) -> None:
    with attach(folder) as server, psycopg.connect(server.urls.superuser, autocommit=True) as above:
        above.execute("revoke cs_app from cs_worker")
        above.execute("drop role cs_worker")
        with attach(folder) as again, psycopg.connect(again.urls.worker) as worker:
            row = worker.execute("select current_user, pg_has_role('cs_worker', 'cs_app', 'usage')").fetchone()
    assert row == ("cs_worker", True)
