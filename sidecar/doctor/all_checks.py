"""List all checks of the agent's doctor, and run them side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.doctor.checks import (
    certificates,
    container,
    credential,
    docker,
    github,
    health,
    hosts,
    identity,
    job_role,
    place,
    policy,
    registration,
    relay,
    roles,
    runner,
    settings,
    stop,
    token,
    users,
)
from sidecar.examination.lines import Line, run_checks
from sidecar.examination.network import clock, dns, proxy

if TYPE_CHECKING:
    from sidecar.doctor.setup import Setup
    from sidecar.examination.lines import Check

CHECKS: dict[str, Check[Setup]] = {
    "settings": settings.check,
    "place": place.check,
    "dns": dns.check,
    "proxy": proxy.check,
    "certificates": certificates.check,
    "clock": clock.check,
    "identity": identity.check,
    "token": token.check,
    "policy": policy.check,
    "github": github.check,
    "credential": credential.check,
    "registration": registration.check,
    "hosts": hosts.check,
    "runner": runner.check,
    "users": users.check,
    "docker": docker.check,
    "relay": relay.check,
    "job role": job_role.check,
    "roles": roles.check,
    "container": container.check,
    "stop": stop.check,
    "health": health.check,
}
"""Every check by its name, what may be the cause of others first."""
LONGER = {"container": 3.0}
"""Checks with more time, as a factor: a container has to start, and has checks of its own."""


async def examine(setup: Setup, checks: dict[str, Check[Setup]] | None = None) -> list[Line]:
    """Run the checks side by side; return their lines, in the order of the checks."""
    checks = CHECKS if checks is None else checks
    return await run_checks(setup, checks, setup.patience.check, LONGER)
