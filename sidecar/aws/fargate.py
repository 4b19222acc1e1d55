"""Know the sizes of tasks on Fargate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_GIB = 1024
SIZES: Final[Mapping[int, range | tuple[int, ...]]] = {
    256: (512, 1 * _GIB, 2 * _GIB),
    512: range(1 * _GIB, 4 * _GIB + 1, _GIB),
    1024: range(2 * _GIB, 8 * _GIB + 1, _GIB),
    2048: range(4 * _GIB, 16 * _GIB + 1, _GIB),
    4096: range(8 * _GIB, 30 * _GIB + 1, _GIB),
    8192: range(16 * _GIB, 60 * _GIB + 1, 4 * _GIB),
    16384: range(32 * _GIB, 120 * _GIB + 1, 8 * _GIB),
}
"""Memory in MiB for each CPU, in units of 1/1024 (ECS, "Task CPU and memory" for Fargate)."""


def find_smallest(cpu: float, memory: float) -> tuple[int, int] | None:
    """Return the smallest size with so much CPU (units) and memory (MiB); None if there is none."""
    for units, memories in SIZES.items():
        fitting = [one for one in memories if one >= memory]
        if units >= cpu and fitting:
            return units, min(fitting)
    return None
