"""Claim a network namespace, of which Windows has none."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket

assert sys.platform == "win32"  # noqa: S101  tells the type checker where it is


def claim_network() -> socket.socket | None:
    """Return None: there is no network namespace to claim."""
    return None
