"""Memory tools: memories of the scopes that this run reads, kept by handle, and notes of the run itself.

Both count as reads: they change nothing outside the run. What a run notes ends with it, and is nobody's knowledge.
"""

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from tools.action import Cost, Json
from tools.tool import Call, tool


class RecallArguments(BaseModel):
    """Words to search for; the scopes are not for an agent to choose."""

    model_config = ConfigDict(extra="forbid")

    query: Annotated[str, Field(min_length=1, max_length=2000)]
    limit: int = Field(default=5, ge=1, le=50)


@tool("memory.recall", effect="read", cost=Cost(), data=("personal", "untrusted_text"))
async def recall(args: RecallArguments, call: Call) -> Mapping[str, Json]:
    """Find similar memories in the scopes of this run; returns a slice of them, and how many were left out."""
    return await call.rows.recall(args.query, args.limit)


class NoteArguments(BaseModel):
    """Text of a note; its trust is not for an agent to choose."""

    model_config = ConfigDict(extra="forbid")

    text: Annotated[str, Field(min_length=1, max_length=2000)]


@tool(
    "memory.remember",
    effect="read",
    cost=Cost(),
    data=("personal", "untrusted_text"),
    failures=("tainted: the text only says what this run recalled, or what somebody had forgotten",),
)
async def remember(args: NoteArguments, call: Call) -> Mapping[str, Json]:
    """Note a text in this run's working memory, as a quotation; it ends with the run."""
    return {"memory": await call.rows.remember(args.text), "kept": "until this run ends"}
