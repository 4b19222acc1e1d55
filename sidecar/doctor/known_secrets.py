"""Register every secret of the environment, so that no line can show it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sidecar.log import masks
from sidecar.settings.model import SECRETS, variable

if TYPE_CHECKING:
    from collections.abc import Mapping

SECRET = {
    *map(variable, (*SECRETS, "token_key")),
    "AWS_ACCESS_KEY_ID",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
}
"""Variables whose whole value is a secret, unless it says where one is."""
_REFERENCE = re.compile(r"(file|ssm|secretsmanager):")
_LIKELY = re.compile(r"TOKEN|SECRET|PASSWORD|PRIVATE_?KEY|CREDENTIAL", re.IGNORECASE)


def hide_all(environ: Mapping[str, str]) -> None:
    """Keep every secret of the environment out of all that is printed from now on.

    Other programs' secrets are known by the names of their variables.
    """
    for name, given in environ.items():
        value = given.strip()
        if name in SECRET and not _REFERENCE.match(value):
            masks.hide(value)
        elif name == "AWS_CONTAINER_CREDENTIALS_FULL_URI":
            masks.hide(urlsplit(value).path)
        elif name.lower().endswith("_proxy"):
            _hide_password(value)
        elif _LIKELY.search(name) and masks.has_secret_format(value):
            masks.hide(value)


def _hide_password(url: str) -> None:
    user, found, _ = url.rpartition("@")
    if found:
        masks.hide(user.rpartition("//")[2])
        masks.hide(user.rpartition(":")[2])
