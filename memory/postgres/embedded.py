"""The embedded Postgres: processes attach to the server of a data folder; the first starts it, the last stops it."""

import errno
import fcntl
import hashlib
import os
import shutil
import socket
import tempfile
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg

from memory.errors import ControlError, Permanent, Temporary
from memory.postgres.refusals import is_secret_refusal, one_line
from memory.postgres.roles import DATABASE, SUPERUSER, Address, Secrets, Urls, lacks_roles, provision
from memory.postgres.server import Account, Server, binaries

_SOCKET_BYTES = 100
"""Operating systems cut socket paths at 104 to 108 bytes."""
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Embedded:
    """A hold on the server of one data folder; close it, or use it as a context manager."""

    def __init__(self, server: Server, folder: Path, address: Address, hold: int) -> None:
        self._server = server
        self._folder = folder
        self._hold: int | None = hold
        self.address = address

    @property
    def urls(self) -> Urls:
        """Return the addresses of the product's database, one per role."""
        return self.urls_of(DATABASE)

    def urls_of(self, database: str) -> Urls:
        """Return the addresses of another database on this server."""
        return Secrets(self._folder / "secrets").urls(self.address, database)

    @property
    def pid(self) -> int | None:
        """Return the server's process id, or None if it died; attaching again then recovers it."""
        process = self._server.running()
        return process.pid if process else None

    def close(self) -> None:
        """Let go; stops the server if nobody else holds it."""
        if self._hold is None:
            return
        with _folder_lock(self._folder):
            os.close(self._hold)
            self._hold = None
            if _is_unused(self._folder):
                self._server.stop()
                if (sockets := _socket_folder(self._server)) != self._server.home:
                    shutil.rmtree(sockets)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def attach(
    data_dir: Path,
    *,
    programs: Path | None = None,
    tcp_port: int | None = None,
    settings: Mapping[str, str] | None = None,
    account: Account | None = None,
) -> Embedded:
    """Start, adopt or recover the server of a data folder and hold it until `close`.

    `tcp_port` also opens loopback TCP (0: any free port) and puts it into the URLs; `settings` and `tcp_port` count
    only for the process that starts the server. Blocks: call it before an event loop has work to do.
    Raises Permanent("configuration") for a folder that cannot be used, Temporary("unavailable") if the start fails.
    """
    folder = data_dir.absolute()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = folder.resolve()
        home = folder / "postgres"
        server = Server(home, _programs_in(programs or binaries()), account or Account.choose(home), settings or {})
        with _folder_lock(folder):
            _prepare(folder, server)
            address = _ensure(server, folder, tcp_port)
            hold = _open(folder / "users")
            fcntl.flock(hold, fcntl.LOCK_SH)
    except OSError as error:
        if error.errno in _FULL:
            message = f"the disk of the data folder {str(folder)!r} is full ({error.strerror}); make room there"
            raise Temporary("database_full", message, delay=1.0) from error
        raise Permanent(
            "configuration",
            f"the data folder {str(folder)!r} cannot be used ({error.strerror}: {error.filename}); "
            "make it writable for this user or set DATA_DIR to another folder",
        ) from error
    return Embedded(server, folder, address, hold)


def _programs_in(programs: Path) -> Path:
    if missing := [name for name in ("initdb", "pg_ctl", "postgres") if not (programs / name).is_file()]:
        raise Permanent(
            "configuration",
            f"{str(programs)!r} has no {', '.join(missing)}; set POSTGRES_BIN to the folder of a server's programs",
        )
    return programs.absolute()


def _prepare(folder: Path, server: Server) -> None:
    if server.account.uid is None:
        folder.chmod(0o700)
    else:
        # The server's account must pass through this folder to its own; the secrets beside stay ours.
        folder.chmod(0o711)
    server.home.mkdir(mode=0o700, exist_ok=True)
    server.give(server.home)


def _ensure(server: Server, folder: Path, tcp_port: int | None) -> Address:
    secrets = Secrets(folder / "secrets")
    address = server.address()
    if address is None:
        address = _start(server, secrets, tcp_port)
    else:
        _complete(server, address, secrets)
    if tcp_port is not None and (address.host.startswith("/") or tcp_port not in (0, address.port)):
        raise Permanent(
            "configuration",
            f"the server of {str(folder)!r} already runs without TCP port {tcp_port}; stop the processes that use it",
        )
    return address


def _start(server: Server, secrets: Secrets, tcp_port: int | None) -> Address:
    server.create(secrets.of(SUPERUSER))
    server.start(_socket_folder(server), _free_port() if tcp_port == 0 else tcp_port)
    with ExitStack() as undo:
        undo.callback(server.stop)
        address = server.address()
        if address is None:
            raise Temporary("unavailable", f"Postgres in {str(server.data)!r} died at once, see {server.log}")
        try:
            provision(address, secrets)
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            raise _unprepared(server, secrets, error) from error
        undo.pop_all()
    return address


def _complete(server: Server, address: Address, secrets: Secrets) -> None:
    """Make what a server lacks that a process of the release before started and left behind."""
    try:
        if lacks_roles(address, secrets):
            provision(address, secrets)
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise _unprepared(server, secrets, error) from error


def _unprepared(server: Server, secrets: Secrets, error: psycopg.Error) -> ControlError:
    if isinstance(error, psycopg.OperationalError) and is_secret_refusal(error):
        problem = f"the secrets in {str(secrets.folder)!r} do not open the database beside them"
        return Permanent("configuration", f"{problem} ({one_line(error)}); restore them")
    problem = f"Postgres in {str(server.data)!r} went away while its roles were made, see {server.log}"
    return Temporary("unavailable", f"{problem} ({one_line(error)}); start it again")


def _socket_folder(server: Server) -> Path:
    # Clients take a comma in a host for the end of its name, and the system bounds the length of a socket's path.
    if "," not in str(server.home) and len(os.fsencode(server.home / ".s.PGSQL.65535")) <= _SOCKET_BYTES:
        return server.home
    name = hashlib.sha256(os.fsencode(server.home)).hexdigest()[:16]
    private = Path(tempfile.gettempdir()) / f"countersign-{os.geteuid()}-{name}"
    private.mkdir(mode=0o700, exist_ok=True)
    owner = private.lstat()
    if private.is_symlink() or owner.st_uid not in (os.geteuid(), server.account.uid) or owner.st_mode & 0o077:
        raise Permanent("configuration", f"{str(private)!r} belongs to someone else; remove it or shorten DATA_DIR")
    server.give(private)
    return private


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _open(path: Path) -> int:
    return os.open(path, os.O_CREAT | os.O_RDWR, 0o600)


@contextmanager
def _folder_lock(folder: Path) -> Generator[None]:
    handle = _open(folder / "lock")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _is_unused(folder: Path) -> bool:
    handle = _open(folder / "users")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(handle)
    return True
