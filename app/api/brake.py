"""Brake on wrong keys: how many each address may send; used by the guard and by the claim of keys.

A right key is never braked: it is looked up first, and only who fails is counted.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address, ip_network

from memory.errors import ControlError, Temporary

_MINUTE = 60.0
_MOST_PEERS = 10_000
"""Addresses that are remembered; those that failed longest ago are dropped first."""
_HOST_BITS = 64


def peer_of(address: str) -> str:
    """Return whom an address stands for: itself, and for IPv6 the /64 network that one subscriber has."""
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if not isinstance(ip, IPv6Address):
        return str(ip)
    return str(ip.ipv4_mapped or ip_network((ip, _HOST_BITS), strict=False))


class Brake:
    """Count of wrong keys per peer; a full minute's worth may come at once, then as many as the minute allows."""

    def __init__(self, per_minute: int = 30, now: Callable[[], float] = time.monotonic) -> None:
        self._step = _MINUTE / per_minute
        self._now = now
        self._free_at: OrderedDict[str, float] = OrderedDict()
        """When all that a peer sent wrongly will be forgiven."""

    def refuse(self, address: str, error: ControlError) -> ControlError:
        """Return what a wrong key is answered with: the error itself, or that there were too many."""
        if error.code != "unauthenticated":
            return error
        peer, now = peer_of(address), self._now()
        free_at = max(self._free_at.get(peer, now), now) + self._step
        delay = free_at - now - _MINUTE
        # What is refused is not counted on top: whoever stops is free again after the time named.
        if delay > 1e-9:
            return Temporary(
                "too_many_wrong_keys", f"too many wrong keys came from {peer!r}", delay=math.ceil(max(1.0, delay))
            )
        self._free_at[peer] = free_at
        self._free_at.move_to_end(peer)
        if len(self._free_at) > _MOST_PEERS:
            self._free_at.popitem(last=False)
        return error
