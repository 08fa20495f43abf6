"""Authentication by API key and checks of group membership, for every route of the API.

The key in a header alone says who calls; nothing in a body or a query ever does.
"""

from collections.abc import Iterable

from memory.errors import Permanent
from memory.governance import principals
from memory.scope import Principal

ADMIN = "admin"
OPERATORS = ("ops", "finance", ADMIN)
"""Groups whose members answer for production: they resolve doubts, release stop switches, publish knowledge."""


def credential_of(secret: str) -> str:
    """Return what names a key to the database without showing it: its hash, in hexadecimal."""
    return principals.key_hash(secret).hex()


def secret_of(headers: Iterable[tuple[str, str]]) -> str:
    """Return the key in `Authorization: Bearer` or `X-Api-Key`; raises Permanent("unauthenticated").

    It may be said more than once. Of two that differ, a proxy in front and we might each believe another.
    """
    secrets = {_secret(name, value.strip()) for name, value in headers if name in ("authorization", "x-api-key")}
    if len(secrets) > 1:
        raise Permanent("unauthenticated", "two different keys were sent; send one, in either header")
    secret = secrets.pop() if secrets else ""
    if not secret:
        raise Permanent("unauthenticated", "no key was sent; send it as 'Authorization: Bearer KEY' or 'X-Api-Key'")
    return secret


def _secret(name: str, value: str) -> str:
    if name == "x-api-key":
        return value
    scheme, _, token = value.partition(" ")
    if scheme.lower() != "bearer":
        raise Permanent("unauthenticated", "'Authorization' holds no bearer key; send 'Authorization: Bearer KEY'")
    return token.strip()


def demand(principal: Principal, *groups: str) -> None:
    """Raise Permanent("forbidden") unless the principal is in one of the groups."""
    if not principal.groups & set(groups):
        names = " or ".join(repr(group) for group in groups)
        raise Permanent("forbidden", f"{principal.id!r} is not in group {names}; ask somebody who is")
