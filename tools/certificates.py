"""Certificates that clients of HTTP services trust; loading them takes longer than most requests, so it is done once.

The service client and the command line's client are made with them.
"""

import ssl
from functools import cache

import httpx2


def trust_of(url: str) -> ssl.SSLContext:
    """Return what a client of this address trusts: the system's authorities, or nobody if the address is plain HTTP."""
    return _system_trust() if url.startswith("https:") else _no_trust()


@cache
def _system_trust() -> ssl.SSLContext:
    return httpx2.create_ssl_context()


@cache
def _no_trust() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
