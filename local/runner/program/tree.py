"""Processes by their kinship, and the end of them."""

import sys

if sys.platform == "win32":
    from .windows_tree import find_tracked, list_parents, strike
else:
    from .posix_tree import find_tracked, list_parents, strike

__all__ = ["descendants", "find_tracked", "kill", "strike"]


def descendants(pid: int) -> list[int]:
    """Give children, their children and so on; parents first."""
    parents = list_parents()
    found = [pid]
    for each in found:
        found += [child for child, parent in parents.items() if parent == each]
    return found[1:]


def kill(pid: int) -> None:
    """Kill a process and all that descend from it."""
    for each in [pid, *descendants(pid)]:
        strike(each)
