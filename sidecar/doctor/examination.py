"""Run all checks side by side, each within its deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sidecar.doctor.checks import (
    certificates,
    clock,
    container,
    credential,
    dns,
    docker,
    github,
    health,
    hosts,
    identity,
    job_role,
    place,
    policy,
    proxy,
    registration,
    relay,
    roles,
    runner,
    settings,
    stop,
    token,
    users,
)
from sidecar.doctor.finding import Finding, failed
from sidecar.errors import SettingsError

if TYPE_CHECKING:
    from sidecar.doctor.setup import Setup

Check = Callable[["Setup"], Awaitable[list[Finding]]]

CHECKS: dict[str, Check] = {
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


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the result."""

    check: str
    finding: Finding


async def examine(setup: Setup, checks: dict[str, Check] | None = None) -> list[Line]:
    """Run the checks side by side; return their lines, in the order of the checks."""
    checks = CHECKS if checks is None else checks
    results = await asyncio.gather(*(_run(name, check, setup) for name, check in checks.items()))
    return [
        Line(name, finding)
        for name, findings in zip(checks, results, strict=True)
        for finding in findings
    ]


async def _run(name: str, check: Check, setup: Setup) -> list[Finding]:
    seconds = setup.patience.check * LONGER.get(name, 1.0)
    try:
        async with asyncio.timeout(seconds) as deadline:
            return await check(setup)
    except SettingsError as error:
        return [failed(str(error), "set what the line names; see also the lines before this one")]
    except Exception as error:  # noqa: BLE001  no check may keep the others from being shown
        if deadline.expired():
            return [failed(f"no result within {seconds:g} s", "see the lines before this one")]
        text = f"a mistake in this check: {type(error).__name__}"
        return [failed(text, "report it; no setting is at fault")]
