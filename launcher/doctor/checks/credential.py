"""Check the launcher's credential for GitHub: that it can be read, and that GitHub knows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from launcher.doctor.errors import explain_github
from sidecar.errors import SidecarError
from sidecar.examination.finding import Finding, ok, unknown
from sidecar.examination.patience import GITHUB_TRIES
from sidecar.github import Scope

if TYPE_CHECKING:
    from launcher.doctor.setup import Setup

CHANGE = "correct LAUNCHER_GITHUB_URL, or what the credential may do"
KEY = "give the key that belongs to this App (LAUNCHER_GITHUB_APP_ID, LAUNCHER_GITHUB_APP_KEY)"


async def check(setup: Setup) -> list[Finding]:
    """Ask GitHub as each App, or list runners with the access token; no token is created."""
    if not setup.settings.apps:
        return await _check_token(setup)
    found = []
    for id_, app in await setup.apps():
        if isinstance(app, SidecarError):
            finding = explain_github(app, KEY)
            found.append(Finding(finding.level, f"App {id_}: {finding.text}", finding.change))
        else:
            found.append(ok(f"GitHub knows the App {id_} by its key"))
    return found


async def _check_token(setup: Setup) -> list[Finding]:
    """List one runner of each scope: a token shows no more without writing."""
    repositories = await setup.list_repositories()
    if not repositories:
        text = "nothing says for which repositories the access token is"
        return [unknown(text, "name some (--repositories)")]
    found = []
    for each in repositories:
        connection = setup.connections.connect(each)
        path = Scope.from_url(connection.url or "").path
        try:
            api = await connection.api()
            await api.call(
                "GET", f"{path}/actions/runners?per_page=1", expects={200: None}, tries=GITHUB_TRIES
            )
        except SidecarError as error:
            found.append(explain_github(error, CHANGE))
        else:
            found.append(ok(f"the token may list the runners of {path}"))
    return list(dict.fromkeys(found))
