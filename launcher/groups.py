"""Find the number of a runner group by its name: just in time, GitHub takes numbers only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar import github
from sidecar.github.answers import read_field, read_number

if TYPE_CHECKING:
    from sidecar.github.api import Api

DEFAULT = 1
PAGE, PAGES = 100, 10
SETTING = "runner_group"


async def find_group(connection: github.Connection, name: str | None) -> int:
    """Return a group's number; a name that is a number already is one. Raises SidecarError.

    Repositories have no groups of their own: their runners are in none but the default one.
    """
    if name is None:
        return DEFAULT
    if name.isdecimal():
        return int(name)
    scope = github.Scope.from_url(connection.url or "")
    if scope.path.startswith("/repos/"):
        text = f"a repository has no runner group {name}: register runners at its organization"
        raise github.GitHubError(f"{text} ({SETTING}, LAUNCHER_SCOPE)")
    found = await _search(await connection.api(), f"{scope.path}/actions/runner-groups", name)
    if found is None:
        raise github.GitHubError(f"there is no runner group {name} ({SETTING})")
    return found


async def _search(api: Api, path: str, name: str) -> int | None:
    for page in range(1, PAGES + 1):
        query = f"?per_page={PAGE}&page={page}"
        answer = await api.call("GET", path + query, expects={200: None}, tries=1)
        groups = read_field(answer.body, "runner_groups", list)
        for group in groups:
            if str(read_field(group, "name")).lower() == name.lower():
                return read_number(group, "id")
        if len(groups) < PAGE:
            return None
    return None
