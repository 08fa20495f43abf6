"""Which runbooks are looked at for a request: measured on words that no runbook contains, with the real search."""

from functools import partial

import pytest

from graphs.planning import runbooks
from graphs.planning.candidates import PlannerLimits, RunbookHit, Sight, conclude, worth_a_look
from graphs.planning.slots import words
from memory.knowledge import versions
from memory.postgres.database import Database
from memory.scope import Access, Principal
from tests.graphs.phrasings import ASK, OUT_OF_SCOPE, PHRASINGS

YES, NO, OPEN = True, False, None
RUNBOOKS = {"billing.double-charge", "billing.single-refund", "db.disk-full"}
"""Others may be added beside them; these are what the phrasings are about."""


@pytest.mark.parametrize(
    ("sights", "conclusion"),
    [
        ([(True, YES)], 0),
        ([(True, NO), (True, YES)], 1),
        ([(True, YES), (False, YES)], 0),
        ([(True, YES), (True, YES)], "unclear"),
        ([(True, NO), (False, YES)], "unclear"),
        ([(True, OPEN)], "unclear"),
        ([(True, NO), (True, OPEN)], "unclear"),
        ([(True, NO)], "nothing_wrong"),
        ([(True, NO), (False, OPEN)], "nothing_wrong"),
        ([], "unclear"),
    ],
)
def test_facts_decide_and_doubt_asks(sights: list[tuple[bool, bool | None]], conclusion: object) -> None:
    assert conclude([Sight(equal, true) for equal, true in sights]) == conclusion


async def choice(hits: list[RunbookHit]) -> str:
    equals = [hit.id for hit, equal in worth_a_look(hits, PlannerLimits()) if equal]
    return equals[0] if len(equals) == 1 else ASK


@pytest.mark.anyio
async def test_words_lead_to_the_right_runbook_or_to_a_question(database: Database, tenant: str) -> None:
    access = Access.of(Principal(tenant, "countersign"))
    documents = [document for document in runbooks.load() if document.runbook.id in RUNBOOKS]
    await versions.import_items(database, access, map(runbooks.item, documents))
    find = partial(versions.find, database, access)
    answers = {**dict(PHRASINGS), **dict.fromkeys(OUT_OF_SCOPE, ASK)}
    choices = {text: await choice([*await find(words(text))]) for text in answers}
    wrong = {text: choices[text] for text in answers if choices[text] not in (answers[text], ASK)}
    questions = [text for text, right in PHRASINGS if choices[text] == ASK != right]
    assert wrong == {}
    assert questions == ["Ann Lee wants her money back for payment ch_1a2b3c4d5e6f"]
