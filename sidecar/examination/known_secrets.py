"""Register every secret of the environment, so that no line can show it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sidecar.aws.references import parse_reference
from sidecar.log import masks
from sidecar.net import proxy

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

OF_AWS = {
    "AWS_ACCESS_KEY_ID",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
}
"""Variables whose whole value is a secret, unless it says where one is."""
_LIKELY = re.compile(r"TOKEN|SECRET|PASSWORD|PRIVATE_?KEY|CREDENTIAL", re.IGNORECASE)


def hide_all(environ: Mapping[str, str], own: Iterable[str]) -> None:
    """Keep every secret of the environment out of all that is printed from now on.

    `own` are the names of the program's own variables that hold secrets, or say where one is.
    Other programs' secrets are known by the names of their variables.
    """
    secret = {*own, *OF_AWS}
    proxy.clean(environ)  # which masks what is in front of a proxy's host
    for name, given in environ.items():
        value = given.strip()
        if name in secret and not _is_reference(value):
            masks.hide(value)
        elif name == "AWS_CONTAINER_CREDENTIALS_FULL_URI":
            masks.hide(urlsplit(value).path)
        elif _LIKELY.search(name) and masks.has_secret_format(value):
            masks.hide(value)


def _is_reference(value: str) -> bool:
    """Return whether a value says where a secret is."""
    try:
        return bool(parse_reference(value).kind)
    except ValueError:
        return False
