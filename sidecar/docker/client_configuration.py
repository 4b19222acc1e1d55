"""Add ECR's credential helper to the configuration of docker's clients, which is the user's own.

Source: docker/cli, `cli/config/configfile/file.go`. For a registry in `credHelpers` a client asks
the program `docker-credential-<value>`, for any other one `credsStore` or `auths`. `credsStore` is
never set: it would send the logins of all registries to a helper that knows only ECR.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

FILE = "config.json"
HELPER = "ecr-login"
PROGRAM = f"docker-credential-{HELPER}"


class UnusableConfiguration(Exception):
    """The user's configuration is none that can be added to; the text says why."""


def add_helpers(
    content: bytes | None, registries: Iterable[str]
) -> tuple[dict[str, Any], list[str]]:
    """Return a configuration with ECR's helper for `registries`, and those that it was added for.

    `content` is the user's file, None for none. A registry that the user's file knows already,
    by a helper or by a login, is left as it is. Raises UnusableConfiguration.
    """
    document = _read(content)
    helpers, logins = _read_table(document, "credHelpers"), _read_table(document, "auths")
    known = {host_of(name) for name in (*helpers, *logins)}
    added = [registry for registry in registries if registry not in known]
    if added:
        document["credHelpers"] = {**helpers, **dict.fromkeys(added, HELPER)}
    return document, added


def host_of(name: str) -> str:
    """Return the host of a registry that may be written as a URL, as older clients did."""
    return name.strip().rpartition("://")[2].partition("/")[0]


def _read(content: bytes | None) -> dict[str, Any]:
    if content is None or not content.strip():
        return {}
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UnusableConfiguration("it is not JSON") from error
    if not isinstance(document, dict):
        raise UnusableConfiguration("it is not an object of JSON")
    return document


def _read_table(document: dict[str, Any], key: str) -> dict[str, Any]:
    table = document.get(key)
    if table is None:
        return {}
    if not isinstance(table, dict):
        raise UnusableConfiguration(f"its {key} are not an object of JSON")
    return table
