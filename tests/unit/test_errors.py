"""The agent's errors and exit codes."""

import pytest

from sidecar import errors
from sidecar.errors import Exit, ExitCode, SettingsError, SidecarError

LISTENER_CODES = range(1, 8)


def test_no_code_is_one_of_the_listener_s():
    """All codes but 0 lie between the listener's own and those of its job results."""
    codes = {code.value for code in Exit} - {0}
    assert codes.isdisjoint(LISTENER_CODES)
    assert all(10 <= code < 100 for code in codes)


def test_every_code_has_a_meaning():
    """The reference page is generated: each code is a number with its sentence."""
    assert all(code.meaning for code in Exit)
    assert len({code.meaning for code in Exit}) == len(Exit)
    assert Exit(17) is Exit.LEFT_BEHIND
    assert int(Exit.DONE) == 0


def test_every_code_says_whether_it_is_a_failure():
    """Metrics count failures; these four are none."""
    assert {code for code in Exit if not code.failure} == {
        Exit.DONE,
        Exit.STOPPED,
        Exit.REFUSED,
        Exit.IDLE,
        Exit.LIFETIME,
    }


def test_a_code_that_does_not_say_it_cannot_be_added():
    """Forgetting it fails at import, so in every test."""
    with pytest.raises(TypeError, match="meaning"):

        class Forgetful(ExitCode):
            NEW = 30, "a new end"


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.SidecarError, 10),
        (errors.SettingsError, 11),
        (errors.TokenError, 12),
        (errors.RegistrationError, 13),
        (errors.RelayError, 14),
        (errors.RunnerError, 15),
        (errors.Stopped, 16),
    ],
)
def test_every_error_has_its_code(kind, code):
    """The class of an error alone decides the exit code."""
    assert kind("why").exit == code
    assert issubclass(kind, SidecarError)
    assert str(kind("cannot: why")) == "cannot: why"


def test_a_settings_error_holds_every_problem():
    """All mistakes are reported at once, one line each."""
    error = SettingsError("first", "second")
    assert error.problems == ("first", "second")
    assert str(error) == "first\nsecond"
