"""The launcher's errors and its exit codes."""

from __future__ import annotations

from sidecar.errors import FAILURE, OK, ExitCode
from sidecar.github import GitHubError, advise


class Exit(ExitCode):
    """The launcher's exit codes; docs/launcher-reference.md lists them with their meanings."""

    DONE = 0, OK, "all that was asked for was done"
    BUG = 10, FAILURE, "a mistake in the launcher itself; the log holds the traceback"
    SETTINGS = (
        11,
        FAILURE,
        "a setting or an option is wrong, missing or contradicts another; nothing was contacted",
    )
    REFUSED = (
        12,
        FAILURE,
        "AWS or GitHub refused; the log names the permission or the setting to change",
    )
    LATER = (
        13,
        FAILURE,
        "until the time-out there was no capacity, a quota was reached or AWS limited the rate",
    )
    ENDED = 14, FAILURE, "a task ended before its runner was online, at each of three tries"
    TIMEOUT = 15, FAILURE, "not all runners were there within the time-out"
    INTERRUPTED = 16, FAILURE, "SIGINT or SIGTERM came, and what had been started was stopped"
    LEFT_BEHIND = 17, FAILURE, "a cleanup step failed; the log names what is left"
    UNAVAILABLE = 18, FAILURE, "AWS or GitHub could not be reached, or answered no sense"


class LaunchError(Exception):
    """An order cannot be carried out; its text says what and why."""

    def __init__(self, exit_code: Exit, message: str) -> None:
        super().__init__(message)
        self.exit = exit_code


class SettingsError(LaunchError):
    """One or more settings are wrong; `problems` holds one line for each."""

    def __init__(self, *problems: str) -> None:
        super().__init__(Exit.SETTINGS, "\n".join(problems))
        self.problems = problems


def describe(error: BaseException) -> str:
    """Return an error's text with the launcher's own names.

    The parts that agent and launcher share speak of the agent's variables and of its task role.
    The launcher has variables of the same names with a prefix of its own.
    """
    text = str(error) or type(error).__name__
    text = text.replace("SIDECAR_", "LAUNCHER_")
    return text.replace("the task needs a taskRoleArn", "see AWS_PROFILE, AWS_ROLE_ARN")


def describe_refusal(error: GitHubError, permission: str) -> str:
    """Return a refusal of GitHub's with what to change: usually a permission of the credential."""
    return describe(error) + advise(error, permission).replace("SIDECAR_", "LAUNCHER_")
