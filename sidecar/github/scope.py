"""The scope of a runner: a repository, an organization or an enterprise, of one GitHub."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Scope:
    """The API's base URL and the path prefix of a scope's runners."""

    api: str
    path: str

    @classmethod
    def from_url(cls, url: str) -> Scope:
        """Read the URL that runners are registered at (it is already checked)."""
        parts = urlsplit(url)
        names = [name for name in parts.path.split("/") if name]
        return cls(_api(parts.scheme, parts.netloc, parts.hostname or ""), _path(names))

    @property
    def installation(self) -> str | None:
        """The path of the look-up of an App's installation for this scope, if there is one."""
        kind = self.path.split("/")[1]
        return f"{self.path}/installation" if kind in ("repos", "orgs") else None


def _api(scheme: str, netloc: str, host: str) -> str:
    if host in ("github.com", "www.github.com"):
        return "https://api.github.com"
    if host.endswith(".ghe.com"):
        return f"{scheme}://api.{netloc}"
    return f"{scheme}://{netloc}/api/v3"  # GitHub Enterprise Server


def _path(names: list[str]) -> str:
    match names:
        case ["enterprises", name]:
            return f"/enterprises/{name}"
        case [owner, repository]:
            return f"/repos/{owner}/{repository}"
        case [owner]:
            return f"/orgs/{owner}"
        case _:
            raise ValueError(f"no scope: {names}")
