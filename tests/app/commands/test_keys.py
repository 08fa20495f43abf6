"""Command group `keys`: codes for others, keys for oneself."""

import json

from tests.app.conftest import Run


async def test_a_code_is_made_and_claimed_on_the_command_line(run: Run) -> None:
    made = await run("root", "keys", "create", "--for", "carol")
    assert (made.code, made.out.startswith("claim_"), "`countersign keys claim CODE`" in made.err) == (0, True, True)
    key = await run("carol", "keys", "claim", made.out.strip())
    assert (key.code, key.out.startswith("cs_")) == (0, True)
    again = await run("carol", "keys", "claim", made.out.strip())
    assert (again.code, "somebody else acts in your name" in again.err) == (1, True)


async def test_a_key_for_oneself_is_printed_alone(run: Run) -> None:
    key = await run("root", "keys", "create")
    assert (key.code, key.out.startswith("cs_"), key.err) == (0, True, "")


async def test_the_list_says_who_made_a_key_and_whether_it_was_claimed(run: Run) -> None:
    made = json.loads((await run("root", "keys", "create", "carol", "--json")).out)
    rows = {row["id"]: row for row in (await run("root", "keys", "ls", "--json")).json["items"]}
    assert (rows[made["id"]]["made_by"], rows[made["id"]]["claimed"]) == ("root", None)


async def test_two_names_for_one_key_are_a_mistake(run: Run) -> None:
    assert (await run("root", "keys", "create", "bob", "--for", "carol")).code == 2
    assert (await run("root", "keys", "create", "--bootstrap")).code == 2
