"""Decide, before the settings can be read, whether this is a machine with metadata of its own.

The tags of a machine may hold settings and the marks of launchers, so its metadata are read first.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

IMDS = "http://169.254.169.254"
"""The instance metadata service."""
IMDS_URL, IMDS_DISABLED = "AWS_EC2_METADATA_SERVICE_ENDPOINT", "AWS_EC2_METADATA_DISABLED"
TASK_METADATA = ("ECS_CONTAINER_METADATA_URI_V4", "ECS_CONTAINER_METADATA_URI")
"""Variables that ECS sets in every container."""


class Platform(StrEnum):
    """The values of SIDECAR_PLATFORM."""

    AUTO = "auto"
    ECS = "ecs"
    EC2 = "ec2"


@dataclass(frozen=True, slots=True)
class Question:
    """An instance metadata service to ask about this machine."""

    url: str
    expected: bool
    """Whether it must answer; else this may be no machine of EC2 at all."""


def choose_question(wanted: str, environ: Mapping[str, str]) -> Question | None:
    """Choose the service to ask; None where nothing is to be asked.

    `wanted` is the value of SIDECAR_PLATFORM. A task of ECS is never a machine unless that says so:
    its start must not wait for an answer that does not come.
    """
    if wanted not in (Platform.AUTO, Platform.EC2) or is_disabled(environ):
        return None
    if wanted == Platform.AUTO and any(environ.get(name) for name in TASK_METADATA):
        return None
    return Question(find_url(environ), wanted == Platform.EC2)


def find_url(environ: Mapping[str, str]) -> str:
    """Return the service's URL, by the variable that AWS SDKs read."""
    return (environ.get(IMDS_URL) or IMDS).rstrip("/")


def is_disabled(environ: Mapping[str, str]) -> bool:
    """Return whether the service must not be asked, as AWS SDKs read that."""
    return environ.get(IMDS_DISABLED, "").strip().lower() == "true"


def check_platform(
    wanted: str, machine: Mapping[str, str], reason: str, environ: Mapping[str, str]
) -> list[str]:
    """Check that a machine that was demanded is there; `reason`: why it was not read."""
    if wanted != Platform.EC2 or machine:
        return []
    if is_disabled(environ):
        problem = (
            f"SIDECAR_PLATFORM=ec2 contradicts {IMDS_DISABLED}=true: a machine is known by its "
            "metadata (example: SIDECAR_PLATFORM=auto)"
        )
        return [problem]
    why = f": {reason}" if reason else ""
    problem = (
        f"SIDECAR_PLATFORM cannot be ec2: the instance metadata service at {find_url(environ)} "
        f"does not say what machine this is{why} (example: SIDECAR_PLATFORM=auto)"
    )
    return [problem]
