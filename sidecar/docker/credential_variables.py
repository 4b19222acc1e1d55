"""The variables by which a container's AWS clients find its credentials, given as one set.

SDKs do not agree on what wins, and some fall through to the instance's role: so whoever brings
credentials of its own is left alone, and everybody else gets all of the set that it does not have.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

RELATIVE_URI = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
OWN = frozenset(
    {
        "AWS_ACCESS_KEY_ID",
        RELATIVE_URI,
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    }
)
"""What makes a container one that has credentials of its own, or wants none."""
NEVER_PROXIED = ("169.254.170.2", "169.254.169.254")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")
_NO_PROXY = ("NO_PROXY", "no_proxy")


@dataclass(frozen=True)
class Offer:
    """What containers are given. The paths are secrets: they are not shown."""

    region: str | None
    mint: Callable[[], str] = field(repr=False)
    """Makes the path of one container, or tells the one that all have."""
    common: frozenset[str] = field(default=frozenset(), repr=False)
    """Paths that the job's steps have, which a container may bring: they are good for it too."""
    proxied: bool = False
    """Whether the job's environment names a proxy."""

    def welcome(self, brought: Mapping[str, str | None]) -> bool:
        """Tell whether a container with these variables gets what it does not have."""
        own = OWN & set(brought)
        return not own or (own == {RELATIVE_URI} and brought[RELATIVE_URI] in self.common)

    def added(self, brought: Mapping[str, str | None], uri: str | None) -> dict[str, str]:
        """Return what is to be set beside, or over, what the container brings.

        `brought` has None for a variable that the container is to be without; `uri` is None if it
        brings one.
        """
        wanted = {} if uri is None else {RELATIVE_URI: uri}
        region = brought.get("AWS_REGION") or brought.get("AWS_DEFAULT_REGION") or self.region
        if region:
            wanted |= {"AWS_REGION": region, "AWS_DEFAULT_REGION": region}
        wanted["AWS_EC2_METADATA_DISABLED"] = "true"
        fresh = {name: value for name, value in wanted.items() if name not in brought}
        return fresh | self._no_proxy(brought)

    def _no_proxy(self, brought: Mapping[str, str | None]) -> dict[str, str]:
        if not (self.proxied or proxied(brought)):
            return {}
        given = brought.get("NO_PROXY") or brought.get("no_proxy") or ""
        merged = {}
        for name in _NO_PROXY:
            hosts = [word.strip() for word in (brought.get(name) or given).split(",")]
            merged[name] = ",".join(dict.fromkeys((*filter(None, hosts), *NEVER_PROXIED)))
        return merged


def proxied(env: Iterable[str]) -> bool:
    """Tell whether variables of these names send requests by a proxy."""
    return any(name.lower() in _PROXIES for name in env)


def brought(env: Iterable[object]) -> dict[str, str | None]:
    """Read the engine's list of `NAME=value` and bare `NAME`."""
    found: dict[str, str | None] = {}
    for entry in env:
        if isinstance(entry, str):
            name, equals, value = entry.partition("=")
            found[name] = value if equals else None
    return found


def merged(env: list[object], added: Mapping[str, str]) -> list[object]:
    """Return the engine's list with these variables; the others stay where they are."""
    kept = [
        entry for entry in env if not (isinstance(entry, str) and entry.partition("=")[0] in added)
    ]
    return [*kept, *(f"{name}={value}" for name, value in added.items())]
