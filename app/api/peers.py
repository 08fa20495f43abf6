"""Register of open connections: how many there may be, of one address and in all, and which gives way to a new one."""

from collections.abc import Collection
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Protocol

from app.api.brake import peer_of


class Waits(Protocol):
    """A connection, as far as the register needs it."""

    def give_way(self) -> bool:
        """End at once if the client is waited for; return whether it did."""
        ...


class Peers:
    """Connections by peer, oldest first.

    The oldest that waits for its client gives way, so that those who keep half a request open push out each other.
    """

    def __init__(self, most: int, share: int, proxies: str = "") -> None:
        self._most = most
        self._share = share
        names = filter(None, map(str.strip, proxies.split(",")))
        self._proxies: Collection[IPv4Network | IPv6Network] = [ip_network(name) for name in names]
        self._by_peer: dict[str, dict[Waits, None]] = {}
        self._count = 0

    def admit(self, connection: Waits, address: str) -> bool:
        """Take a connection in, if need be in place of another; return whether there is room for it."""
        peer = peer_of(address)
        if not (self._has_share(peer, address) or self._make_room(peer)):
            return False
        if self._count >= self._most and not self._make_room(max(self._by_peer, key=self._size)):
            return False
        self._by_peer.setdefault(peer, {})[connection] = None
        self._count += 1
        return True

    def leave(self, connection: Waits, address: str) -> None:
        """Forget a connection; one that is not here any more is no error."""
        peer = peer_of(address)
        own = self._by_peer.get(peer, {})
        if connection in own:
            del own[connection]
            self._count -= 1
            if not own:
                del self._by_peer[peer]

    def _has_share(self, peer: str, address: str) -> bool:
        return len(self._by_peer.get(peer, {})) < self._share or self._is_proxy(address)

    def _make_room(self, peer: str) -> bool:
        # A copy: whoever gives way leaves the register at once.
        return any(connection.give_way() for connection in list(self._by_peer.get(peer, {})))

    def _size(self, peer: str) -> int:
        return len(self._by_peer[peer])

    def _is_proxy(self, address: str) -> bool:
        try:
            ip = ip_address(address.partition("%")[0])
        except ValueError:
            return False
        return any(ip in network for network in self._proxies)
