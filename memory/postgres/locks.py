"""Advisory locks by name and number, in the order in which a transaction takes them; used wherever Python takes one.

Whoever holds one takes only others further down, so that no two transactions wait for each other in a circle. Of rows,
a run's is locked after its authority, then its effect, then its approval. SQL functions write the number; a test
compares both texts with this list.
"""

from psycopg import AsyncConnection
from psycopg.rows import DictRow

from memory.scope import Scope

MIGRATION = 7000
"""One process at a time changes the schema, in a session that takes nothing else."""
WORKER = 7100
"""A worker lives while a session of its own holds its number; its leases pass on when nobody does."""
REQUEST = 7150
"""One request at a time answers an idempotency key; first in its transaction, which holds the work and the answer."""
AUTHORITY = 7200
"""Shared by what acts under a tenant's authority, exclusive to what changes it; before any row of a run, so that once a
stop switch has committed no claim commits under it."""
THREAD = 7300
"""One run at a time begins or goes on on a thread, and none while its transcript is archived."""
EFFECT = 7400
"""Claims of one natural key wait for each other, also while there is no row to lock; after the row of the run."""
RESULT = 7500
"""One writer at a time stores the rows of a handle; alone in its transaction."""
SCOPE = 7550
"""Pruning, pins, holds, imports and erasure in a scope wait for each other; before any note that they write."""
NOTE = 7600
"""Notes that may be about the same wait for each other; 64 locks a scope, so that two at once seldom do."""
FORGETTING = 7700
"""Exclusive to forgetting a person, shared by writing a text: neither sees half of the other. Last, because a note asks
whether its text was forgotten when it holds its own lock."""
REEMBEDDING = 7800
"""One worker at a time makes vectors anew; it does not wait but gives up, in a transaction of its own."""
LOG = 7900
"""One process at a time extends the log of a tenant, in a transaction of its own; before the row of the chain of
authority, which gets an entry when the signing key is another one."""


async def hold_scope(connection: AsyncConnection[DictRow], scope: Scope | None) -> None:
    """Take the lock of a scope of the entered tenant until the transaction ends."""
    await connection.execute(
        "select pg_advisory_xact_lock(hashtextextended(current_tenant() || '/' || %s, %s))", [str(scope), SCOPE]
    )
