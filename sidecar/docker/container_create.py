"""Read and change the body of a request that creates a container."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.docker import credential_variables, own_configuration
from sidecar.docker.binds import find_binds
from sidecar.docker.json_documents import parse_object, serialize
from sidecar.docker.own_configuration import RELATIVE_URI, Own
from sidecar.roles.containers import Container

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sidecar.docker.credential_variables import CredentialVariables

PATH = "/containers/create"
LIBPOD_PATH = "/libpod/containers/create"
_SHARED_NETWORKS = ("host", "container")
"""Docker's networks that are another's."""
_OWN_NAMESPACES = ("default", "bridge", "private", "none")
"""Podman's networks that are the container's own."""


class ContainerCreate:
    """The body of one create request, in docker's form or in podman's own (libpod)."""

    def __init__(self, body: bytes, *, libpod: bool = False) -> None:
        """Parse the body. Raises UnreadableBody."""
        self.fields = parse_object(body)
        self.libpod = libpod
        self._body = body
        self._changed = False
        self.originals: dict[str, str | None] = {}
        """The variables that were changed, with the values before; None: there was none."""
        self._mounts_configuration = own_configuration.mounts_configuration(self.fields)
        self._env = _EnvMap(self) if libpod else _EnvList(self)

    @property
    def body(self) -> bytes:
        """The body for the engine."""
        return self.render()

    def render(self) -> bytes:
        """Return the body for the engine: the client's own bytes, if nothing was changed."""
        return serialize(self.fields) if self._changed else self._body

    @property
    def image(self) -> str | None:
        """The image's name."""
        name: str | None = self.fields.get_field("image", str)
        return name

    @property
    def container(self) -> Container:
        """The facts that the rules for containers compare."""
        labels = self.fields.get_field("labels", dict) or {}
        known = {str(name): str(value) for name, value in labels.items() if value is not None}
        return Container(self.image, known, self._shares_network)

    @property
    def _shares_network(self) -> bool:
        if self.libpod:
            space = self.fields.get_field("netns", dict)
            kind = space.get_field("nsmode", str) if space is not None else None
            in_pod = bool(self.fields.get_field("pod", str))
            return in_pod or (kind or "default") not in _OWN_NAMESPACES
        # Docker 20.10 and 26.1 read the fields of HostConfig at the top, too.
        configs = (self.fields.get_field("HostConfig", dict), self.fields)
        modes = [one.get_field("NetworkMode", str) or "" for one in configs if one is not None]
        return any(mode.partition(":")[0] in _SHARED_NETWORKS for mode in modes)

    def accepts(self, variables: CredentialVariables) -> bool:
        """Return whether this body sets no credentials of its own. Its image may still do so."""
        env = self._env.read()
        return (
            env is not None and variables.find_own(variables.forget_minted(env)) < Own.CREDENTIALS
        )

    def replace_binds(self, find_replacement: Callable[[str], str | None]) -> None:
        """Mount what `find_replacement` returns for each bind's source; None keeps the source."""
        for bind in find_binds(self.fields):
            new = find_replacement(bind.source)
            if new is not None and new != bind.source:
                bind.set_source(new)
                self._changed = True

    def add_variables(
        self, variables: CredentialVariables, image_env: Sequence[object] = ()
    ) -> str | None:
        """Add the variables that neither the container nor its image (`image_env`) sets.

        Returns the path that was minted for the container, if one was. The path is a secret.
        `originals` names the variables afterwards.
        """
        env = self._env.read()
        if env is None:
            return None  # the engine reports the error
        env = {**credential_variables.read_image_env(image_env), **variables.forget_minted(env)}
        if (own := variables.find_own(env)) is Own.CREDENTIALS:
            return None
        if self._mounts_configuration:
            own = Own.CONFIGURATION
        path = None if env.get(RELATIVE_URI) else variables.mint_path(self.container)
        selected = variables.select(env, path, own)
        unset = credential_variables.find_misread(env)
        self._env.add(selected, unset)
        self.originals = {name: env.get(name) for name in (*selected, *unset)}
        self._changed = True
        return path


class _EnvList:
    """Docker's `Env`: a list of `NAME=value` and bare `NAME`."""

    def __init__(self, create: ContainerCreate) -> None:
        self._fields = create.fields

    def _list(self) -> list[object] | None:
        key = self._fields.find_key("Env")
        value = self._fields[key] if key is not None else None
        return value if isinstance(value, list) else [] if value is None else None

    def read(self) -> dict[str, str | None] | None:
        """Return the variables; the value None unsets one. None: `Env` is not a list."""
        entries = self._list()
        return None if entries is None else credential_variables.parse_env(entries)

    def add(self, added: dict[str, str], unset: list[str]) -> None:
        """Set or unset these variables; the others stay where they are."""
        entries = credential_variables.merge_env(self._list() or [], added, unset)
        self._fields.set_field("Env", entries)


class _EnvMap:
    """Libpod's `env`: an object. Libpod's `unsetenv` lists the variables to unset."""

    def __init__(self, create: ContainerCreate) -> None:
        self._fields = create.fields

    def read(self) -> dict[str, str | None] | None:
        """Return the variables; the value None unsets one. None: `env` is not an object."""
        key = self._fields.find_key("env")
        value = self._fields[key] if key is not None else None
        if not isinstance(value, dict | None):
            return None
        unset = self._fields.get_field("unsetenv", list) or []
        env = {name: None if text is None else str(text) for name, text in (value or {}).items()}
        return {**dict.fromkeys(map(str, unset)), **env}

    def add(self, added: dict[str, str], unset: list[str]) -> None:
        """Set or unset these variables; the others stay where they are."""
        env = self._fields.get_field("env", dict) or {}
        listed = self._fields.get_field("unsetenv", list) or []
        bare = [name for name in unset if name not in added]
        kept = {name: value for name, value in env.items() if name not in bare}
        self._fields.set_field("env", {**kept, **added})
        changed = [name for name in listed if name not in added]
        changed += [name for name in bare if name not in listed]
        if changed != listed:
            self._fields.set_field("unsetenv", changed)
