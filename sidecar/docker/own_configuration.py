"""Find out how much AWS configuration a container brings itself: that wins over the proxy's.

SDKs read the environment before a configuration file. So a region that the proxy sets would win
over the region of the container's profile, and a switch over the instance metadata that it names.
"""

from __future__ import annotations

import re
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from sidecar.docker.json_documents import JsonObject

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

RELATIVE_URI = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
CONTAINER_NAMES = frozenset(
    {
        RELATIVE_URI,
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    }
)
"""The names of an SDK's container provider."""
CREDENTIAL_NAMES = CONTAINER_NAMES | {
    "AWS_ACCESS_KEY_ID",
    "AWS_ACCESS_KEY",  # older SDKs of Java and Go
    # SDKs ask these later than a path, or do not agree on the order.
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT",
}
"""A container that gives one of these a value has credentials of its own."""
CONFIGURATION_NAMES = frozenset(
    {
        "AWS_PROFILE",
        "AWS_DEFAULT_PROFILE",
        "AWS_CONFIG_FILE",
        "AWS_SHARED_CREDENTIALS_FILE",
        "AWS_CREDENTIAL_FILE",
        "AWS_CREDENTIAL_PROFILES_FILE",  # Java
    }
)
"""A container that gives one of these a value has a configuration of its own."""
_TARGET = re.compile(r"(?:.*[/\\])?\.aws(?:[/\\](?:config|credentials))?[/\\]?")
"""A path in a container at which SDKs look for a configuration: in anyone's home folder."""
_BIND = re.compile(_TARGET.pattern + r"(?::[^:/\\]*)?")
"""The end of a bind in docker's form: a path in the container, and perhaps options."""


class Own(IntEnum):
    """The kinds of AWS configuration that a container brings itself."""

    NOTHING = 0
    CONFIGURATION = 1
    """Files: what they say of regions and sources must win. They may say nothing of credentials, or
    ask for those of the container, and then the path is needed."""
    CREDENTIALS = 2
    """It needs nothing of the proxy's, and a path might win over its own."""


def find_own(env: Mapping[str, str | None]) -> Own:
    """Return what the variables of a container bring; names without a value bring nothing."""
    if any(env.get(name) for name in CREDENTIAL_NAMES):
        return Own.CREDENTIALS
    if any(env.get(name) for name in CONFIGURATION_NAMES):
        return Own.CONFIGURATION
    return Own.NOTHING


def mounts_configuration(body: JsonObject) -> bool:
    """Return whether a create request mounts something where SDKs look for a configuration."""
    host_config = body.get_field("HostConfig", dict) or JsonObject([])
    for config in (host_config, body):
        binds = config.get_field("Binds", list) or ()
        if any(isinstance(bind, str) and _ends_at_configuration(bind) for bind in binds):
            return True
        mounts = config.get_field("Mounts", list) or ()
        if any(_TARGET.fullmatch(target) for target in _find_targets(mounts)):
            return True
    named = body.get_field("volumes", list) or ()  # podman's named volumes
    return any(_TARGET.fullmatch(target) for target in _find_targets(named))


def _ends_at_configuration(bind: str) -> bool:
    _, colon, rest = bind.partition(":")
    return bool(colon) and _BIND.fullmatch(rest) is not None


def _find_targets(mounts: list[Any] | tuple[()]) -> Iterator[str]:
    for mount in mounts:
        if isinstance(mount, JsonObject) and mount.get_field("Type", str) != "tmpfs":
            for name in ("Target", "Destination", "Dest"):
                target = mount.get_field(name, str)
                if target is not None:
                    yield target
