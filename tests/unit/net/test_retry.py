"""The pauses between tries: they grow, they end growing, and no two tasks share them."""

import random

from sidecar.net.retry import growing


class Throttled(Exception):
    """What may pass."""


def pauses(seed, count=8):
    """Give the pauses of one task whose chance begins with `seed`."""
    random.seed(seed)
    pause = growing(Throttled, first=1.0, longest=8.0)
    return [pause(Throttled()) for _ in range(count)]


def test_a_pause_lies_between_half_and_all_of_a_ceiling_that_doubles():
    """Up to the longest; one task's pauses can be told from its seed."""
    state = random.getstate()
    try:
        for seed in range(200):
            found = pauses(seed)
            assert found == pauses(seed)
            for seconds, ceiling in zip(found, [1, 2, 4, 8, 8, 8, 8, 8], strict=True):
                assert ceiling / 2 <= seconds <= ceiling
    finally:
        random.setstate(state)


def test_those_throttled_together_come_back_apart():
    """Also at the ceiling: in no tenth of its span do more than a fifth of a thousand meet."""
    state = random.getstate()
    try:
        for turn in (0, 7):
            found = [pauses(seed)[turn] for seed in range(1000)]
            low, high = min(found), max(found)
            tenth = (high - low) / 10
            assert high - low > 0.49 * high
            for part in range(10):
                begin = low + part * tenth
                assert sum(begin <= seconds < begin + tenth for seconds in found) < 200
    finally:
        random.setstate(state)


def test_what_does_not_pass_is_not_tried_again():
    """Another kind of error gives no pause, and makes none longer."""
    pause = growing(Throttled, first=1.0, longest=8.0)
    assert pause(ValueError()) is False
    assert pause(Throttled()) <= 1.0
