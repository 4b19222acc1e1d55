"""What ends a life, and the exit code of each end."""

import pytest

from sidecar import errors
from sidecar.errors import Exit, SettingsError, SidecarError

LISTENERS_OWN = range(1, 8)


def test_no_code_can_be_taken_for_one_of_the_listener():
    """Beside 0 every code lies between the listener's own and those of its job results."""
    codes = {code.value for code in Exit} - {0}
    assert codes.isdisjoint(LISTENERS_OWN)
    assert all(10 <= code < 100 for code in codes)


def test_every_code_has_a_meaning():
    """The reference can be generated: each code is a number that carries its sentence."""
    assert all(code.meaning for code in Exit)
    assert len({code.meaning for code in Exit}) == len(Exit)
    assert Exit(17) is Exit.LEFT_BEHIND
    assert int(Exit.DONE) == 0


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
    """An error decides the exit code by its class alone."""
    assert kind("why").exit == code
    assert issubclass(kind, SidecarError)
    assert str(kind("cannot: why")) == "cannot: why"


def test_a_settings_error_holds_every_problem():
    """All mistakes are told at once, one line each."""
    error = SettingsError("first", "second")
    assert error.problems == ("first", "second")
    assert str(error) == "first\nsecond"
