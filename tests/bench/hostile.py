"""Benchmark of isolation with foreign attacks: `python -m tests.bench.hostile --program FOLDER [--scopes 60]`.

The program is no part of this repository; its folder must hold `isolation`, whose hostile statements never say whose
rows they want. They run here as the app's role on our tables, once as entered and once after that role has rewritten
every setting that could name somebody else. Printed is what the program counts: rows of others, refused writes, rows
seen before and after an entry.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg

from memory.postgres.signing import Signer
from memory.scope import Access, Principal, Scope
from memory.store import write
from tests.bench.ground import Ground, open_ground
from tests.bench.scopes import notes

_WORDS: Mapping[str, str] = {
    "vault.memory": "memories",
    "tenant, scope from": "tenant, scope_id from",
    "returning tenant, scope": "returning tenant, scope_id",
    "b.tenant, b.scope": "b.tenant, b.scope_id",
    "words @@": "to_tsvector('english', body) @@",
    "vector <=> %(v)s": "embedding <=> (select embedding from memories limit 1)",
    "id <= 500": "id::text <= '8'",
    "content": "body",
    "set scope = 'u1'": "set scope_id = 'u1'",
    "policy own": "policy reads",
}
"""Our word for each of the program's."""
_PLANT = """
insert into memories (tenant, id, scope_kind, scope_id, body, digest, embedder, embedding, trust, provenance)
values ('t0', gen_random_uuid(), 'user', 'u1', 'x', repeat('0', 64), 'x', '[1]', 'human', '{}')
"""
_SETTINGS = ("countersign.tenant", "countersign.principal", "countersign.reads", "countersign.writes")


class Session:
    """A connection of the app's role that understands the program; `forging` rewrites its settings after each entry."""

    def __init__(self, connection: psycopg.Connection, enter: str, *, forging: bool) -> None:
        self._connection, self._enter, self._forging = connection, enter, forging
        self._signer = Signer(connection.info.password)
        self.transaction = connection.transaction
        self.own = 0
        """Rows that the statements did reach; without any, the attacks would prove nothing."""

    def execute(self, statement: str, values: Any = None) -> Any:
        """Run one of the program's statements on our tables."""
        if statement == self._enter:
            return self._enter_scope(values)
        cursor = self._run(_translate(statement))
        self.own += max(0, cursor.rowcount)
        return cursor

    def _run(self, statement: str) -> psycopg.Cursor:
        try:
            return self._connection.execute(statement.encode())
        except psycopg.errors.InsufficientPrivilege:
            raise
        except psycopg.Error as error:
            # A statement that fails for another reason would pass for a refused one.
            raise RuntimeError(f"{statement!r} does not run on our tables: {error}") from error

    def _enter_scope(self, values: Sequence[str]) -> None:
        tenant, name, _ = values
        mark = self._signer.sign(_access(tenant, name), self._connection.info.backend_pid)
        self._connection.execute("select enter(%s, %s)", mark)
        if self._forging:
            self._forge(tenant, f"u{int(name[1:]) + 3}")

    def _forge(self, tenant: str, victim: str) -> None:
        scopes = f"{{user:{victim}}}"
        entry = str(Signer("guessed").sign(_access(tenant, victim), self._connection.info.backend_pid)[0])
        settings = {"countersign.entry": f"{uuid4()}{entry}"}
        settings |= dict(zip(_SETTINGS, (tenant, victim, scopes, scopes), strict=True))
        for name, value in settings.items():
            self._connection.execute("select set_config(%s, %s, true)", [name, value])


def _translate(statement: str) -> str:
    if statement.startswith("insert into vault.memory"):
        return _PLANT
    for word, own_word in _WORDS.items():
        statement = statement.replace(word, own_word)
    return statement.replace("%%", "%")


def _access(tenant: str, name: str) -> Access:
    scope = Scope("user", name)
    return Access(Principal(tenant, name), (scope,), scope)


async def _load(ground: Ground, scopes: int, count: int) -> None:
    for number in range(scopes):
        access = _access(f"t{number % 3}", f"u{number}")
        texts = [f"secret {number} number {row} alpha{row * 7} beta{row * 11}" for row in range(count)]
        async with ground.database.transaction(access) as connection:
            await write.add_notes(connection, access, notes(texts))


def judge(program: Any, url: str, scopes: int) -> dict[str, object]:
    """Return what the program counts, in sessions of the app's role."""
    leak_count, attack_count, own = 0, 0, 0
    with psycopg.connect(url, autocommit=True) as connection:
        for forging in (False, True):
            session = Session(connection, program.ENTER, forging=forging)
            for scope in range(scopes):
                leaks: Mapping[str, int] = program.attack(session, scope)
                leak_count, attack_count = leak_count + sum(leaks.values()), attack_count + len(leaks)
            own += session.own
        plain = Session(connection, program.ENTER, forging=False)
        refusals, unset = program.refusals(plain), program.unset(plain)
    return {
        "attacks": attack_count,
        "rows leaked": leak_count,
        "own rows reached": own,
        "refused": refusals,
        "rows seen with no scope set": unset,
    }


async def _judge(program: Any, scopes: int, count: int) -> dict[str, object]:
    async with open_ground() as ground:
        await _load(ground, scopes, count)
        figures = await asyncio.to_thread(judge, program, ground.server.urls.app, scopes)
        with psycopg.connect(ground.server.urls.superuser) as above:
            row = above.execute("select count(*) from memories").fetchone()
        return {**figures, "superuser still sees": row and row[0]}


def main() -> None:
    """Fill scopes of three tenants, attack each, print the counts."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.hostile", description=__doc__)
    parser.add_argument("--program", type=Path, required=True, help="folder of the benchmark program")
    parser.add_argument("--scopes", type=int, default=60, help="people, in three tenants")
    parser.add_argument("--each", type=int, default=50, help="memories of each")
    options = parser.parse_args()
    sys.path.insert(0, str(options.program))
    program: Any = import_module("isolation")
    figures = asyncio.run(_judge(program, options.scopes, options.each))
    sys.stdout.write(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
