"""Say which permissions of an App a launch needs."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from launcher.doctor.setup import Setup

EVENT = "workflow_job"
FOR_REPOSITORY, FOR_ORGANIZATION = "administration", "organization_self_hosted_runners"
"""The permissions by which an App registers runners."""
_RANK = {"read": 1, "write": 2, "admin": 3}


async def list_wanted(setup: Setup) -> dict[str, str]:
    """List the permissions that these settings and pools need, each with its level."""
    path = urlsplit(setup.settings.github_url).path.strip("/")
    of_organization = setup.settings.scope != "repository" if not path else "/" not in path
    reruns = any(pool.rerun_interrupted for pool in await setup.list_pools())
    return {
        FOR_ORGANIZATION if of_organization else FOR_REPOSITORY: "write",
        "actions": "write" if reruns else "read",
    }


def describe_lacks(given: Mapping[str, str], wanted: Mapping[str, str]) -> str:
    """Describe the permissions that are missing or too low; "" where none is."""
    return ", ".join(
        f"{name} is {given.get(name, 'none')}, {level} is needed"
        for name, level in wanted.items()
        if _RANK.get(given.get(name, ""), 0) < _RANK[level]
    )
