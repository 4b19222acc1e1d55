"""The network on Windows: no marks, no rules, no address of our own."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket

assert sys.platform == "win32"  # noqa: S101  tells the type checker where it is

AGENT_MARK = 0
"""Sockets have no mark here."""


def mark(sock: socket.socket) -> None:
    """Do nothing: no rule could tell this socket from a job's."""
    del sock


def may_filter() -> bool:
    """Return False: the agent cannot change the network's rules."""
    return False


def add_loopback_address(address: str) -> None:
    """Raise OSError: no rule would lead to that address."""
    raise OSError(f"cannot add the address {address}")


def remove_loopback_address(address: str) -> None:
    """Do nothing: none was added."""
    del address


def claim_network() -> socket.socket | None:
    """Return None: there is no network namespace to claim."""
    return None
