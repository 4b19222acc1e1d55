"""The bench measures the agent's start on Windows; how fast that is, is not tested here."""

from __future__ import annotations

from bench import windows
from bench.stage import open_stage


def test_the_start_is_measured_beside_its_floor(wine):
    """Agent and floor both start a configure step under wine, by turns."""
    with open_stage() as stage:
        (found,) = windows.measure(stage, runs=1)
    assert found.key in windows.KEYS
    assert found.parts.keys() == {"wine_startup_ms", "wine_startup_floor_ms"}
    assert found.value > 0
