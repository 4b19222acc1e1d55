"""Decide for how long a message is put off, by the reason why it waits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from launcher.places import Later, Refused, Why

if TYPE_CHECKING:
    import random

HELD = 3.0
"""Seconds until a launch that another worker carries on is looked at again."""
THROTTLED = 4.0
CHECK = 60.0
"""Seconds between two looks at a task that starts; its events usually come before."""
LONGEST_CHECK = 300.0
LONGEST = 900.0
LONGEST_ROOM = 180.0
"""Seconds between two questions for room, of the job that waits longest."""
_FIRST = {Why.CAPACITY: 10.0, Why.QUOTA: 30.0}
_REFUSED = 60.0


def pause_for(placement: Later | Refused, round_: int, chance: random.Random) -> float:
    """Return how long to wait before a pool's capacities are asked again; rounds begin with 1."""
    if isinstance(placement, Later) and placement.why is Why.THROTTLE:
        return chance.uniform(THROTTLED / 4, THROTTLED)
    if isinstance(placement, Refused):
        return grow(_REFUSED, round_ - 1, chance)
    # Not longer: the others of the pool wait for the oldest one.
    return grow(_FIRST[placement.why], round_ - 1, chance, LONGEST_ROOM)


def grow(first: float, times: int, chance: random.Random, longest: float = LONGEST) -> float:
    """Return a pause that doubles each time; a half of it is by chance."""
    whole = min(longest, first * 2.0 ** min(times, 20))
    return chance.uniform(whole / 2, whole)
