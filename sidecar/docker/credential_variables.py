"""The environment variables by which a container's AWS clients find credentials.

SDKs do not agree on which variable wins, and some fall back to the instance's role. So a container
with credentials of its own is left alone; every other container gets all variables it lacks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sidecar.net.proxy import NO_PROXY, add_hosts, names_proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

RELATIVE_URI = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
CREDENTIAL_NAMES = frozenset(
    {
        "AWS_ACCESS_KEY_ID",
        RELATIVE_URI,
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    }
)
"""A container that sets one of these has credentials of its own, or wants none."""
METADATA_DISABLED = "AWS_EC2_METADATA_DISABLED"
NO_PROXY_HOSTS = ("169.254.170.2", "169.254.169.254")


@dataclass(frozen=True)
class CredentialVariables:
    """The variables to add to containers. The paths in them are secrets, and not in its repr."""

    region: str | None
    mint: Callable[[], str] = field(repr=False)
    """Returns a path for one container: a new one, or the one that all share."""
    shared_paths: frozenset[str] = field(default=frozenset(), repr=False)
    """The paths of the job's steps, which a container may set and use too."""
    uses_proxy: bool = False
    """Whether the job's environment names an HTTP proxy."""

    def may_be_added(self, env: Mapping[str, str | None]) -> bool:
        """Return whether a container with the variables `env` gets those that it lacks."""
        own = CREDENTIAL_NAMES & set(env)
        return not own or (own == {RELATIVE_URI} and env[RELATIVE_URI] in self.shared_paths)

    def select(self, env: Mapping[str, str | None], uri: str | None) -> dict[str, str]:
        """Return the variables to set for a container that has the variables `env`.

        In `env` the value None unsets a variable; `uri` is None if the container sets one.
        """
        wanted = {} if uri is None else {RELATIVE_URI: uri}
        region = env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION") or self.region
        if region:
            wanted |= {"AWS_REGION": region, "AWS_DEFAULT_REGION": region}
        wanted[METADATA_DISABLED] = "true"
        missing = {name: value for name, value in wanted.items() if name not in env}
        return missing | self._no_proxy(env)

    def _no_proxy(self, env: Mapping[str, str | None]) -> dict[str, str]:
        if not (self.uses_proxy or names_proxy(env)):
            return {}
        default = env.get("NO_PROXY") or env.get("no_proxy") or ""
        merged = {}
        for name in NO_PROXY:
            merged[name] = add_hosts(env.get(name) or default, NO_PROXY_HOSTS)
        return merged


def read_image_env(entries: Iterable[object]) -> dict[str, str | None]:
    """Return the variables that an image brings, for a container of it.

    An image's RELATIVE_URI is left out: it is a task's, and `docker commit` put it there. So is an
    empty METADATA_DISABLED, which stands for none (see `clear`).
    """
    env = parse_env(entries)
    env.pop(RELATIVE_URI, None)
    if not env.get(METADATA_DISABLED):
        env.pop(METADATA_DISABLED, None)
    return env


def clear(entries: list[object], added: Iterable[str]) -> list[object]:
    """Return the variables of a new image without those of a container that were `added` to it.

    The engine gives an image all variables of its container that the request does not set. So they
    are set, to nothing. A region is left: it is no secret, and SDKs take an empty one for a region.
    """
    given = parse_env(entries)
    cleared = {name: "" for name in added if not name.endswith("_REGION") and name not in given}
    return merge_env(entries, cleared)


def parse_env(entries: Iterable[object]) -> dict[str, str | None]:
    """Parse the engine's list of `NAME=value` and bare `NAME`; a bare name has the value None."""
    env: dict[str, str | None] = {}
    for entry in entries:
        if isinstance(entry, str):
            name, equals, value = entry.partition("=")
            env[name] = value if equals else None
    return env


def merge_env(entries: list[object], added: Mapping[str, str]) -> list[object]:
    """Return the engine's list with these variables set; the others stay where they are."""
    kept = [
        entry
        for entry in entries
        if not (isinstance(entry, str) and entry.partition("=")[0] in added)
    ]
    return [*kept, *(f"{name}={value}" for name, value in added.items())]
