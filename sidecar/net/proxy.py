"""Read the variables that name an HTTP proxy: one reading of them, for all of the agent's calls.

A value is read as curl and botocore read it: without a scheme it is `http://`. aiohttp's own
`trust_env` reads `~/.netrc` too. Where agent and job are one user, a job can write there, and an
entry for GitHub's host makes every call with an Authorization header fail.

No library is given a URL with user and password in it, where it may be given them apart; and what
is in front of a proxy's host is masked in every event, because libraries quote what they fail at.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypedDict
from urllib.parse import quote, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from sidecar.errors import SettingsError
from sidecar.log.masks import SHORTEST, hide
from sidecar.values import strip_quotes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SCHEMES = ("http", "https")
"""The kinds of proxy that the agent's HTTP client knows."""
OWN = ("http_proxy", "https_proxy")
"""The variables that the agent reads itself, in lower case; either case is read."""
NO_PROXY = ("NO_PROXY", "no_proxy")
EVERY_HOST = "*"
"""The value of NO_PROXY that means every host; beside another entry it is no wildcard to many."""


class ProxyOptions(TypedDict, total=False):
    """The arguments of an aiohttp request that lead it through a proxy; none without one."""

    proxy: str
    proxy_headers: dict[str, str]


def find_proxy(url: str) -> ProxyOptions:
    """Return how to reach `url` through the proxy that the environment names for it, if any.

    Raises SettingsError, without a word of the value, for one that names no proxy.
    """
    proxy = _find(url)
    if proxy is None:
        return {}
    if not proxy.authorization:
        return {"proxy": proxy.url}
    if urlsplit(url).scheme == "https":  # the headers of the request that opens the tunnel
        return {
            "proxy": proxy.url,
            "proxy_headers": {"Proxy-Authorization": proxy.authorization},
        }
    return {"proxy": proxy.url.replace("://", f"://{proxy.userinfo}@", 1)}


def name_proxy(url: str) -> str | None:
    """Return the proxy by which `url` is reached, without user and password; None: by none."""
    try:
        proxy = _find(url)
    except SettingsError:
        return None
    return proxy.url if proxy is not None else None


def _find(url: str) -> Proxy | None:
    parts = urlsplit(url)
    if parts.hostname is None or proxy_bypass(parts.hostname):
        return None
    value = getproxies().get(parts.scheme)
    if not value:
        return None
    _hide_parts(value)
    try:
        return read_proxy(value)
    except ValueError as error:
        raise SettingsError(f"{parts.scheme.upper()}_PROXY {error}") from None


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy, and who the agent is there."""

    url: str
    """Scheme, host and port alone."""
    userinfo: str = field(default="", repr=False)
    """User and password as they stand in a URL; "" for none."""
    authorization: str = field(default="", repr=False)


def read_proxy(value: str) -> Proxy:
    """Read the value of a variable as curl does. Raises ValueError, without a word of the value."""
    scheme, userinfo, place = _split(value)
    if scheme not in SCHEMES:
        message = "must name a proxy by http:// or https://"
        raise ValueError(message)
    try:
        parts = urlsplit(f"{scheme}://{place}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or not place.isprintable() or " " in place:
        message = "must be the URL of a proxy: http://host:port"
        raise ValueError(message)
    shown = f"[{host}]" if ":" in host else host
    url = f"{scheme}://{shown}" if port is None else f"{scheme}://{shown}:{port}"
    if not userinfo:
        return Proxy(url)
    user, _, password = userinfo.partition(":")
    pair = f"{quote(unquote(user), safe='')}:{quote(unquote(password), safe='')}"
    return Proxy(url, pair, f"Basic {_encode(userinfo)}")


def clean(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the proxy variables of `environ` whose value is better written in another way.

    A scheme is added, one pair of quotes is removed, and where NO_PROXY and no_proxy differ each
    becomes both. What is in front of a proxy's host is masked in the log from then on.
    """
    changed = {}
    for name, value in environ.items():
        if name.lower() in NO_PROXY or not name.lower().endswith("_proxy") or not value.strip():
            continue
        changed[name] = _write(value)
        _hide_parts(value)
    changed |= _merge(environ)
    return {name: value for name, value in changed.items() if environ.get(name) != value}


def check(environ: Mapping[str, str]) -> list[str]:
    """Check the proxies that the agent itself uses; return a line for each that is none."""
    problems = []
    for name, value in environ.items():
        # The runner and jobs may use a proxy of another kind, which the agent may never need.
        if name.lower() in OWN and value.strip() and not _split(value)[0].startswith("socks"):
            try:
                read_proxy(value)
            except ValueError as error:
                problems.append(f"{name} {error} (example: {name}=http://proxy.example:3128)")
    return problems


def names_proxy(names: Iterable[str]) -> bool:
    """Return whether one of these variables names an HTTP proxy."""
    return any(name.lower() in (*OWN, "all_proxy") for name in names)


def is_proxy_variable(name: str) -> bool:
    """Return whether a variable names a proxy, or hosts that are reached without one."""
    return name.lower() in NO_PROXY or names_proxy([name])


def add_hosts(hosts: str, added: Iterable[str]) -> str:
    """Return a value of NO_PROXY with these hosts too; the one for every host stays alone."""
    if strip_quotes(hosts) == EVERY_HOST:
        return EVERY_HOST
    words = (word.strip() for word in strip_quotes(hosts).split(","))
    return ",".join(dict.fromkeys((*filter(None, words), *added)))


def read_hosts(environ: Mapping[str, str]) -> str:
    """Return the hosts of NO_PROXY and of no_proxy, each once: tools read one of them only."""
    values = [strip_quotes(environ[name]) for name in NO_PROXY if environ.get(name)]
    if EVERY_HOST in values:
        return EVERY_HOST
    return add_hosts(",".join(values), ())


def _merge(environ: Mapping[str, str]) -> dict[str, str]:
    """Return NO_PROXY and no_proxy where they differ, or have quotes."""
    given = {name: strip_quotes(environ[name]) for name in NO_PROXY if environ.get(name)}
    if len(set(given.values())) > 1:
        return dict.fromkeys(given, read_hosts(environ))
    return {name: value for name, value in given.items() if value != environ[name].strip()}


def _split(value: str) -> tuple[str, str, str]:
    """Return scheme, user with password, and host with port, as the text of a variable has them."""
    text = strip_quotes(value)
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = "http", text.removeprefix("//")
    userinfo, _, place = rest.rpartition("@")
    return scheme.lower(), userinfo, place.partition("/")[0]


def _write(value: str) -> str:
    text = strip_quotes(value)
    return text if not text or "://" in text else f"http://{text.removeprefix('//')}"


def _hide_parts(value: str) -> None:
    """Mask what is in front of the proxy's host, in all the forms that a library may quote."""
    _, userinfo, place = _split(value)
    if not userinfo:
        return
    user, _, password = userinfo.partition(":")
    parts = {userinfo, user, password, *map(unquote, (userinfo, user, password))} - {""}
    for part in parts:
        hide(part)
    if any(len(part) < SHORTEST for part in parts):  # too short to be masked alone
        for text in (userinfo, unquote(userinfo), password, unquote(password)):
            hide(f"{text}@{place}")
    hide(_encode(userinfo))


def _encode(userinfo: str) -> str:
    """Return user and password as basic authentication has them."""
    return base64.b64encode(unquote(userinfo).encode()).decode()
