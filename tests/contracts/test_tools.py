"""Cards of all discovered tools: complete for planners, policies and people."""

import pytest

from graphs.planning import runbooks
from memory.errors import Permanent
from tests.tools.support import TOOLS
from tools.catalog import Catalog, ToolCard

CARDS = Catalog.discover().cards
WRITES = [card for card in CARDS.values() if card.effect != "read"]
CLASSES = {"payment", "personal", "untrusted_text", "operations"}


@pytest.mark.parametrize("card", CARDS.values(), ids=CARDS)
def test_a_card_is_complete(card: ToolCard) -> None:
    """R66"""
    assert card.schema["type"] == "object"
    assert card.schema.get("additionalProperties") is False, "unknown arguments must be errors"
    assert (card.summary[-1], len(card.summary) > 20) == (".", True)
    assert set(card.data) <= CLASSES
    assert (set(card.cost), len(card.schema_hash)) == ({"tokens", "micros", "calls", "millis"}, 64)


@pytest.mark.parametrize("card", WRITES, ids=lambda card: card.name)
def test_a_write_says_what_to_do_when_it_fails_for_good(card: ToolCard) -> None:
    """R66 R76"""
    assert card.playbook in {document.runbook.id for document in runbooks.load()}
    assert card.failures, "say how it can fail"
    assert card.roles == ("executor",)


@pytest.mark.parametrize("card", WRITES, ids=lambda card: card.name)
def test_a_write_says_how_a_lost_reply_is_found_out(card: ToolCard) -> None:
    """It is looked up, or sent again to a service that de-duplicates; else there is one send, and people."""
    assert card.has_lookup or card.keyed or card.attempts == 1


@pytest.mark.parametrize("card", WRITES, ids=lambda card: card.name)
def test_the_target_of_a_shipped_write_can_be_looked_at(card: ToolCard) -> None:
    assert card.is_observed


@pytest.mark.parametrize("card", WRITES, ids=lambda card: card.name)
def test_what_undoes_a_write_takes_the_same_arguments(card: ToolCard) -> None:
    """R66 R74"""
    assert card.idempotency in {"state", "natural key", "per request"}
    if card.compensate:
        assert CARDS[card.compensate].schema["properties"].keys() == card.schema["properties"].keys()
        assert card.reversible


def test_two_tools_of_one_name_are_refused() -> None:
    with pytest.raises(Permanent, match="two tools are named"):
        Catalog([*TOOLS, TOOLS[0]])


def test_an_undoing_tool_must_exist() -> None:
    with pytest.raises(Permanent, match=r"is undone by 'shop\.undo', which does not exist"):
        Catalog(TOOLS[:1])
