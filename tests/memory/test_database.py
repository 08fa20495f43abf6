from memory.database import Database
from memory.scope import Access, Principal


async def test_call_enters_before_the_function_runs(database: Database, alice: Principal) -> None:
    assert await database.call(Access.of(alice), "current_tenant") == {"current_tenant": alice.tenant}
