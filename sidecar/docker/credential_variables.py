"""The environment variables by which a container's AWS clients find credentials.

SDKs do not agree on which variable wins, and some fall back to the instance's role. So a container
with credentials of its own is left alone; every other container gets all variables it lacks.

A name without a value brings nothing: `docker run -e NAME` and `${NAME}` in a compose file send one
wherever the job has no such variable.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sidecar.docker.own_configuration import CONTAINER_NAMES, RELATIVE_URI, Own, find_own
from sidecar.net.proxy import NO_PROXY, add_hosts, names_proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from sidecar.roles.containers import Container

_MISREAD_EMPTY = CONTAINER_NAMES
"""SDKs take these for set if they are set to nothing: one reads the token file with no name."""
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
    is_minted: Callable[[str], bool] = field(default=lambda _: False, repr=False)
    """Returns whether a path is another container's: its configuration was copied, then."""
    mint_for: Callable[[Container], str] | None = field(default=None, repr=False)
    """Returns a path for this container, by the rules for containers. Raises RequestRefused. Every
    container then has one, also one that cannot use it: its address is known by it."""
    uses_proxy: bool = False
    """Whether the job's environment names an HTTP proxy."""

    def mint_path(self, container: Container) -> str:
        """Return a path for a container. Raises RequestRefused."""
        return self.mint() if self.mint_for is None else self.mint_for(container)

    def forget_minted(self, env: Mapping[str, str | None]) -> Mapping[str, str | None]:
        """Return the variables without a path that is another container's."""
        if self.is_minted(env.get(RELATIVE_URI) or ""):
            return {name: value for name, value in env.items() if name != RELATIVE_URI}
        return env

    def find_own(self, env: Mapping[str, str | None]) -> Own:
        """Return what a container with the variables `env` brings. A path of the job is no own."""
        if env.get(RELATIVE_URI) in self.shared_paths:
            env = {name: value for name, value in env.items() if name != RELATIVE_URI}
        return find_own(env)

    def select(
        self, env: Mapping[str, str | None], uri: str | None, own: Own = Own.NOTHING
    ) -> dict[str, str]:
        """Return the variables to set for a container that has the variables `env`.

        In `env` the value None unsets a variable; `uri` is None if the container sets one. Where
        the container has a configuration of its `own`, that is a path and nothing else.
        """
        wanted = {} if uri is None else {RELATIVE_URI: uri}
        if own is Own.NOTHING:
            region = env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION") or self.region
            if region:
                wanted |= {"AWS_REGION": region, "AWS_DEFAULT_REGION": region}
            wanted[METADATA_DISABLED] = "true"
        missing = {name: value for name, value in wanted.items() if not env.get(name)}
        return missing | self._no_proxy(env)

    def _no_proxy(self, env: Mapping[str, str | None]) -> dict[str, str]:
        if not (self.uses_proxy or names_proxy(name for name, value in env.items() if value)):
            return {}
        default = env.get("NO_PROXY") or env.get("no_proxy") or ""
        merged = {}
        for name in NO_PROXY:
            merged[name] = add_hosts(env.get(name) or default, NO_PROXY_HOSTS)
        return merged


def read_image_env(entries: Iterable[object]) -> dict[str, str | None]:
    """Return the variables that an image brings, for a container of it.

    An image's RELATIVE_URI is left out: it is a task's, and `docker commit` put it there.
    """
    env = parse_env(entries)
    env.pop(RELATIVE_URI, None)
    return env


def find_misread(env: Mapping[str, str | None]) -> list[str]:
    """Return the variables that a container must not have at all, because they have no value."""
    return sorted(name for name in _MISREAD_EMPTY if env.get(name) == "")


def parse_env(entries: Iterable[object]) -> dict[str, str | None]:
    """Parse the engine's list of `NAME=value` and bare `NAME`; a bare name has the value None."""
    env: dict[str, str | None] = {}
    for entry in entries:
        if isinstance(entry, str):
            name, equals, value = entry.partition("=")
            env[name] = value if equals else None
    return env


def merge_env(
    entries: list[object], added: Mapping[str, str], unset: Iterable[str] = ()
) -> list[object]:
    """Return the engine's list with these variables set or unset; the others stay as they are."""
    bare = [name for name in unset if name not in added]
    changed = {*added, *bare}
    kept = [
        entry
        for entry in entries
        if not (isinstance(entry, str) and entry.partition("=")[0] in changed)
    ]
    # A bare name is how the engine unsets a variable of the image.
    return [*kept, *bare, *(f"{name}={value}" for name, value in added.items())]
