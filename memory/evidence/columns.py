"""Columns beside the texts of journal and log, compared with them where the tables are: no export holds them.

Views, searches and proofs read these columns, and no hash covers them.
"""

from collections.abc import Collection, Mapping
from typing import Any

from memory.postgres.database import Connection

MOST = 20
"""Problems that one check tells."""
_PROBLEMS = "select place, what from column_problems(%s, %s)"


async def column_problems(
    connection: Connection, run: str | None, problems: Collection[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """Return the places of the tenant, or of one run, where a column says otherwise than the text beside it.

    Chains, leaves and heads of which `problems` names a place already are left out: their texts are not to be believed.
    """
    rows = await (await connection.execute(_PROBLEMS, [run, MOST])).fetchall()
    series = {name for problem in problems for name in _series(problem)}
    return [{**row["place"], "what": row["what"]} for row in rows if not series.intersection(_series(row["place"]))]


def _series(location: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return the chain that a location is in, or that it is among the leaves or the heads."""
    return [
        (name, location["run"] if name == "run" else "") for name in ("run", "position", "number") if name in location
    ]
