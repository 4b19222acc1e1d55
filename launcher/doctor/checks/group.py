"""Check that each pool's runner group exists, and that the repositories may use it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from launcher.doctor.errors import explain_github
from launcher.groups import SETTINGS, find_group
from sidecar.errors import SidecarError
from sidecar.examination.finding import Finding, failed, ok, unknown
from sidecar.examination.patience import GITHUB_TRIES
from sidecar.github import Scope
from sidecar.github.answers import read_field, read_number

if TYPE_CHECKING:
    from launcher.connections import ScopeConnection
    from launcher.doctor.setup import Setup
    from launcher.doctor.target import Target

CHANGE = f"let the credential read runner groups, or correct the name ({SETTINGS})"
PAGE = 100


async def check(setup: Setup) -> list[Finding]:
    """Ask for the group of each pool that names one, as each of its repositories."""
    found = []
    for target in await setup.list_targets():
        if target.group is None:
            continue
        names = sorted(target.repositories) or await setup.list_repositories()
        if not names:
            text = f"nothing says which repositories use the group {target.group} ({target.name})"
            found.append(unknown(text, "name some (--repositories)"))
        found += [await _check(setup, target, target.group, name) for name in names]
    return found


async def _check(setup: Setup, target: Target, group: str, repository: str) -> Finding:
    connection = setup.connections.connect(repository)
    try:
        number = await find_group(connection, group)
        visible = await _list_visible(connection, repository)
    except SidecarError as error:
        return explain_github(error, CHANGE)
    if visible is None or number in visible:
        return ok(f"{target.name}: the repository {repository} may use the runner group {group}")
    text = f"{target.name}: the runner group {group} is not visible to {repository}"
    change = "let the group have this repository in the organization's settings, or name another"
    return failed(f"{text}, so its jobs stay queued", change)


async def _list_visible(connection: ScopeConnection, repository: str) -> set[int] | None:
    """List the groups that a repository may use; None where only one group can be meant."""
    path = Scope.from_url(connection.url or "").path
    if not path.startswith("/orgs/"):
        return None
    name = quote(repository.partition("/")[2])
    query = f"?visible_to_repository={name}&per_page={PAGE}"
    api = await connection.api()
    answer = await api.call(
        "GET", f"{path}/actions/runner-groups{query}", expects={200: None}, tries=GITHUB_TRIES
    )
    return {read_number(each, "id") for each in read_field(answer.body, "runner_groups", list)}
