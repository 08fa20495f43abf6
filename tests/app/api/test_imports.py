"""Imports over HTTP: no line is answered with a failure of ours, and readers that stall keep nobody out."""

import json

import httpx2
import pytest

from tests.memory.store.test_transfer_files import BAD, HEAD, file, row

pytestmark = pytest.mark.anyio

RAW = (
    *("[" * 5000 + "]" * 5000, '{"id":' + "1" * 5000 + "}", "null", '"x"', "[1,2]", "\ufeff{}", HEAD),
    '{"id":"x","body":"b","trust":"human","provenance":' + '{"a":' * 3000 + "1" + "}" * 3000 + "}",
)


async def test_no_claim_of_a_line_is_our_failure(a: httpx2.AsyncClient) -> None:
    """R101: refused with the number of the line, and nothing stays."""
    claims = [json.dumps(row(**claims)) for _, claims in BAD]
    for line in (*claims, *RAW):
        answer = await a.post("/api/memory/import", json={"lines": [*file(row()), line]})
        assert (answer.status_code, answer.json()["code"]) == (400, "bad_request"), line[:200]
        assert "line 3" in answer.json()["detail"]
    assert (await a.get("/api/memory")).json()["items"] == []


@pytest.mark.parametrize("lines", [[""], ["\n"], [json.dumps(row())], [HEAD.replace("/1", "/2")]])
async def test_a_file_without_its_first_line_is_refused(a: httpx2.AsyncClient, lines: list[str]) -> None:
    answer = await a.post("/api/memory/import", json={"lines": lines})
    assert (answer.status_code, "line 1 must name the format" in answer.json()["detail"]) == (400, True)


async def test_what_was_imported_can_be_listed_searched_pruned_and_exported(a: httpx2.AsyncClient) -> None:
    """R94 R101: whatever a file says of it."""
    wild = [row(uses=2**31 - 1, pinned=True), row(told=2**31 - 1), row(created="9000-01-01T00:00:00Z", key="metal")]
    wild += [row(superseded_by=row()["id"], key="metal"), row(speaker="b", session="s", place=2**31 - 1)]
    wild += [row(valid_from="0003-01-01T00:00:00Z", said="9000-01-01T00:00:00+14:00", speaker="b")]
    answer = await a.post("/api/memory/import", json={"lines": file(*wild)})
    assert answer.json() == {"imported": 6, "known": 0}
    for path in ("/api/memory", "/api/memory/search?q=copper", "/api/memory/export"):
        assert (await a.get(path)).status_code == 200
    assert (await a.post("/api/memory/prune", json={"episodes": 1, "facts": 0})).status_code == 200
