"""What a relay counts as it goes: plain numbers, since most lives end without anybody asking."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter

BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Upper bounds in seconds of the classes of upstream's latency; one more takes what is above."""


class Counts:
    """The counts of one relay."""

    def __init__(self) -> None:
        self.answers: Counter[tuple[str, int]] = Counter()
        """Answers to jobs and containers, by face and status; refusals count as well."""
        self.flights: Counter[str] = Counter(success=0, failure=0)
        """Refreshes that were due, each with all its tries, by how they ended."""
        self.latencies = [0] * (len(BOUNDS) + 1)
        """Tries to ask upstream, by class of latency."""
        self.latency = 0.0
        """Seconds that all these tries took together."""

    def asked(self, seconds: float) -> None:
        """Count one try, whatever came of it."""
        self.latencies[bisect_left(BOUNDS, seconds)] += 1
        self.latency += seconds
