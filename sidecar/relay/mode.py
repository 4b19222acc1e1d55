"""Choose the relay mode: how containers get credentials.

It depends on where the docker daemon runs. In a network namespace that belongs to the task alone,
network rules redirect its containers to the relay. Elsewhere the ECS agent answers them already,
and the agent must not add rules.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sidecar.errors import RelayError
from sidecar.relay.daemon_location import DaemonLocation, locate_daemon

__all__ = ["Choice", "DaemonLocation", "Facts", "Mode", "choose", "locate_daemon"]


class Mode(StrEnum):
    """The values of SIDECAR_RELAY, without `auto`."""

    LOCAL = "local"
    """The relay serves the job's own steps, at its own address."""
    NETFILTER = "netfilter"
    """Rules redirect requests to the ECS agent or the instance metadata, also of containers."""
    PASS_THROUGH = "pass-through"  # noqa: S105
    """Containers ask the ECS agent itself, by the agent's URI; there are no rules."""
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts on which the choice depends."""

    location: DaemonLocation
    evidence: str
    """How the location is known."""
    obstacle: str | None = None
    """Why rules are not allowed or not possible here."""
    relative_uri: bool = True
    """Whether the task has a URI at the ECS agent's address."""
    separate_job_role: bool = False
    """Whether jobs have a separate role."""
    machine: bool = False
    """Whether the credentials are a machine's, which containers may ask for themselves."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A mode, and why it was chosen."""

    mode: Mode
    reason: str


def choose(wanted: str, facts: Facts) -> Choice:
    """Choose the mode for `wanted`, the value of SIDECAR_RELAY.

    Raises RelayError if that mode is not possible.
    """
    match wanted:
        case Mode.OFF | Mode.LOCAL:
            return Choice(Mode(wanted), f"SIDECAR_RELAY={wanted}")
        case Mode.NETFILTER:
            return _force_netfilter(facts)
        case Mode.PASS_THROUGH:
            return _force_pass_through(facts)
        case _:
            return _choose_automatically(facts)


def _choose_automatically(facts: Facts) -> Choice:
    if facts.location is DaemonLocation.ABSENT:
        return Choice(Mode.LOCAL, facts.evidence)
    # A daemon that does not answer is probably still starting in this task: add the rules for it.
    if facts.location is not DaemonLocation.ELSEWHERE and facts.obstacle is None:
        return Choice(Mode.NETFILTER, facts.evidence)
    reason = _why_no_rules(facts)
    if facts.separate_job_role:
        return Choice(Mode.LOCAL, f"{reason}; containers shall not have the task role")
    if facts.machine:
        return Choice(Mode.LOCAL, f"{reason}; {_HOP_LIMIT}")
    if not facts.relative_uri:
        return Choice(Mode.LOCAL, f"{reason}; {_NO_URI}")
    return Choice(Mode.PASS_THROUGH, str(reason))


_NO_URI = "the task has no AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
_HOP_LIMIT = (
    "containers reach the instance's own metadata where its hop limit is 2 or more "
    "(HttpPutResponseHopLimit)"
)


def _why_no_rules(facts: Facts) -> str | None:
    return facts.evidence if facts.location is DaemonLocation.ELSEWHERE else facts.obstacle


def _force_netfilter(facts: Facts) -> Choice:
    reason = _why_no_rules(facts)
    if reason is not None:
        raise RelayError(
            f"cannot relay to containers by network rules: {reason} (SIDECAR_RELAY=netfilter; auto "
            "takes what is possible)"
        )
    return Choice(Mode.NETFILTER, "SIDECAR_RELAY=netfilter")


def _force_pass_through(facts: Facts) -> Choice:
    if not facts.relative_uri:
        raise RelayError(
            f"cannot pass the ECS agent's URI through to containers: {_NO_URI} "
            "(SIDECAR_RELAY=pass-through; local serves the job's own steps)"
        )
    return Choice(Mode.PASS_THROUGH, "SIDECAR_RELAY=pass-through")
