"""The launcher's exit codes and the words of its errors."""

from pathlib import Path

import pytest

from launcher.errors import Exit, SettingsError, describe, describe_refusal
from sidecar import github
from sidecar.errors import TokenError

PAGE = (Path(__file__).parents[3] / "docs" / "launcher-reference.md").read_text()


def test_every_exit_code_is_documented():
    """With its name and its meaning, as in the code."""
    for code in Exit:
        name = code.name.lower().replace("_", "-")
        assert f"| {int(code)} | {name} | {code.meaning} |" in PAGE


def test_shared_parts_speak_of_the_launcher_s_own_settings():
    """Their errors name the agent's variables; the launcher has the same with its own prefix."""
    error = TokenError("cannot use SIDECAR_GITHUB_PAT: it is empty (the task needs a taskRoleArn)")
    text = "cannot use LAUNCHER_GITHUB_PAT: it is empty (see AWS_PROFILE, AWS_ROLE_ARN)"
    assert describe(error) == text
    assert describe(TimeoutError()) == "TimeoutError"


def test_settings_that_are_wrong_have_one_line_each():
    """And the exit code for settings."""
    error = SettingsError("a", "b")
    assert (error.exit, error.problems, str(error)) == (Exit.SETTINGS, ("a", "b"), "a\nb")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (github.PermissionDenied("no", 403), "no (Actions: read)"),
        (github.AddressRefused("no", 403), "IP allow list"),
    ],
)
def test_a_refusal_of_github_names_what_to_change(error, words):
    """A permission, unless it is the address that GitHub refuses."""
    assert words in describe_refusal(error, "Actions: read")
