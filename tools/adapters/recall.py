"""Memory as a tool: what is remembered where this run may read, kept by handle."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from tools.action import Cost, Json
from tools.tool import Call, tool


class Question(BaseModel):
    """What to look for; where is not for an agent to say."""

    model_config = ConfigDict(extra="forbid")

    query: Annotated[str, Field(min_length=1, max_length=2000)]
    limit: int = Field(default=5, ge=1, le=50)


@tool("memory.recall", effect="read", cost=Cost(), data=("personal", "untrusted_text"))
async def recall(args: Question, call: Call) -> Mapping[str, Json]:
    """Find similar memories in the scopes of this run; returns a slice of them, and how many were left out."""
    return await call.rows.recall(args.query, args.limit)
