"""Verdicts of the flagship incident, judged again from its export by whoever has nothing but the file."""

import json
from pathlib import Path

import pytest

from memory.evidence.check import check
from memory.store import erasure
from tests import exports
from tests.scenarios.town import Towns
from tools.policy import FOLDER, read_files

pytestmark = pytest.mark.slow


async def test_whoever_is_forgotten_leaves_evidence_that_holds_and_says_so(towns: Towns, tmp_path: Path) -> None:
    """For the verifier and for whoever judges again."""
    async with towns(faults="drop7") as town, town.worker():
        await town.until_end(await town.ask())
        await erasure.forget_person(town.system.database, town.access.principal, requester=town.access.principal.id)
        async with town.system.database.snapshot(town.access) as connection:
            result = await check(connection)
        lines = await exports.lines_of(town.system.database, town.access)
    again = exports.again(lines, tmp_path)
    assert (result.problems, again.different, again.problems) == ((), [], [])
    assert result.counts["forgotten"] >= again.forgotten == len(exports.judged(lines)) > 10


async def test_a_whole_repair_is_judged_again_and_one_rule_changes_what_it_should(towns: Towns, tmp_path: Path) -> None:
    async with towns(faults="drop7") as town, town.worker():
        row = await town.until_end(await town.ask())
        lines = await exports.lines_of(town.system.database, town.access)
    assert row.status == "done"
    same = exports.again(lines, tmp_path)
    assert (same.different, same.problems, same.without_facts, same.without_text) == ([], [], 0, 0)
    assert same.equal == len(exports.judged(lines)) > 10
    files = read_files([FOLDER])
    files["billing.cedar"] = files["billing.cedar"].replace("context.exposure > 1000000", "context.exposure > 0")
    stricter = exports.again(lines, tmp_path, files)
    bodies = [json.loads(line["body"]) for line in lines if line["line"] == "entry"]
    refunds = [body for body in bodies if "verdict" in body and body["tool"] == "billing.refund_batch"]
    assert {difference.computed["need"] for difference in stricter.different} == {2}
    assert len(stricter.different) == len([body for body in refunds if body["need"] == 1]) > 0
    assert stricter.equal + len(stricter.different) == same.equal
