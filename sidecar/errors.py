"""The agent's errors and its exit codes.

Codes start at 10: 0 to 7 belong to the actions runner's listener, 100 and above to its job results.
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar

OK, FAILURE = False, True


class ExitCode(IntEnum):
    """An exit code with its meaning; a member must say whether it is a failure."""

    failure: bool
    """Whether something went wrong, in the agent or around it."""
    meaning: str

    def __new__(cls, code: int, failure: bool, meaning: str) -> ExitCode:
        """Make a member that is its code."""
        member = int.__new__(cls, code)
        member._value_ = code
        member.failure = failure
        member.meaning = meaning
        return member


class Exit(ExitCode):
    """The agent's exit codes; the reference page lists them with their meanings."""

    DONE = (
        0,
        OK,
        (
            "a job ran, whatever its result; or GitHub withdrew the job before it began; or the "
            "runner was stopped while idle"
        ),
    )
    BUG = 10, FAILURE, "a mistake in the agent itself; the log holds the traceback"
    SETTINGS = (
        11,
        FAILURE,
        (
            "a setting is wrong, missing or contradicts another; nothing was contacted but a "
            "machine's own metadata, and SSM where it holds SIDECAR_ROLES"
        ),
    )
    TOKEN = 12, FAILURE, "the agent could not get a registration token"
    REGISTRATION = 13, FAILURE, "GitHub or the runner's configure step refused the registration"
    RELAY = (
        14,
        FAILURE,
        (
            "no credentials could be relayed, or docker not be proxied, as SIDECAR_RELAY, "
            "SIDECAR_RELAY_REQUIRED or SIDECAR_DOCKER_PROXY says"
        ),
    )
    RUNNER = (
        15,
        FAILURE,
        (
            "the runner's program could not be started, its user cannot write into a folder that "
            "jobs need, it could not open a session at GitHub, or it ended without having run a job"
        ),
    )
    STOPPED = 16, OK, "stopped before the runner was registered"
    LEFT_BEHIND = 17, FAILURE, "all went well, but a cleanup step failed; the log names it"
    IDLE = 18, OK, "no job came within SIDECAR_IDLE_LIMIT"
    LIFETIME = 19, OK, "SIDECAR_LIFETIME_LIMIT was reached"
    GHOST = 20, FAILURE, "GitHub no longer knew the runner, before it had a job"
    DEPRECATED = 21, FAILURE, "GitHub refuses this version of the runner; build a newer image"
    CANCELLED = (
        22,
        FAILURE,
        (
            "the stop came while a job ran, and the job did not end in time, or GitHub had given "
            "the job up: GitHub shows it as failed"
        ),
    )
    CONFLICT = 23, FAILURE, "another process holds a session for this runner"
    DOCKER = 24, FAILURE, "the image's first program could not start the docker daemon"
    REFUSED = (
        25,
        OK,
        (
            "the job that came was failed before any step: the pool's policy does not admit it, or "
            "its role is required and could not be had"
        ),
    )


class SidecarError(Exception):
    """A failure with its own exit code; its text says what cannot be done, and why."""

    exit: ClassVar[Exit] = Exit.BUG


class SettingsError(SidecarError):
    """One or more settings are wrong; `problems` holds one line for each."""

    exit = Exit.SETTINGS

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class TokenError(SidecarError):
    """The agent cannot get a registration token."""

    exit = Exit.TOKEN


class RegistrationError(SidecarError):
    """The runner cannot be registered or deregistered."""

    exit = Exit.REGISTRATION


class RelayError(SidecarError):
    """The relay has no credentials to answer with."""

    exit = Exit.RELAY


class ProxyError(SidecarError):
    """The docker proxy cannot do what the settings demand."""

    exit = Exit.RELAY


class RunnerError(SidecarError):
    """The runner's program cannot be run."""

    exit = Exit.RUNNER


class Stopped(SidecarError):
    """A stop cut the work short."""

    exit = Exit.STOPPED
