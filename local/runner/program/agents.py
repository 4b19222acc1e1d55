"""A runner as its registration describes it."""

from typing import Any, Optional

from . import codes, system
from .arguments import Arguments
from .system import host

_NO_LABELS = (
    "Disabling default labels via --no-default-labels without specifying --labels is not supported"
)
_LONGEST = 256

__all__ = ["agent", "authorization", "host"]


def agent(
    name: str, arguments: Arguments, key: dict[str, str], old: Optional[dict[str, Any]] = None
) -> dict[str, Any]:
    """Describe a runner that is to be added, or to replace `old`."""
    fresh = {"createdOn": "0001-01-01T00:00:00", "id": 0, "status": 0, "provisioningState": None}
    public = {"exponent": key["exponent"], "modulus": key["modulus"]}
    return {
        **(old or fresh),
        "labels": _labels(arguments),
        "maxParallelism": 1,
        "authorization": {"publicKey": public},
        "name": name,
        "version": codes.VERSION,
        "osDescription": system.description(),
        "ephemeral": arguments.flag("ephemeral"),
        "disableUpdate": arguments.flag("disableupdate"),
    }


def _labels(arguments: Arguments) -> list[dict[str, Any]]:
    own = [label.strip() for label in arguments.option("labels").split(",")]
    own = list(dict.fromkeys(label for label in own if label))
    if any(len(label) > _LONGEST for label in own):
        own = []  # one that is too long drops them all, without a word
    defaults = ["self-hosted", system.name(), system.architecture()]
    if arguments.flag("no-default-labels"):
        if not own:
            raise codes.TerminatedError(_NO_LABELS)
        defaults = []
    kinds = [*((name, "system") for name in defaults), *((name, "user") for name in own)]
    return [{"id": 0, "name": name, "type": kind} for name, kind in kinds]


def authorization(given: dict[str, Any]) -> tuple[dict[str, str], str, bool]:
    """Read what a registration gave: the credential's data, the broker's URL, `useV2Flow`."""
    granted = given["authorization"]
    if "client_id" in granted:  # the admin flow
        data = {"clientId": granted["client_id"], "authorizationUrl": granted["authorization_url"]}
        return data, str(granted["server_url"]), True
    data = {"clientId": granted["clientId"], "authorizationUrl": granted["authorizationUrl"]}
    more = {name: each["$value"] for name, each in given.get("properties", {}).items()}
    return data, str(more.get("ServerUrlV2", "")), bool(more.get("UseV2Flow"))
