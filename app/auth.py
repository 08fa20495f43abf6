"""Authentication by API key and checks of group membership, for every route of the API.

The key in a header alone says who calls; nothing in a body or a query ever does.
"""

from collections.abc import Mapping

from memory.errors import Permanent
from memory.governance import principals
from memory.postgres.database import Database
from memory.scope import Principal

ADMIN = "admin"
OPERATORS = ("ops", "finance", ADMIN)
"""Groups whose members answer for production: they resolve doubts, release stop switches, publish knowledge."""


async def authenticate(database: Database, headers: Mapping[str, str]) -> Principal:
    """Return the person of the key in `Authorization: Bearer` or `X-Api-Key`.

    Raises Permanent("unauthenticated") without one, for two that differ, and for one that is not valid.
    """
    return await principals.authenticate(database, secret_of(headers))


def credential_of(headers: Mapping[str, str]) -> str:
    """Return what names the key in the headers to the database without showing it: its hash, in hexadecimal."""
    return principals.key_hash(secret_of(headers)).hex()


def secret_of(headers: Mapping[str, str]) -> str:
    """Return the key that the headers carry; raises Permanent("unauthenticated")."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    bearer = token.strip() if scheme.lower() == "bearer" else ""
    plain = headers.get("x-api-key", "").strip()
    # With two keys, a proxy in front and we might each believe in another person.
    if bearer and plain and bearer != plain:
        raise Permanent("unauthenticated", "two different keys were sent; send one, in either header")
    if not (bearer or plain):
        raise Permanent("unauthenticated", "no key was sent; send it as 'Authorization: Bearer KEY' or 'X-Api-Key'")
    return bearer or plain


def demand(principal: Principal, *groups: str) -> None:
    """Raise Permanent("forbidden") unless the principal is in one of the groups."""
    if not principal.groups & set(groups):
        names = " or ".join(repr(group) for group in groups)
        raise Permanent("forbidden", f"{principal.id!r} is not in group {names}; ask somebody who is")
