"""The route to a task's credentials, added by Windows' own program."""

import runpy
import subprocess
from pathlib import Path

START = Path(__file__).parents[3] / "entrypoint" / "start.py"
CREDENTIALS = "169.254.170.2"


def test_the_route_comes_and_stays_one():
    """The first program adds it once; asked again, it finds it. Nothing is sent to it."""
    program = runpy.run_path(str(START), run_name="start")
    gateway, own = program["find_gateway"]()
    assert not own
    try:
        program["add_route"]()
        assert program["find_gateway"]() == (gateway, True)
        program["add_route"]()
    finally:
        subprocess.run(
            ["route", "delete", CREDENTIALS], check=False, capture_output=True, timeout=60
        )
    assert not program["find_gateway"]()[1]
