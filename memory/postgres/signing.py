"""How the app's process proves for whom it enters; used by the database pool and by whoever prepares a database.

The key is made of the app role's password, which its process has and its SQL never sees, so that there is no further
secret to hand out. The database keeps the key where only the owner's functions read it.
"""

import hashlib
import hmac
import json
import time
from collections.abc import Callable, Sequence

import psycopg
from psycopg import AsyncConnection

from memory.errors import Permanent, Temporary
from memory.postgres.refusals import one_line
from memory.scope import Access, Scope

_ROUNDS = 4096
"""As many as Postgres itself puts before a password."""
_BLOCK = 64
_INSTALL = """
insert into public.entry_key (inner_pad, outer_pad) values (%(inner)s, %(outer)s)
on conflict (one) do update set inner_pad = excluded.inner_pad, outer_pad = excluded.outer_pad,
   changed = clock_timestamp()
 where (entry_key.inner_pad, entry_key.outer_pad) is distinct from (excluded.inner_pad, excluded.outer_pad)
"""


class Signer:
    """Signs entries with the key of one password; `offset` is how far the database's clock is ahead, in seconds.

    The database's time is carried on by a clock that nobody sets, so a step of this machine's clock changes nothing.
    """

    def __init__(self, password: str, offset: float = 0.0, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._key = key(password)
        self._monotonic = monotonic
        self._ahead = time.time() + offset - monotonic()
        self._last = 0
        self.setbacks = 0
        """How often entries signed before were later than the database's time: sessions that took one are then of no
        use any more, as they refuse all others until their time has come."""

    def adjust(self, seconds: float) -> None:
        """Go on from the database's time in `seconds`."""
        self._ahead = seconds - self._monotonic()
        if self._last >= int(seconds * 1_000_000):
            self._last = 0
            self.setbacks += 1

    def sign(self, access: Access, pid: int) -> list[object]:
        """Return the arguments of one `enter` in the session with this process id; good once, for a minute."""
        # No two entries for one session share a moment.
        self._last = max(self._last + 1, int((self._monotonic() + self._ahead) * 1_000_000))
        entry = json.dumps(
            {
                "tenant": access.principal.tenant,
                "principal": access.principal.id,
                "reads": _array(access.reads),
                "writes": _array(access.all_writes),
                "pid": pid,
                "at": self._last,
            }
        )
        return [entry, hmac.digest(self._key, entry.encode(), "sha256")]


def key(password: str) -> bytes:
    """Return the key of a password; raises Permanent("configuration") for none."""
    if not password:
        raise Permanent("configuration", "the app's database role logs in without a password; entries are signed by it")
    return hashlib.pbkdf2_hmac("sha256", password.encode(), b"countersign entry", _ROUNDS)


async def admit(owner_url: str, app_url: str) -> None:
    """Let entries of the process with `app_url` count from now on; repeats harmlessly.

    Needed once after migrating, and whenever the app role's password changes: older processes are refused then.
    """
    try:
        async with await AsyncConnection.connect(app_url, connect_timeout=10) as app:
            block_key = key(app.info.password).ljust(_BLOCK, b"\0")
        pads = {name: bytes(byte ^ mask for byte in block_key) for name, mask in (("inner", 0x36), ("outer", 0x5C))}
        async with await AsyncConnection.connect(owner_url, autocommit=True, connect_timeout=10) as owner:
            await owner.execute(_INSTALL, pads)
    except psycopg.OperationalError as error:
        raise Temporary(
            "unavailable", f"cannot reach the database: {one_line(error)}; check the URLs of app and owner"
        ) from error


def _array(scopes: Sequence[Scope]) -> str:
    names = (str(scope).replace("\\", "\\\\").replace('"', '\\"') for scope in scopes)
    return "{" + ",".join(f'"{text}"' for text in names) + "}"
