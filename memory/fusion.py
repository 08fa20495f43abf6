"""How much each sign of relevance counts, in one place and the same for every scope; used by `search`.

Round numbers after a fit on four conversations of a public benchmark; fits that leave the judged conversation out score
the same, and halving any one moves recall at 10 by at most two points (docs/decisions/0006-retrieval.md).
`ranking.addends` says what each sign is.
"""

from collections.abc import Mapping

WEIGHTS: Mapping[str, float] = {
    "passage": 1.0,
    "session": 0.8,
    "length": 0.6,
    "question": -0.7,
    "answer": 1.0,
    "speaker": 2.5,
    "date": 2.2,
    "vector": 1.2,
    "vector_before": 0.5,
    "vector_after": 0.5,
}
"""A question alone tells little, what follows one tells more."""

LEXICAL_WEIGHTS: Mapping[str, float] = {**WEIGHTS, "vector": 0.2, "vector_before": 0.0, "vector_after": 0.0}
"""Without a model a vector only knows spelling, which orders a little what words found."""
