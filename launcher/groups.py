"""Find the number of a pool's runner group by its name."""

from __future__ import annotations

from sidecar import github

SETTINGS = "runner_group, LAUNCHER_SCOPE"


async def find_group(connection: github.Connection, name: str | None) -> int:
    """Return a group's number; a name that is a number already is one. Raises SidecarError."""
    if (number := github.read_group_number(name)) is not None:
        return number
    scope = github.Scope.from_url(connection.url or "")
    return await github.find_group(await connection.api(), scope, name or "", SETTINGS, tries=1)
