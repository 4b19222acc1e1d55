"""Count what a relay does, in plain numbers: most agents end before anybody reads the metrics."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter

BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Upper bounds in seconds of the latency classes; one more class takes what is above."""


class Counts:
    """The counts of one relay."""

    def __init__(self) -> None:
        self.answers: dict[tuple[str, int], int] = {}
        """Answers to jobs and containers, by protocol and status, refusals included."""
        self.rules: dict[str, int] = {}
        """Answers with credentials, by the rule that gave them; "" where there are no rules."""
        self.refreshes: Counter[str] = Counter(success=0, failure=0)
        """Refreshes by result; all tries of one refresh count once."""
        self.latencies = [0] * (len(BOUNDS) + 1)
        """Tries to fetch from upstream, by latency class."""
        self.latency = 0.0
        """Seconds that all these tries took together."""

    def count_answer(self, protocol: str, status: int) -> None:
        """Count one answer or refusal."""
        key = (protocol, status)
        self.answers[key] = self.answers.get(key, 0) + 1

    def count_try(self, seconds: float) -> None:
        """Count one try to fetch, successful or not."""
        self.latencies[bisect_left(BOUNDS, seconds)] += 1
        self.latency += seconds
