"""Benchmark of search in knowledge, exact and by index: `python -m tests.bench.knowing`.

One tenant's facts among those of others, each with a body, a title and two utterances. Rows are written in bulk, as the
publishing function would write them. Figures: median time of a search, and how many exact answers the index finds.
"""

import argparse
import asyncio
import hashlib
import random
import statistics
import sys
import time
from collections.abc import Iterator, Sequence

from pgvector.psycopg import register_vector_async
from psycopg import AsyncConnection

from memory.embeddings.embedder import Embedder, Embedding
from memory.embeddings.lexical import LEXICAL, presence
from memory.embeddings.vectors import parameter, parameters
from memory.knowledge import search
from memory.knowledge.models import digest
from memory.maintenance import reembedding
from memory.scope import Access
from tests.bench.ground import TENANT, Ground, open_ground

SIZES = (1_000, 2_000, 5_000, 10_000, 20_000)
QUERIES = 30
PHRASES = 4


class Topics:
    """Stands for a sentence model of 384 dimensions: texts on one topic lie near each other."""

    id, lexical, dimensions = "topics-384", False, 384

    async def embed(self, texts: Sequence[str]) -> list[Embedding]:
        """Return one vector of length 1 per text."""
        return [self.vector(text) for text in texts]

    def vector(self, text: str) -> Embedding:
        """Return the vector of one text, whose first word is its topic."""
        centre, noise = _chance(text.split(maxsplit=1)[0]), _chance(text)
        values = [centre.gauss(0, 1) + noise.gauss(0, 0.8) for _ in range(self.dimensions)]
        length = sum(value * value for value in values) ** 0.5
        return tuple(value / length for value in values)


def _chance(seed: str) -> random.Random:
    return random.Random(hashlib.sha256(seed.encode()).digest())


def words(chance: random.Random, topic: int, count: int) -> str:
    """Return words of a topic: few that are its own, others that are common, the rarer the later."""
    own = [f"t{topic}x{chance.randrange(12)}" for _ in range(count // 2)]
    return " ".join(
        [f"topic{topic}", *own, *(f"word{int(chance.paretovariate(0.7)) % 5000}" for _ in range(count // 2))]
    )


def facts(chance: random.Random, count: int) -> Iterator[list[str]]:
    """Return the phrases of facts, ten of them on each topic."""
    for number in range(count):
        yield [words(chance, number // 10, length) for length in (40, 6, 10, 10)]


async def fill(superuser: str, tenant: str, items: int, embedder: Embedder) -> None:
    """Write a tenant's facts with their vectors."""
    chance = random.Random(tenant)
    async with await AsyncConnection.connect(superuser) as above:
        await register_vector_async(above)
        await above.execute("insert into tenants (id) values (%s) on conflict do nothing", [tenant])
        for number, phrases in enumerate(facts(chance, items)):
            await _write(above, tenant, f"fact.{number}", phrases, embedder)


async def _write(above: AsyncConnection, tenant: str, id: str, phrases: list[str], embedder: Embedder) -> None:
    vectors = await embedder.embed(phrases)
    presence_vector = parameter(presence(vectors[1:])) if embedder.lexical else None
    about = {"tenant": tenant, "id": id, "body": phrases[0], "digest": digest(phrases[0]), "title": phrases[1]}
    about |= {"embedder": embedder.id, "dims": len(vectors[0]), "phrases": len(vectors), "presence": presence_vector}
    await above.execute(
        """
        with k as (
          insert into knowledge (tenant, id, version, kind, title, body, digest, owner, review_by, published_by)
          values (%(tenant)s, %(id)s, 1, 'fact', %(title)s, %(body)s, %(digest)s, 'bench', '2030-01-01', 'bench')
        ), base as (
          insert into knowledge_vectors (tenant, id, version, kind, embedder) values (%(tenant)s, %(id)s, 1, 'fact', '')
        ), v as (
          insert into knowledge_vectors (tenant, id, version, kind, embedder, dims, phrases, presence)
          values (%(tenant)s, %(id)s, 1, 'fact', %(embedder)s, %(dims)s, %(phrases)s, %(presence)s::vector)
        )
        insert into knowledge_phrases (tenant, id, kind, embedder, ord, embedding)
        select %(tenant)s, %(id)s, 'fact', %(embedder)s, x.ord, x.phrase
          from unnest(%(vectors)s::vector[]) with ordinality x (phrase, ord)
        """,
        {**about, "vectors": parameters(vectors)},
    )


async def time_searches(
    ground: Ground, access: Access, embedder: Embedder, items: int
) -> tuple[float, float, float, float]:
    """Return the medians in ms, all compared and index followed, and the share of the first 3 and 10 found."""
    chance = random.Random(7)
    questions = [words(chance, chance.randrange(max(items // 10, 1)), 8) for _ in range(QUERIES)]
    millis: dict[bool, list[float]] = {False: [], True: []}
    shares: list[tuple[float, float]] = []
    for question in questions:
        ids: dict[bool, list[str]] = {}
        for follow in (False, True):
            began = time.perf_counter()
            hits = await search.find(ground.database, access, question, "fact", 10, embedder=embedder, use_index=follow)
            millis[follow].append((time.perf_counter() - began) * 1000)
            ids[follow] = [hit.id for hit in hits]
        shares.append((_share(ids, 3), _share(ids, 10)))
    first, ten = zip(*shares, strict=True)
    return (
        statistics.median(millis[False]),
        statistics.median(millis[True]),
        statistics.mean(first),
        statistics.mean(ten),
    )


def _share(ids: dict[bool, list[str]], count: int) -> float:
    exact = set(ids[False][:count])
    return len(exact & set(ids[True][:count])) / len(exact)


async def measure(size: int, crowd: int, embedder: Embedder) -> None:
    """Print one line for a size; `others` phrases belong to another tenant."""
    async with open_ground() as ground:
        for tenant, count in (("crowd", crowd), (TENANT, size)):
            await fill(ground.server.urls.superuser, tenant, count // PHRASES, embedder)
        began = time.perf_counter()
        await reembedding.index(ground.database, least=1_000)
        index_seconds = time.perf_counter() - began
        async with await AsyncConnection.connect(ground.server.urls.superuser, autocommit=True) as above:
            await above.execute("vacuum analyze knowledge_phrases")
        figures = await time_searches(ground, ground.access, embedder, size // PHRASES)
    line = "{:7.1f} ms compared {:7.1f} ms followed  first 3: {:.3f}  first 10: {:.3f}".format(*figures)
    sys.stdout.write(f"{embedder.id:16} {size:7,} beside {crowd:7,}: {line}  index {index_seconds:.1f} s\n")
    sys.stdout.flush()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.knowing", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="phrases of the tenant that searches")
    parser.add_argument("--others", type=int, default=0, help="phrases of another tenant")
    parser.add_argument("--dense", action="store_true", help="384 dimensions instead of words")
    options = parser.parse_args()
    for size in options.sizes:
        asyncio.run(measure(size, options.others, Topics() if options.dense else LEXICAL))


if __name__ == "__main__":
    main()
