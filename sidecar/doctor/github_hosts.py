"""List the hosts that a runner needs, by the kind of its GitHub server.

Source: GitHub, "Self-hosted runners reference", network; and `ActionsCheck.cs` of actions/runner,
whose `--check` asks the same services.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from sidecar.github import Scope

REGISTER, JOBS, LOGS, ACTIONS = "registration", "jobs", "logs and artifacts", "actions"
_SERVICES = "actions.githubusercontent.com"


@dataclass(frozen=True, slots=True)
class Host:
    """A host, by a URL at which it answers something."""

    url: str
    purpose: str
    needed: bool = True
    """Whether no job can run without it."""

    @property
    def name(self) -> str:
        """Its name, with the port if that is not the scheme's own."""
        return urlsplit(self.url).netloc


def list_hosts(github_url: str) -> list[Host]:
    """List the hosts of a repository's, organization's or enterprise's GitHub."""
    parts = urlsplit(github_url)
    name = parts.hostname or ""
    site = f"{parts.scheme}://{parts.netloc}"
    found = [Host(f"{site}/", REGISTER), Host(f"{Scope.from_url(github_url).api}/meta", REGISTER)]
    if name in ("github.com", "www.github.com"):
        return found + _list_cloud()
    if name.endswith(".ghe.com"):
        return [*found, Host(f"{parts.scheme}://codeload.{parts.netloc}/_ping", ACTIONS), *_OTHERS]
    # A server of one's own has its services below the site; actions of github.com are optional.
    services = [Host(f"{site}/_services/{name}/_apis/health", JOBS) for name in _OWN]
    return found + services


_OWN = ("vstoken", "pipelines")
_OTHERS = (
    # Public actions are github.com's there, too; their archives and the logs are Azure's.
    Host("https://codeload.github.com/_ping", ACTIONS, needed=False),
    Host("https://productionresultssa0.blob.core.windows.net/", LOGS, needed=False),
)


def _list_cloud() -> list[Host]:
    """List the hosts of github.com; of those with a `*` in GitHub's list, those that are known."""
    return [
        Host(f"https://pipelines.{_SERVICES}/_apis/health", REGISTER),
        Host(f"https://vstoken.{_SERVICES}/_apis/health", JOBS),
        Host(f"https://broker.{_SERVICES}/", JOBS),
        Host(f"https://results-receiver.{_SERVICES}/health", LOGS),
        Host("https://productionresultssa0.blob.core.windows.net/", LOGS),
        Host("https://codeload.github.com/_ping", ACTIONS),
    ]
