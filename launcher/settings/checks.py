"""Check the values of the launcher's settings, one function for each kind of value."""

from __future__ import annotations

import re

from launcher.identity import LONGEST_PREFIX
from sidecar import values

SCOPES = ("repository", "organization")
ENTERPRISE = "enterprise:"
SOURCES = ("ssm:", "families:")
UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
"""Seconds of each unit of time."""


def parse_names(value: object) -> object:
    """Read names, separated by commas or as a list in JSON; each is kept once, in order."""
    if not isinstance(value, str):
        return value
    return tuple(dict.fromkeys(values.split_list(value)))


def parse_seconds(value: object) -> object:
    """Read a time: seconds, or a number with a unit behind it, as 5m."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd]?)", value) if isinstance(value, str) else None
    if isinstance(value, str) and not found:
        message = "must be seconds, or a number with s, m, h or d behind it"
        raise ValueError(message)
    return float(found[1]) * UNITS[found[2]] if found else value


def _match(value: str, pattern: str, message: str) -> str:
    """Return the value if the pattern matches all of it; else raise ValueError."""
    if not re.fullmatch(pattern, value):
        raise ValueError(message)
    return value


def check_name(value: str) -> str:
    """Check a name of AWS's, or its ARN."""
    return _match(value, r"[A-Za-z0-9_:/.-]{1,2048}", "must be a name or an ARN")


def check_template(value: str) -> str:
    """Check a launch template: its id or its name."""
    return _match(
        value, r"[A-Za-z0-9().\-/_]{3,128}", "must be the id or the name of a launch template"
    )


def check_version(value: str) -> str:
    """Check the version of a launch template."""
    return _match(value, r"\d{1,9}|\$Default|\$Latest", "must be a number, $Default or $Latest")


def check_image(value: str) -> str:
    """Check the image of a machine."""
    return _match(
        value, r"ami-[0-9a-f]{8,17}", "must be the id of an image, such as ami-0123456789abcdef0"
    )


def check_tag(value: str) -> str:
    """Check the value of a tag."""
    return _match(
        value, r"[\w .:/=+@-]{1,256}", "must be 1 to 256 letters, digits, spaces or . : / = + - @ _"
    )


def check_deployment(value: str) -> str:
    """Check the name of this deployment: it becomes a tag."""
    return _match(value, r"[A-Za-z0-9_-]{1,64}", "must be 1 to 64 letters, digits, '_' or '-'")


def check_parameter_prefix(value: str) -> str:
    """Check the path of the token parameters; return it without a last slash."""
    if not re.fullmatch(r"(/[A-Za-z0-9_.-]{1,100}){1,10}/?", value):
        message = "must be a path of SSM parameters that begins with '/'"
        raise ValueError(message)
    return value.rstrip("/")


def check_parameter_paths(paths: tuple[str, ...]) -> tuple[str, ...]:
    """Check paths of parameters; return them without a last slash."""
    return tuple(check_parameter_prefix(path) for path in paths)


def check_others_names(prefixes: tuple[str, ...]) -> tuple[str, ...]:
    """Check how runners' names begin: long enough to be nobody else's."""
    for prefix in prefixes:
        _match(prefix, r"[A-Za-z0-9_.-]{3,64}", "must be beginnings of names, 3 to 64 characters")
    return prefixes


def check_tags(tags: tuple[str, ...]) -> tuple[str, ...]:
    """Check tags: each a key and a value with '=' between them."""
    for tag in tags:
        pattern = r"[\w.:/+@-][\w .:/+@-]{0,127}=[\w.:/+@-][\w .:/=+@-]{0,255}"
        _match(tag, pattern, "must be tags, as key=value, with commas between them")
    return tags


def check_name_prefix(value: str) -> str:
    """Check the prefix of the runners' names; the task's id follows it."""
    if len(value) > LONGEST_PREFIX:
        message = f"must leave room for the task's id: {LONGEST_PREFIX} at most"
        raise ValueError(message)
    return values.check_runner_name(value)


def check_queue_url(value: str) -> str:
    """Check the URL of an SQS queue."""
    if not re.fullmatch(r"https?://[^/\s]+/\S+", value):
        message = "must be the URL of an SQS queue"
        raise ValueError(message)
    if value.endswith(".fifo"):
        message = "must be a standard queue: one that is first in, first out has no delay"
        raise ValueError(message)
    return value


def check_pools(value: str) -> str:
    """Check where the pools are: a path, `ssm:` and names, or `families:` and a prefix."""
    kind = next((source for source in SOURCES if value.startswith(source)), "")
    names = value.removeprefix(kind).split("+")
    if kind == "ssm:" and not all(re.fullmatch(r"[\w./-]{1,1011}", name) for name in names):
        message = "must be ssm: and the name of a parameter, or several with '+' between them"
        raise ValueError(message)
    if kind == "families:" and not re.fullmatch(r"[A-Za-z0-9_-]{1,200}", names[0]):
        message = "must be families: and how the families of the task definitions begin"
        raise ValueError(message)
    return value


def check_scope(value: str) -> str:
    """Check where runners are registered."""
    enterprise = re.fullmatch(ENTERPRISE + r"[A-Za-z0-9_.-]{1,100}", value)
    if value.lower() in SCOPES:
        return value.lower()
    if not enterprise:
        message = f"must be {' or '.join(SCOPES)}, or {ENTERPRISE} and its slug"
        raise ValueError(message)
    return value


def check_github(value: str) -> str:
    """Check the URL of a GitHub, or of one scope of it; return it without a last slash."""
    try:
        return values.check_github_server(value)
    except ValueError:
        return values.check_github_url(value)


def check_allowed(names: tuple[str, ...]) -> tuple[str, ...]:
    """Check owners and repositories."""
    for name in names:
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,100}(/[A-Za-z0-9._-]{1,100})?", name):
            message = "must be owners, or repositories as owner/name, with commas between them"
            raise ValueError(message)
    return names


def check_repositories(names: tuple[str, ...]) -> tuple[str, ...]:
    """Check repositories by their whole names."""
    for name in names:
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,100}/[A-Za-z0-9._-]{1,100}", name):
            message = "must be repositories as owner/name, with commas between them"
            raise ValueError(message)
    return names


def check_listen(value: str) -> str:
    """Check an address to listen on: `host:port`, or `:port` for all interfaces."""
    found = re.fullmatch(r"(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]*):(\d{1,5})", value)
    if not found or int(found[2]) > 65_535:
        message = "must be host:port, or :port for all interfaces"
        raise ValueError(message)
    return value


def check_issuer(value: str) -> str:
    """Check the issuer of OIDC tokens: it is compared as it is, so it has no last slash."""
    host = r"https://[A-Za-z0-9.-]+(:\d{1,5})?|http://(127\.0\.0\.1|localhost)(:\d{1,5})?"
    message = "must be a URL that begins with https://, without a slash at its end"
    return _match(value, rf"({host})(/[A-Za-z0-9._~-]+)*", message)


def check_audience(value: str) -> str:
    """Check the audience of OIDC tokens."""
    return _match(value, r"[!-~]{1,255}", "must be 1 to 255 characters without spaces")


def check_webhook_url(value: str) -> str:
    """Check the payload URL of a webhook: it is compared as it is."""
    return _match(value, r"https?://[!-~]{1,500}", "must be the payload URL of a webhook")


def check_path(value: str) -> str:
    """Check the path of a URL."""
    return _match(value, r"(/[A-Za-z0-9._~-]+)+", "must be the path of a URL that begins with '/'")


def split_apps(ids: str, keys: str) -> list[tuple[str, str]]:
    """Split the ids of several Apps, and their keys in the same order, at the commas.

    A single App's key is taken as it is: a path may hold a comma. Raises ValueError.
    """
    if "," not in ids:
        return [(ids, keys)]
    parts = [[part.strip() for part in text.split(",")] for text in (ids, keys)]
    if len(parts[0]) != len(parts[1]) or not all(parts[0] + parts[1]):
        message = f"names {len(parts[0])} Apps, and LAUNCHER_GITHUB_APP_KEY {len(parts[1])} keys"
        raise ValueError(message)
    return list(zip(*parts, strict=True))
