"""The pauses between tries grow up to a limit, and differ between tasks; tries have an end."""

import math
import random

import pytest
import stamina.instrumentation

from bench.virtual import run_virtually
from sidecar.net.retry import as_peer_says, at_least, call_with_retries, first_of, growing


class Throttled(Exception):
    """A transient error; `seconds` is what the peer says."""

    seconds = 7.0


def pauses(seed, count=8):
    """Return the pauses of one task whose random numbers begin with `seed`."""
    random.seed(seed)
    pause = growing(Throttled, first=1.0, longest=8.0)
    return [pause(Throttled()) for _ in range(count)]


def test_a_pause_lies_between_half_and_all_of_a_ceiling_that_doubles():
    """Up to the longest; the same seed gives the same pauses."""
    state = random.getstate()
    try:
        for seed in range(200):
            found = pauses(seed)
            assert found == pauses(seed)
            for seconds, ceiling in zip(found, [1, 2, 4, 8, 8, 8, 8, 8], strict=True):
                assert ceiling / 2 <= seconds <= ceiling
    finally:
        random.setstate(state)


def test_tasks_that_are_throttled_together_do_not_come_back_together():
    """Also at the ceiling: no tenth of its span has more than a fifth of a thousand pauses."""
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


def test_another_kind_of_error_is_final():
    """It gives no pause, and makes no later pause longer."""
    pause = growing(Throttled, first=1.0, longest=8.0)
    assert pause(ValueError()) is False
    assert pause(Throttled()) <= 1.0


def test_a_pause_may_have_the_ceiling_as_its_least():
    """Where a peer says how long at least; up to a twelfth is added."""
    pause = at_least(Throttled, first=60.0, longest=math.inf)
    for ceiling in (60, 120, 240):
        assert ceiling <= pause(Throttled()) <= ceiling * 13 / 12
    assert pause(ValueError()) is False


def test_a_pause_may_be_as_long_as_the_peer_says():
    """And up to a second more; where it says nothing the error is final."""
    pause = as_peer_says(lambda error: getattr(error, "seconds", None))
    assert 7.1 <= pause(Throttled()) <= 8.0
    assert pause(ValueError()) is False


def test_policies_can_be_combined():
    """The first that does not call the error final decides."""
    says = as_peer_says(lambda error: getattr(error, "seconds", None))
    pause = first_of(says, growing((Throttled, ValueError), first=1.0, longest=1.0))
    assert pause(Throttled()) > 7
    assert pause(ValueError()) <= 1
    assert pause(KeyError()) is False


@pytest.mark.parametrize(
    ("limit", "error", "least", "most"),
    [
        ({}, None, 3, 3),
        ({"tries": 2}, Throttled, 2, 2),
        ({"seconds": 0.05}, Throttled, 2, 1000),
        ({}, ValueError, 1, 1),
    ],
    ids=["works", "tries", "seconds", "final"],
)
def test_a_call_is_tried_until_it_works_or_a_limit_is_reached(limit, error, least, most):
    """The last error is raised; a final one at once."""
    stamina.instrumentation.set_on_retry_hooks([])
    tries = 0

    async def call():
        nonlocal tries
        tries += 1
        if error is None and tries == 3:
            return "done"
        raise (error or Throttled)

    work = call_with_retries(call, growing(Throttled, first=0.001, longest=0.001), **limit)
    try:
        if error is None:
            assert run_virtually(work, 1) == "done"
        else:
            with pytest.raises(error):
                run_virtually(work, 1)
    finally:
        stamina.instrumentation.set_on_retry_hooks(None)
    assert least <= tries <= most
