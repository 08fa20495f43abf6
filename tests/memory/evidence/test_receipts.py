"""Receipts: one effect proved in less than 8 KiB, from a run of any length, with nothing but what the receipt holds."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from memory.errors import Permanent, Temporary
from memory.evidence import log, receipts, verifier
from memory.evidence.signing_key import SigningKey, draw
from memory.governance import journal
from memory.postgres.database import Connection, Database
from memory.runs.leases import Lease
from memory.scope import Access, Principal
from tests.conftest import Connect, VirtualClock
from tests.memory.evidence.tables import untriggered
from tests.tools.support import Desk, act, open_desk
from tools import effects

pytestmark = pytest.mark.anyio
KEY = SigningKey.of(draw())


@pytest.fixture
async def desk(database: Database, people: Mapping[str, Principal], clock: VirtualClock) -> Desk:
    return await open_desk(database, people, clock)


async def receipt_of(desk: Desk, effect: str, key: SigningKey | None = KEY) -> bytes:
    """Return the receipt after the log was extended."""
    tenant = desk.people["alice"].tenant
    await log.extend(desk.database, tenant, key)
    async with desk.database.transaction(desk.access("alice")) as connection:
        return await receipts.receipt(connection, effect)


async def effect_of(desk: Desk, lease: Lease) -> str:
    (row,) = await effects.ls(desk.database, lease.access, run=lease.run, limit=1)
    return row.id


def root(leaves: Mapping[int, bytes], size: int, proof: list[str]) -> str:
    """Return the root as the page on the journal says, in its own words; the proof is used up."""
    rest = iter(proof)

    def part(start: int, end: int) -> bytes:
        if not any(start <= position < end for position in leaves):
            return bytes.fromhex(next(rest))
        if end - start == 1:
            return sha256(b"\0" + leaves[start]).digest()
        half = 1
        while half * 2 < end - start:
            half *= 2
        return sha256(b"\1" + part(start, start + half) + part(start + half, end)).digest()

    result = part(0, size).hex()
    assert next(rest, None) is None
    return result


def hash_of(run: str, entry: Mapping[str, Any]) -> bytes:
    middle = run.encode() + entry["seq"].to_bytes(4, "big")
    return sha256(bytes.fromhex(entry["prev"]) + middle + entry["body"].encode()).digest()


def check(content: bytes, key: SigningKey | None = KEY) -> list[dict[str, Any]]:
    """Return the facts of a receipt's entries, once it holds as the page says."""
    assert len(content) < 8 * 1024
    assert verifier.check_receipt(content, [key.public] if key else []) == []
    value = json.loads(content)
    assert content == json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
    leaf, head = json.loads(value["leaf"]["text"]), json.loads(value["head"]["text"])
    hashes = {entry["seq"] - 1: hash_of(value["run"], entry) for entry in value["entries"]}
    assert (value["run"], value["tenant"]) == (leaf["run"], head["tenant"])
    assert root(hashes, leaf["seq"], value["proof"]) == leaf["root"]
    position, text = value["leaf"]["position"], value["leaf"]["text"].encode()
    assert root({position: text}, head["size"], value["leaf"]["proof"]) == head["root"]
    facts = [json.loads(entry["body"]) for entry in value["entries"]]
    for entry, body in zip(value["entries"], facts, strict=True):
        if entry["words"]:
            assert body["sealed"] == sha256(UUID(entry["salt"]).bytes + entry["words"].encode()).hexdigest()
    assert [body["effect"] for body in facts if body["kind"] == "permitted"] == [value["effect"]]
    if key:
        assert (value["key"], head["key"]) == (key.public.hex(), key.id)
        signature = bytes.fromhex(value["head"]["signature"])
        Ed25519PublicKey.from_public_bytes(key.public).verify(signature, value["head"]["text"].encode())
    return facts


def kinds(content: bytes) -> list[str]:
    return [body["kind"] for body in check(content)]


def texts(content: bytes) -> set[str]:
    """Return the kinds of the entries whose words a receipt shows."""
    return {json.loads(entry["body"])["kind"] for entry in json.loads(content)["entries"] if entry["words"]}


async def lengthen(owner: Connection, lease: Lease, count: int, body: Mapping[str, Any]) -> None:
    """Add entries to a run, all at once."""
    async with owner.transaction():
        await owner.execute("select enter(%s, 'tests', '{}', '{}')", [lease.access.principal.tenant])
        await owner.execute(
            "select journal_extend(%s, variadic array(select %s::jsonb || jsonb_build_object('n', n) "
            "from generate_series(1, %s) n))",
            [lease.run, json.dumps(body), count],
        )


async def test_an_effect_is_proved_with_request_verdict_and_outcome(desk: Desk) -> None:
    lease = await desk.run()
    await desk.gateway.perform(lease, act(lease))
    content = await receipt_of(desk, await effect_of(desk, lease))
    assert kinds(content) == ["requested", "proposed", "permitted", "outcome"]
    assert texts(content) == {"requested", "proposed", "permitted", "outcome"}


async def test_what_people_agreed_to_names_their_votes(desk: Desk) -> None:
    lease = await desk.run()
    action = act(lease, tool="shop.refund", amount=5000)
    approval = await desk.ask(lease, action)
    for person in ("bob", "carol"):
        await desk.decide(approval, person, reason="checked")
    assert (await desk.gateway.perform(lease, action)).state == "done"
    content = await receipt_of(desk, await effect_of(desk, lease))
    assert kinds(content) == ["requested", "held", "vote", "vote", "approval", "proposed", "permitted", "outcome"]
    assert [body["by"] for body in check(content) if body["kind"] == "vote"] == ["bob", "carol"]


async def strangers_refusal(content: bytes, folder: Path) -> str:
    """Return why a fresh interpreter, with nothing but the verifier, refuses a receipt; nothing if it does not."""
    (folder / "receipt.json").write_bytes(content)
    command = [
        sys.executable,
        "-I",
        "-S",
        str(verifier.__file__),
        str(folder / "receipt.json"),
        "--key",
        KEY.public.hex(),
    ]
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE)
    out, err = await process.communicate()
    return "" if process.returncode == 0 else (out + err).decode() or "refused"


async def test_one_byte_changed_anywhere_is_refused(desk: Desk, tmp_path: Path) -> None:
    lease = await desk.run()
    await desk.gateway.perform(lease, act(lease))
    content = await receipt_of(desk, await effect_of(desk, lease))
    for position in range(len(content)):
        copy = bytearray(content)
        copy[position] ^= 1
        assert verifier.check_receipt(bytes(copy), [KEY.public]), content[position - 20 : position + 20]
    assert await strangers_refusal(content.replace(b'"seq":1,', b'"seq":2,'), tmp_path)


async def test_a_run_of_ten_thousand_entries_makes_a_receipt_no_longer(
    desk: Desk, owner: Connection, tmp_path: Path
) -> None:
    lease = await desk.run()
    await lengthen(owner, lease, 4000, {"kind": "note"})
    action = act(lease, tool="shop.refund", amount=5000)
    approval = await desk.ask(lease, action)
    await lengthen(owner, lease, 1000, {"kind": "note"})
    for person in ("bob", "carol"):
        await desk.decide(approval, person, reason="checked " * 200)
    await lengthen(owner, lease, 5000, {"kind": "note"})
    assert (await desk.gateway.perform(lease, action)).state == "done"
    effect = await effect_of(desk, lease)
    await lengthen(owner, lease, 1000, {"kind": "note"})
    content = await receipt_of(desk, effect)
    assert not await strangers_refusal(content, tmp_path)
    assert kinds(content).count("vote") == 2
    assert {"proposed", "permitted", "outcome"} <= set(kinds(content))


async def test_hundreds_of_outcomes_leave_the_last(desk: Desk, owner: Connection) -> None:
    lease = await desk.run()
    await desk.gateway.perform(lease, act(lease))
    effect = await effect_of(desk, lease)
    await lengthen(owner, lease, 400, {"kind": "outcome", "effect": effect, "state": "in_doubt"})
    content = await receipt_of(desk, effect)
    assert kinds(content) == ["proposed", "permitted", "outcome"]
    assert json.loads(content)["entries"][-1]["seq"] == 404


async def test_a_crowd_of_voters_with_much_to_say_stays_within_bounds(desk: Desk, owner: Connection) -> None:
    lease = await desk.run()
    action = act(lease, tool="shop.refund", amount=5000)
    approval = await desk.ask(lease, action)
    await lengthen(owner, lease, 300, {"kind": "vote", "approval": approval, "by": "x" * 60, "reason": "y" * 2000})
    for person in ("bob", "carol"):
        await desk.decide(approval, person)
    await desk.gateway.perform(lease, action)
    assert kinds(await receipt_of(desk, await effect_of(desk, lease))) == ["proposed", "permitted", "outcome"]


async def test_words_go_first_the_longest_before_others(desk: Desk, owner: Connection) -> None:
    lease = await desk.run()
    await desk.gateway.perform(lease, act(lease))
    effect = await effect_of(desk, lease)
    await lengthen(owner, lease, 1, {"kind": "resolved", "effect": effect, "note": "\u2028é" * 3000})
    content = await receipt_of(desk, effect)
    assert kinds(content) == ["requested", "proposed", "permitted", "outcome", "resolved"]
    assert texts(content) == {"requested", "proposed", "permitted", "outcome"}


async def test_an_effect_that_is_not_settled_has_one(desk: Desk) -> None:
    lease, content = await desk.run(), list[bytes]()

    async def look() -> None:
        content.append(await receipt_of(desk, await effect_of(desk, lease)))

    desk.shop.before = look
    await desk.gateway.perform(lease, act(lease))
    assert kinds(content[0]) == ["requested", "proposed", "permitted"]


async def test_what_was_forgotten_is_null_and_still_proved(desk: Desk, superuser: Connect) -> None:
    lease = await desk.run()
    await desk.gateway.perform(lease, act(lease))
    async with superuser() as connection:
        await connection.execute(
            "update journal set words = null, salt = null where words is not null and run = %s", [lease.run]
        )
    content = await receipt_of(desk, await effect_of(desk, lease))
    assert len(check(content)) == 4
    assert [entry["words"] for entry in json.loads(content)["entries"]] == [None] * 4


async def test_it_stands_after_the_log_went_on(desk: Desk) -> None:
    lease = await desk.run()
    await desk.gateway.perform(lease, act(lease))
    effect = await effect_of(desk, lease)
    for n in range(20):
        other = await desk.run()
        await journal.append(desk.database, other.access, other.run, {"kind": "note", "n": n})
        check(await receipt_of(desk, effect))


async def test_without_a_key_it_says_so(desk: Desk) -> None:
    lease = await desk.run()
    await desk.gateway.perform(lease, act(lease))
    content = await receipt_of(desk, await effect_of(desk, lease), None)
    check(content, None)
    assert (json.loads(content)["key"], json.loads(content)["head"]["signature"]) == ("", None)


async def test_what_is_not_on_record_has_none(desk: Desk) -> None:
    lease = await desk.run()
    await desk.gateway.perform(lease, act(lease))
    effect, stranger = await effect_of(desk, lease), Access.of(Principal("elsewhere", "alice"))
    with pytest.raises(Permanent, match="no effect 'none'"):
        await receipt_of(desk, "none")
    async with desk.database.transaction(stranger) as connection:
        with pytest.raises(Permanent, match="no effect"):
            await receipts.receipt(connection, effect)


async def test_what_the_log_has_not_taken_in_is_told(desk: Desk) -> None:
    lease = await desk.run()
    await desk.gateway.perform(lease, act(lease))
    effect = await effect_of(desk, lease)
    async with desk.database.transaction(lease.access) as connection:
        with pytest.raises(Temporary, match="has not taken in"):
            await receipts.receipt(connection, effect)


@pytest.mark.parametrize(("table", "condition"), [("journal", "seq = 2"), ("log_leaves", "position < 4")])
async def test_what_is_missing_is_an_error_with_a_name(
    desk: Desk, superuser: Connect, table: str, condition: str
) -> None:
    leases = [await desk.run() for _ in range(3)]
    for lease in leases:
        await desk.gateway.perform(lease, act(lease, lease.run))
        await log.extend(desk.database, desk.people["alice"].tenant, KEY)
    effect = await effect_of(desk, leases[-1])
    async with untriggered(superuser, table) as connection:
        statement = f"delete from {table} where tenant = %s and {condition}"
        await connection.execute(statement.encode(), [desk.people["alice"].tenant])
    with pytest.raises(Permanent) as error:
        await receipt_of(desk, effect)
    assert error.value.code == "journal_broken"
