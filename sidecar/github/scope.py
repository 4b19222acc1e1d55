"""Where a runner belongs: a repository, an organization or an enterprise, of one GitHub."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Scope:
    """The API's base URL and the path prefix of a scope's runners."""

    api: str
    path: str

    @classmethod
    def of(cls, url: str) -> Scope:
        """Read the URL that people register runners at (already checked)."""
        parts = urlsplit(url)
        names = [name for name in parts.path.split("/") if name]
        return cls(_api(parts.scheme, parts.netloc, parts.hostname or ""), _path(names))

    @property
    def installation(self) -> str | None:
        """The path that tells which installation of an App has this scope."""
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
