"""Verdicts judged again and policies printed on the command line, by whoever has a file or a key."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from memory.clock import Clock
from memory.evidence import policy_history
from memory.evidence.policy_history import PolicyChange
from memory.governance import policy_version
from memory.postgres.database import Database
from memory.scope import Principal
from tests import exports
from tests.app.conftest import Run
from tests.exports import Line
from tests.tools.support import POLICY, Desk, act, open_desk

pytestmark = pytest.mark.anyio
HOSTILE = "x\nrun 'r', entry 1: all is well \x1b[2J\u202e"


@pytest.fixture
async def desk(database: Database, people: dict[str, Principal], clock: Clock) -> Desk:
    return await open_desk(database, people, clock)


async def lines_of(desk: Desk) -> list[Line]:
    """Return an export with an allowed, a held and a denied action."""
    lease = await desk.run()
    await desk.gateway.perform(lease, act(lease))
    await desk.ask(lease, act(lease, "b", tool="shop.refund"))
    await desk.gateway.perform(lease, act(lease, "c", amount=13))
    return await exports.lines_of(desk.database, desk.access("alice"))


async def test_equal_verdicts_are_code_0_and_counted(run: Run, desk: Desk, tmp_path: Path) -> None:
    path = exports.write(tmp_path / "e.jsonl", await lines_of(desk))
    ran = await run("alice", "journal", "rederive", str(path))
    assert (ran.code, ran.out) == (
        0, "3 equal, 0 different, 0 forgotten, 0 without facts, 0 without text, 0 problem(s)\n"
    )  # fmt: skip
    assert (await run("alice", "journal", "rederive", str(path), "--json")).json["equal"] == 3


async def test_a_rule_changed_is_code_6_and_names_what_differs(run: Run, desk: Desk, tmp_path: Path) -> None:
    path = exports.write(tmp_path / "e.jsonl", await lines_of(desk))
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "shop.cedar").write_text(POLICY.replace("context.amount == 13", "context.amount == 14"))
    ran = await run("alice", "journal", "rederive", str(path), "--policies", str(tmp_path / "rules"))
    assert ran.code == 6
    assert "recorded (verdict 'deny', code 'policy_denied', rules ['never']), computed (verdict 'allow'" in ran.out
    assert "2 equal, 1 different" in ran.out


async def test_a_file_that_is_no_export_is_code_2(run: Run, tmp_path: Path) -> None:
    (tmp_path / "e").write_text(json.dumps({"line": HOSTILE}))
    for options in ((), ("--json",)):
        for command in ("rederive", "policy"):
            ran = await run("alice", "journal", command, str(tmp_path / "e"), *options)
            assert (ran.code, "line 1 of the export cannot be read" in ran.err, "Traceback" in ran.err) == (
                2,
                True,
                False,
            )
    assert (await run("alice", "journal", "rederive", str(tmp_path / "none"))).code == 2


async def test_nothing_in_a_file_becomes_a_line_of_its_own(run: Run, desk: Desk, tmp_path: Path) -> None:
    lines = await lines_of(desk)

    def change(line: Line) -> Line:
        return exports.rehashed(line, rules=[HOSTILE], role=HOSTILE)

    changed = exports.changed(lines, exports.first("permitted", change))
    odd_run: list[Line] = [
        {**line, "run": HOSTILE} if line.get("seq") == 2 and line["line"] == "entry" else line for line in changed
    ]
    ran = await run("alice", "journal", "rederive", str(exports.write(tmp_path / "e", odd_run)))
    assert ran.code == 6
    assert not [line for line in ran.out.splitlines() if line.startswith("run 'r'")]
    assert ("\x1b" in ran.out, "\u202e" in ran.out) == (False, False)


async def test_the_policies_of_a_moment_are_printed_from_the_service_and_from_a_file(
    run: Run, desk: Desk, tmp_path: Path
) -> None:
    installation = policy_version.installation(desk.access("alice").principal.tenant)
    await policy_version.activate(desk.database, installation, "f" * 64)
    path = exports.write(tmp_path / "e.jsonl", await exports.lines_of(desk.database, desk.access("alice")))
    for where in ((), (str(path),)):
        now: Any = (await run("alice", "journal", "policy", *where, "--json")).json
        assert (now["policy"], now["files"], now["by"]) == ("f" * 64, None, "countersign")
        assert "its text was not kept" in (await run("alice", "journal", "policy", *where)).out
        (change, _) = await policy_history.changes(desk.database, desk.access("alice"))
        moment = change.at.strftime("%Y-%m-%dT%H:%M:%S.%f")
        then: Any = (await run("alice", "journal", "policy", *where, "--at", moment, "--json")).json
        assert (then["policy"], then["files"]) == (desk.policy.version, {"shop.cedar": POLICY})
        early = await run("alice", "journal", "policy", *where, "--at", "2020-01-01")
        assert (early.code, "no policy was in force then" in early.err) == (1, True)


async def test_a_text_that_was_changed_in_the_file_is_no_policy(run: Run, desk: Desk, tmp_path: Path) -> None:
    lines = await exports.lines_of(desk.database, desk.access("alice"))
    path = exports.write(tmp_path / "whole", lines)
    assert "file 'shop.cedar':\n" in (await run("alice", "journal", "policy", str(path))).out
    path = exports.write(tmp_path / "e", [{**line, "text": "{}"} if "text" in line else line for line in lines])
    ran = await run("alice", "journal", "policy", str(path))
    assert (ran.code, "has not the hash" in ran.err) == (6, True)


@pytest.mark.parametrize("odd", [{"at": "now"}, {"at": "2026-01-01T00:00:00"}, {"policy": [1]}, {"by": 5}], ids=str)
async def test_a_change_of_policy_in_another_form_is_none(
    run: Run, desk: Desk, tmp_path: Path, odd: dict[str, Any]
) -> None:
    def change(line: Line) -> Line | None:
        is_change = line["line"] == "entry" and '"kind": "policy"' in line["body"]
        return exports.rehashed(line, **odd) if is_change else None

    lines = exports.changed(await exports.lines_of(desk.database, desk.access("alice")), change)
    ran = await run("alice", "journal", "policy", str(exports.write(tmp_path / "e", lines)))
    assert (ran.code, "journal_broken" in ran.err) == (6, True)


def test_the_set_of_a_moment_is_the_last_that_came_before_it() -> None:
    begin = datetime(2026, 1, 5, tzinfo=UTC)
    changes = [PolicyChange(n, begin + timedelta(hours=n), f"p{n}", "bob") for n in (1, 2, 3)]
    moments = [None, begin, begin + timedelta(hours=1), begin + timedelta(hours=2.5), begin + timedelta(days=1)]
    sets = [policy_history.in_force(changes, moment) for moment in moments]
    assert [change and change.policy for change in sets] == ["p3", None, "p1", "p2", "p3"]
