"""The table of wrong set-ups in the documents, and the tests that play it."""

import re
from pathlib import Path

from docs.setups import WRONG
from sidecar.doctor.all_checks import CHECKS
from sidecar.examination.finding import Level

HERE = Path(__file__).parent


def test_every_row_is_played_and_every_play_is_a_row():
    """A wrong set-up without a test would be a promise that nobody holds."""
    texts = [path.read_text() for path in HERE.glob("test_*.py") if path != Path(__file__)]
    for name in WRONG:
        shown = [text for text in texts if f'"{name}"' in text or _is_built(name, text)]
        assert shown, name


def _is_built(name, text):
    """Whether a test makes the name of a pattern and one of its parameters."""
    found = re.search(r'f"proxy-\{mode\}s"', text)
    return found is not None and name in ("proxy-swallows", "proxy-refuses")


def test_every_check_has_a_wrong_set_up():
    """A check that nothing can make fail would be none."""
    assert {wrong.check for wrong in WRONG.values()} == set(CHECKS)


def test_levels_are_the_doctors_own():
    """The table says only what the doctor can say."""
    assert {wrong.level for wrong in WRONG.values()} <= {level.value for level in Level}
