"""Check where each GitHub App is installed, and what was accepted there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from launcher.doctor.errors import explain_github
from launcher.doctor.permissions import describe_lacks, list_wanted
from sidecar.errors import SidecarError
from sidecar.examination.finding import Finding, failed, ok, warning
from sidecar.examination.patience import GITHUB_TRIES

if TYPE_CHECKING:
    from launcher.doctor.setup import Setup
    from sidecar.github.api import Api

PAGE = "?per_page=100"


async def check(setup: Setup) -> list[Finding]:
    """List the installations of each App, and find that of each repository."""
    known = {id_ for id_, app in await setup.apps() if not isinstance(app, SidecarError)}
    found, accounts = [], set[str]()
    for id_, api in setup.connections.connect_as_apps():
        if id_ not in known:
            continue
        try:
            installed = await _list(api)
        except SidecarError as error:
            found.append(explain_github(error, "look at the App's settings"))
            continue
        accounts |= {_name(each).lower() for each in installed}
        found += [_judge(id_, each, await list_wanted(setup)) for each in installed]
        if not installed:
            text = f"the App {id_} is installed nowhere"
            found.append(failed(text, "install it in the account whose jobs are served"))
    return found + (await _list_missing(setup, accounts) if accounts else [])


async def _list(api: Api) -> list[dict[str, Any]]:
    answer = await api.call(
        "GET", f"/app/installations{PAGE}", expects={200: None}, tries=GITHUB_TRIES
    )
    return answer.body if isinstance(answer.body, list) else []


def _name(installation: dict[str, Any]) -> str:
    return str((installation.get("account") or {}).get("login", ""))


def _judge(id_: str, installation: dict[str, Any], wanted: dict[str, str]) -> Finding:
    where = f"the App {id_} in the account {_name(installation)}"
    if installation.get("suspended_at"):
        return failed(f"{where}: its installation is suspended", "let an owner resume it")
    if lacks := describe_lacks(installation.get("permissions") or {}, wanted):
        change = "let an owner of the account accept the App's new permissions"
        return failed(f"{where} lacks permissions: {lacks}", change)
    return ok(f"{where} has what was asked for")


async def _list_missing(setup: Setup, accounts: set[str]) -> list[Finding]:
    """List the owners of repositories in whose account no App is installed."""
    owners = {name.partition("/")[0] for name in await setup.list_repositories()}
    return [
        warning(f"no App is installed in the account {owner}", "install it there")
        for owner in sorted(owners)
        if owner.lower() not in accounts
    ]
