"""Check the agent's own credential for GitHub: an App's key, or a personal access token."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.aws.calls import AwsError
from sidecar.errors import SidecarError
from sidecar.examination.aws_errors import explain_aws
from sidecar.examination.finding import Finding, failed, ok, warning
from sidecar.github import (
    AddressRefused,
    App,
    GitHubError,
    PermissionDenied,
    Scope,
    TransientError,
)
from sidecar.github.api import Api
from sidecar.github.errors import ClockRefused

if TYPE_CHECKING:
    from sidecar.doctor.setup import Setup
    from sidecar.github import Credential

FOR_REPOSITORY, FOR_ORGANIZATION = "administration", "organization_self_hosted_runners"
"""The permissions by which an App registers runners."""


async def check(setup: Setup) -> list[Finding]:
    """Read the credential, and ask GitHub what it may do; no token is created."""
    try:
        credential = await setup.credential()
    except SidecarError as error:
        if isinstance(error.__cause__, AwsError):
            return [explain_aws(error.__cause__)]
        return [failed(str(error), "correct the reference, or give the secret itself")]
    if credential is None:
        return []
    url = await setup.find_github_url()
    if url is None:
        return [ok("it can be read; nothing says yet for which GitHub it is")]
    scope = Scope.from_url(url)
    try:
        return await _ask(Api(setup.http, scope, credential), scope, credential)
    except GitHubError as error:
        return [_explain(error)]


async def _ask(api: Api, scope: Scope, credential: Credential) -> list[Finding]:
    if isinstance(credential, App):
        return await _ask_about_app(api, scope, credential)
    await api.call("GET", f"{scope.path}/actions/runners?per_page=1", expects={200: None}, tries=1)
    return [ok(f"the token may list the runners of {scope.path}; it shows no more without writing")]


async def _ask_about_app(api: Api, scope: Scope, app: App) -> list[Finding]:
    installation = await app.find_installation(api.call_with_token, scope)
    if installation.suspended:
        text = f"the App's installation for {scope.path} is suspended"
        return [failed(text, "let an owner of the account resume it")]
    name = FOR_REPOSITORY if scope.path.startswith("/repos/") else FOR_ORGANIZATION
    if installation.permissions.get(name) != "write":
        given = installation.permissions.get(name, "none")
        text = f"the App cannot register runners for {scope.path}: {name} is {given}"
        return [failed(text, f"give the App {name}: write, and let the owner accept that")]
    return [ok(f"the App is installed for {scope.path}, with {name}: write")]


def _explain(error: GitHubError) -> Finding:
    text = str(error)
    match error:
        case ClockRefused():
            return failed(text, "set the clock of the machine; see the line clock")
        case AddressRefused():
            return failed(text, "add this address to the organization's IP allow list")
        case PermissionDenied(status=401):
            return failed(text, "replace the credential: GitHub does not know it, or it has ended")
        case PermissionDenied():
            return failed(text, "correct SIDECAR_GITHUB_URL, or what the credential may do")
        case TransientError():
            return warning(text, "see the line github")
    return failed(text, "correct SIDECAR_GITHUB_URL")
