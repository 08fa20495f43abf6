"""Limits of the HTTP server, as settings; `app.settings` takes them in, the API's connections keep to them."""

from ipaddress import ip_network
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _networks(text: str) -> str:
    for name in filter(None, map(str.strip, text.split(","))):
        ip_network(name)
    return text


class Edge(BaseModel):
    """Limits of the HTTP server, which hold before anything is parsed or anybody's key is looked at."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    header_bytes: int = Field(default=32_768, ge=1_024, le=1_048_576)
    """Bytes of a request before its body; more are answered with 431."""
    header_seconds: float = Field(default=10.0, ge=0.1, le=3_600)
    """Time in which a request's headers must have come, also the first of a connection; then 408."""
    body_seconds: float = Field(default=30.0, ge=0.1, le=3_600)
    """Time in which a request's body must have come; then 408."""
    idle_seconds: int = Field(default=15, ge=1, le=3_600)
    """How long a connection is kept for the next request."""
    unread_seconds: float = Field(default=60.0, ge=0.1, le=3_600)
    """How long an answer may wait for a client that does not read it, streams included."""
    connections: int = Field(default=800, ge=1, le=1_000_000)
    """Connections at once; the oldest that waits for its client gives way to a new one. Mind `ulimit -n`."""
    connections_per_peer: int = Field(default=500, ge=1, le=1_000_000)
    """Connections of one address (of one /64 network of IPv6); the same, and proxies have no share."""
    wrong_keys: int = Field(default=30, ge=1, le=1_000_000)
    """Wrong keys per minute from one address that are looked up and answered with 401; more with 429."""
    proxies: Annotated[str, AfterValidator(_networks)] = ""
    """Addresses or networks of proxies, with commas, whose `X-Forwarded-For` is believed; nobody's if unset."""
    grace_seconds: int = Field(default=5, ge=0, le=600)
    """How long requests at work may take after SIGTERM; streams and half-sent requests end at once."""
