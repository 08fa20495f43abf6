"""Version of the policy set in force for a tenant; read by the wiring at start, changed by `migrate`."""

from memory.postgres.database import Database
from memory.scope import Access, Principal


def installation(tenant: str) -> Access:
    """Return the access of the installation itself, under a name that no person bears."""
    return Access.of(Principal(tenant, "countersign"))


async def policy(database: Database, access: Access) -> str | None:
    """Return the hash of the policy set in force, or None if the tenant has none yet."""
    async with database.transaction(access) as connection:
        cursor = await connection.execute("select policy from authority")
        row = await cursor.fetchone()
    return None if row is None else row["policy"]


async def activate(database: Database, access: Access, policy: str) -> list[str]:
    """Put a policy set in force, as the installation or one who answers for production.

    Returns the runs whose open questions it voids, which are queued then.
    """
    async with database.transaction(access) as connection:
        cursor = await connection.execute("select run from activate_policy(%s) where run is not null", [policy])
        return [row["run"] for row in await cursor.fetchall()]
