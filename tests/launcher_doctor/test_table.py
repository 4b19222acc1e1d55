"""The tables of wrong set-ups and of causes in the documents, and the tests that play them."""

from pathlib import Path

from docs import setups
from docs.causes import CAUSES
from docs.launcher_setups import WRONG
from launcher.doctor.all_checks import CHECKS
from sidecar.examination.finding import Level

HERE = Path(__file__).parent


def test_every_row_is_played():
    """A wrong set-up without a test would be a promise that nobody holds."""
    texts = [path.read_text() for path in HERE.glob("test_*.py") if path != Path(__file__)]
    for name in WRONG:
        assert any(f'"{name}"' in text for text in texts), name


def test_every_check_has_a_wrong_set_up():
    """A check that nothing can make fail would be none."""
    assert {wrong.check for wrong in WRONG.values()} == set(CHECKS)


def test_levels_are_the_doctors_own():
    """The table says only what the doctor can say."""
    assert {wrong.level for wrong in WRONG.values()} <= {level.value for level in Level}


def test_each_cause_is_a_row_of_the_doctors_that_name_it():
    """There are twenty; both doctors' tables hold what is named, and it is a failure there."""
    assert len(CAUSES) == len({cause.title for cause in CAUSES}) == 20
    for cause in CAUSES:
        assert bool(cause.explain) != bool(cause.unknown), cause
        if cause.agent:
            assert setups.WRONG[cause.agent].level == "failed", cause
        if cause.launcher:
            assert WRONG[cause.launcher].level == "failed", cause
