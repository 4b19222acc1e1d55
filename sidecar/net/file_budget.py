"""Divide the files that the agent may have open among those that a job can make it open.

Each connection is an open file, and a job may open as many connections as it likes. So every
listener has a fixed number, and what it is asked for beyond that it refuses or leaves in the queue.
What is left belongs to the agent alone.
"""

from __future__ import annotations

from typing import NamedTuple

OWN = 256
"""Files for the agent itself: its pipes, its own connections, the reserve for its end."""
HEALTH = 64
"""Files of the health listener: a few clients ask it a few times a minute."""
RELAY = 6144
"""Files of the relay: a job may start thousands of containers that ask at the same time."""
PROXY = 4096
"""Files of the docker proxy, which needs up to four for a connection."""


class FileBudget(NamedTuple):
    """The files that each listener may have open."""

    health: int
    relay: int
    proxy: int


class Connections(NamedTuple):
    """The connections that a listener serves, and how many more may wait to be accepted.

    All that wait are accepted at once, so both count.
    """

    served: int
    waiting: int


def divide_files(limit: int) -> FileBudget:
    """Divide `limit` files; with few of them each listener gets a smaller share.

    Never more than three quarters of them, so that the agent keeps a quarter.
    """
    rest = max(limit - OWN, limit // 2)
    health = min(HEALTH, rest // 8)
    proxy = min(PROXY, rest // 4)
    return FileBudget(health, min(RELAY, rest - health - proxy), proxy)


def count_connections(files: int) -> Connections:
    """Return how many connections a listener can have with so many files."""
    waiting = max(1, files // 3)
    return Connections(max(1, files - waiting), waiting)
