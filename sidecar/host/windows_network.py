"""The network on Windows: no marks, no rules, no address of our own."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket

assert sys.platform == "win32"  # noqa: S101  tells the type checker where it is

_WORDS = {
    10013: "permission denied",
    10048: "address already in use",
    10049: "cannot assign requested address",
    10051: "network is unreachable",
    10053: "software caused connection abort",
    10054: "connection reset by peer",
    10060: "connection timed out",
    10061: "connection refused",
    10065: "no route to host",
    121: "connection timed out",
    1225: "connection refused",
    1231: "network is unreachable",
    1232: "no route to host",
    11001: "name or service not known",
}
"""What went wrong with a socket, in POSIX's words: Windows' own are in the system's language.

The first are WSA codes, the others what the Proactor loop gets for the same.
"""

AGENT_MARK = 0
"""Sockets have no mark here."""


def explain_error(error: OSError) -> str:
    """Return why a call of the system failed, in a few words."""
    for cause in (error, error.__cause__):  # a library's own error may not have the code
        code = getattr(cause, "winerror", None) or getattr(cause, "errno", None)
        if code in _WORDS:
            return _WORDS[code]
    return (error.strerror or str(error)).rstrip(".").lower()


def mark(sock: socket.socket) -> None:
    """Do nothing: no rule could tell this socket from a job's."""
    del sock


def bind_to_interface(sock: socket.socket, interface: str) -> bool:
    """Return False: no socket is marked here, so none is bound."""
    del sock, interface
    return False


def may_filter() -> bool:
    """Return False: the agent cannot change the network's rules."""
    return False


def add_loopback_address(address: str) -> None:
    """Raise OSError: no rule would lead to that address."""
    raise OSError(f"cannot add the address {address}")


def remove_loopback_address(address: str) -> None:
    """Do nothing: none was added."""
    del address
