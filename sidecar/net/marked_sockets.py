"""Open connections with the agent's SO_MARK, which the network rules for jobs do not redirect.

A job with docker could lay a network at AWS's own addresses, and answer the agent in their place.
So these sockets keep to the interface by which each address was reached before there was a job.
"""

from __future__ import annotations

import errno
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import structlog

from sidecar import host

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

log = structlog.get_logger()


class OutwardRoutes:
    """The interfaces by which the agent reaches some addresses, as they were at first."""

    def __init__(self) -> None:
        self.interfaces: dict[str, str] = {}
        """The interface to each address; other addresses are reached by any."""
        self._find_interface: Callable[[str], str | None] = lambda _address: None
        self._bind = False
        self._reported: set[tuple[str, str | None]] = set()

    def keep_to(
        self,
        interfaces: Mapping[str, str | None],
        find_interface: Callable[[str], str | None],
        *,
        bind: bool,
    ) -> None:
        """Keep to these interfaces from now on. Nothing holds for an address without one.

        `find_interface` returns the interface to an address at that moment. `bind`: bind sockets to
        the interfaces; else the route is only looked at before each connection.
        """
        self._find_interface, self._bind = find_interface, bind
        self.interfaces = {address: name for address, name in interfaces.items() if name}

    def hold(self, sock: socket.socket, address: str) -> None:
        """Bind a socket to the interface of the address that it is for.

        Where that is not allowed, the route is looked at instead. Raises OSError if it has changed.
        """
        interface = self.interfaces.get(address)
        if interface is None or (self._bind and host.bind_to_interface(sock, interface)):
            return
        found = self._find_interface(address)
        if found != interface:
            reason = f"the route to {address} leads to {found} now, and not to {interface}"
            raise OSError(errno.EHOSTUNREACH, reason)

    @property
    def on_network(self) -> Callable[[], None] | None:
        """The call for each new network; None if no address has a route to keep to."""
        return self.look if self.interfaces else None

    def look(self) -> None:
        """Log each address whose route leads elsewhere now; the agent does not follow it."""
        for address, interface in self.interfaces.items():
            found = self._find_interface(address)
            if found != interface and (address, found) not in self._reported:
                self._reported.add((address, found))
                log.error(
                    "network.route_changed",
                    address=address,
                    interface=found,
                    reason=f"a network stands in the agent's way to AWS: it keeps to {interface}, "
                    "and may get no answer",
                )


_routes = OutwardRoutes()
"""Those of this process; none until they are set."""


@contextmanager
def hold_routes() -> Iterator[OutwardRoutes]:
    """Have all marked sockets keep to the routes that are set within the block."""
    global _routes  # noqa: PLW0603  there is one network namespace, and one agent in it
    before, _routes = _routes, OutwardRoutes()
    try:
        yield _routes
    finally:
        _routes = before


def connector(*, so_mark: bool, **options: Any) -> aiohttp.TCPConnector:
    """Return a connector for aiohttp; with `so_mark`, its sockets have the agent's mark."""
    return aiohttp.TCPConnector(socket_factory=_make_marked_socket if so_mark else None, **options)


def _make_marked_socket(address: Any) -> socket.socket:
    family, kind, protocol, _, (name, *_) = address
    marked = socket.socket(family, kind, protocol)
    try:
        host.mark(marked)
        _routes.hold(marked, name)
    except OSError:
        marked.close()
        raise
    return marked
