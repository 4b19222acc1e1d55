"""What can end a life, and the exit code each end has.

Codes start at 10: 0 to 7 belong to the actions runner's listener, 100 and above to its job results.
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar


class Exit(IntEnum):
    """The agent's exit codes; the meaning of each is its docstring in the reference."""

    meaning: str

    def __new__(cls, code: int, meaning: str) -> Exit:
        """Make a member that is its code and carries its meaning."""
        member = int.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member

    DONE = 0, "a job ran, whatever its result, or the runner was stopped while idle"
    BUG = 10, "a mistake in the agent itself; the log holds the traceback"
    SETTINGS = 11, "a setting is wrong, missing or contradicts another; nothing was contacted"
    TOKEN = 12, "the registration token could not be had"
    REGISTRATION = 13, "GitHub or the runner's configure step refused the registration"
    RELAY = (
        14,
        (
            "no credentials could be relayed, or docker not be proxied, as SIDECAR_RELAY, "
            "SIDECAR_RELAY_REQUIRED or SIDECAR_DOCKER_PROXY says"
        ),
    )
    RUNNER = 15, "the runner's program could not be started, or ended without having run a job"
    STOPPED = 16, "stopped before the runner was registered"
    LEFT_BEHIND = 17, "all went well, but something could not be undone; the log names it"
    IDLE = 18, "no job came within SIDECAR_IDLE_LIMIT"
    LIFETIME = 19, "SIDECAR_LIFETIME_LIMIT was reached"
    GHOST = 20, "GitHub did not know the runner any more, while it waited for jobs"
    DEPRECATED = 21, "GitHub refuses this version of the runner; build a newer image"
    CANCELLED = 22, "the stop came while a job ran, and the job did not end in time"
    CONFLICT = 23, "another process holds a session for this runner"
    DOCKER = 24, "the image's first program could not start the docker daemon"


class SidecarError(Exception):
    """A failure with an exit code of its own; its text says what cannot be done, and why."""

    exit: ClassVar[Exit] = Exit.BUG


class SettingsError(SidecarError):
    """One or more settings are unusable; `problems` holds one line for each."""

    exit = Exit.SETTINGS

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class TokenError(SidecarError):
    """The right to register could not be had."""

    exit = Exit.TOKEN


class RegistrationError(SidecarError):
    """The runner could not be registered."""

    exit = Exit.REGISTRATION


class RelayError(SidecarError):
    """The relay has no credentials to hand out."""

    exit = Exit.RELAY


class ProxyError(SidecarError):
    """The docker proxy cannot be as it is asked for."""

    exit = Exit.RELAY


class RunnerError(SidecarError):
    """The runner's program could not be run."""

    exit = Exit.RUNNER


class Stopped(SidecarError):
    """A stop was heard while something was being acquired."""

    exit = Exit.STOPPED
