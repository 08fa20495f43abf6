"""Page of guarantees: every promise that tests show, neither more nor less."""

from tests import guarantees


def test_every_cited_number_is_a_promise() -> None:
    numbers = {number for rows in guarantees.promises().values() for number in rows}
    assert sorted(guarantees.citations().keys() - numbers) == []


def test_the_page_is_up_to_date() -> None:
    assert guarantees.PAGE.read_text() == guarantees.page(), "run: python -m tests.guarantees"
