"""Find the number of a runner group by its name: just in time, GitHub takes numbers only."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sidecar.github.answers import read_field, read_number
from sidecar.github.api import TRIES
from sidecar.github.errors import GitHubError

if TYPE_CHECKING:
    from sidecar.github.api import Api
    from sidecar.github.scope import Scope

DEFAULT, DEFAULT_NAME = 1, "default"
"""The group that every scope has. An organization may give it another name."""
PAGE, PAGES = 100, 10


def read_group_number(name: str | None) -> int | None:
    """Return a group's number if it need not be looked up: no name is the default group's."""
    if name is None:
        return DEFAULT
    # No other digits: `int` takes some of them and refuses others.
    return int(name) if re.fullmatch(r"[0-9]{1,18}", name) else None


async def find_group(
    api: Api, scope: Scope, name: str, settings: str, *, tries: int | None = TRIES
) -> int:
    """Return the number of the group of that name. Raises GitHubError.

    Repositories have no groups of their own: their runners are in none but the default one.
    `settings`: what to change where there is no such group.
    """
    if scope.path.startswith("/repos/"):
        if name.lower() == DEFAULT_NAME:
            return DEFAULT
        text = f"a repository has no runner group {name}: register runners at its organization"
        raise GitHubError(f"{text} ({settings})")
    found = await _search(api, f"{scope.path}/actions/runner-groups", name, tries)
    if found is None:
        raise GitHubError(f"there is no runner group {name} ({settings})")
    return found


async def _search(api: Api, path: str, name: str, tries: int | None) -> int | None:
    for page in range(1, PAGES + 1):
        query = f"?per_page={PAGE}&page={page}"
        answer = await api.call("GET", path + query, expects={200: None}, tries=tries)
        groups = read_field(answer.body, "runner_groups", list)
        for group in groups:
            if str(read_field(group, "name")).lower() == name.lower():
                return read_number(group, "id")
        if len(groups) < PAGE:
            return None
    return None
