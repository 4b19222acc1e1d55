"""The registration request: its arguments, and a new name."""

from sidecar.runner.registration_request import RegistrationRequest, add_suffix

REQUEST = RegistrationRequest(
    "https://github.com/o/r", "SECRET", "build-1", ("a", "b"), False, "g", "_work"
)


def test_the_request_is_written_as_arguments():
    """Only what was asked for; never the token."""
    assert REQUEST.arguments(replaces=False) == (
        "--unattended",
        "--ephemeral",
        "--disableupdate",
        *("--url", "https://github.com/o/r", "--name", "build-1"),
        *("--labels", "a,b", "--runnergroup", "g", "--work", "_work"),
    )
    bare = RegistrationRequest("u", "t", "n", (), True, None, "w")
    assert bare.arguments(replaces=True) == (
        "--unattended",
        "--ephemeral",
        "--disableupdate",
        "--no-default-labels",
        "--replace",
        *("--url", "u", "--name", "n", "--work", "w"),
    )
    assert "SECRET" not in repr(REQUEST)


def test_a_suffix_fits_the_longest_name():
    """The result is no longer than GitHub accepts, and ends in the suffix."""
    new = add_suffix("n" * 64)
    assert len(new) == 64
    assert new[:57] == "n" * 57
    assert new[57] == "-"
    assert add_suffix("n") != add_suffix("n")
