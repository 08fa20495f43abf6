"""Words: what a memory is about is a word of it, and scripts without spaces have words too."""

import pytest
from langgraph.store.base import PutOp

from memory.postgres.database import Connection, Database
from memory.scope import Access
from memory.store import search
from memory.store.langgraph_store import MemoryStore
from tests.memory.store.test_search import Say, own_access, posted, say

__all__ = ["own_access", "say"]
pytestmark = pytest.mark.anyio

SIGNS = (
    "我的名字是王小明，我住在北京",
    "数据库密码每个季度更换一次",
    "サーバーは東京にあります",
    "お客様は金曜日に二重請求されました",
    "내일 서울에서 회의가 있습니다",
    "the cat is called Tom",
)


async def bodies(database: Database, access: Access, query: str) -> list[str]:
    return [hit.memory.body for hit in (await search.recall(database, access, query)).hits]


@pytest.mark.parametrize("key", ["office location", "office.location", "Office_Location", "team/office:location"])
@pytest.mark.parametrize("query", ["office location", "where is the office?", "locations"])
async def test_a_memory_is_found_by_its_subject(
    database: Database, own_access: Access, say: Say, key: str, query: str
) -> None:
    """R93: however the subject is written."""
    await say("Bonn, third floor", key=key)
    await say("the weather was nice")
    assert await bodies(database, own_access, query) == ["Bonn, third floor"]


async def test_a_new_value_is_found_by_its_subject_and_the_old_one_is_not(
    database: Database, own_access: Access, say: Say
) -> None:
    for body in ("Bonn", "Berlin"):
        await say(body, key="office")
    assert await bodies(database, own_access, "office") == ["Berlin"]


async def test_addresses_that_machines_make_up_are_no_words(database: Database, own_access: Access, say: Say) -> None:
    """Neither where an item of LangGraph's store lies nor which run left an outcome."""
    await MemoryStore(database, own_access).abatch([PutOp(("user", "alice", "prefs"), "colour", {"text": "blue"})])
    await say("all went well", key="run:colour")
    assert await bodies(database, own_access, "colour prefs") == []


async def test_what_only_looks_like_an_address_is_a_subject(database: Database, own_access: Access, say: Say) -> None:
    await say("no object at all", key='["prefs","colour"]')
    assert await bodies(database, own_access, "colour") == ["no object at all"]


@pytest.mark.parametrize(
    ("query", "position"),
    [("北京", 0), ("王小明住在哪里", 0), ("密码", 1), ("密码多久更换", 1), ("住", 0), ("東京", 2),
     ("サーバーはどこ", 2), ("二重請求", 3), ("서울", 4), ("회의", 4), ("Tom", 5)],
)  # fmt: skip
async def test_scripts_without_spaces_are_found_by_pairs_of_signs(
    database: Database, own_access: Access, say: Say, query: str, position: int
) -> None:
    """R93: a single sign finds by itself."""
    for text in SIGNS:
        await say(text)
    assert await bodies(database, own_access, query) == [SIGNS[position]]


async def test_signs_and_letters_in_one_run_are_told_apart(database: Database, own_access: Access, say: Say) -> None:
    await say("新しいiPhone手机です")
    await say("volume is almost full")
    for query in ("iphone", "手机"):
        assert await bodies(database, own_access, query) == ["新しいiPhone手机です"]


async def test_words_of_latin_texts_are_lexemes_without_accents(
    own_access: Access, owner: Connection, say: Say
) -> None:
    await say("Ledgers and ledgers, naïvely audited")
    assert await posted(owner, own_access) == {"audit": 1, "ledger": 2, "naiv": 1}


async def test_no_row_is_measured_otherwise_than_it_is_posted(
    database: Database, own_access: Access, owner: Connection, say: Say
) -> None:
    memory_row = await say("手机 and phone", key="device.name")
    (row,) = await database.rows(own_access, "select size from memories where id = %s", memory_row.id)
    assert row["size"] == sum((await posted(owner, own_access)).values()) == 6
