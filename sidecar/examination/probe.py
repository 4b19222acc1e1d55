"""Ask a server for anything, without a credential, and say in words why there is no answer."""

from __future__ import annotations

from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiohttp

from sidecar import __version__, host
from sidecar.errors import SettingsError
from sidecar.net.proxy import find_proxy
from sidecar.net.trust import ADVICE, explain_tls, make_context

if TYPE_CHECKING:
    from datetime import datetime


class Trouble(Enum):
    """The kinds of no answer: each is mended elsewhere."""

    NAME = auto()
    UNREACHABLE = auto()
    SILENT = auto()
    CERTIFICATE = auto()
    PROXY = auto()
    BROKEN = auto()
    """The connection was made, and what came by it is no answer."""


class NoAnswer(Exception):
    """There was no answer; the text says why."""

    def __init__(self, trouble: Trouble, reason: str) -> None:
        super().__init__(reason)
        self.trouble = trouble


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, of whatever status."""

    status: int
    date: datetime | None
    """The server's clock."""


async def ask(http: aiohttp.ClientSession, url: str, timeout: float) -> Answer:
    """Send `GET url`, by the environment's proxy and with its trust. Raises NoAnswer."""
    try:
        way = find_proxy(url)
    except SettingsError as error:
        raise NoAnswer(Trouble.PROXY, str(error)) from error
    proxy = way.get("proxy")
    try:
        async with http.get(
            url,
            headers={"User-Agent": f"ecs-runner-sidecar/{__version__}"},
            timeout=aiohttp.ClientTimeout(total=timeout),
            allow_redirects=False,
            ssl=make_context(),
            **way,
        ) as answer:
            return Answer(answer.status, _read_date(answer.headers.get("Date")))
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise _explain(error, proxy, timeout) from error


def show_proxy(proxy: str) -> str:
    """Return host and port of a proxy: its URL may hold a password."""
    try:
        parts = urlsplit(proxy if "//" in proxy else f"//{proxy}")
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "(no URL)"
    return f"{parts.hostname}{port}"


def _explain(error: Exception, proxy: str | None, timeout: float) -> NoAnswer:
    if proxy is not None and (found := _explain_proxy(error, show_proxy(proxy), timeout)):
        return found
    match error:
        case aiohttp.ClientConnectorDNSError():
            return NoAnswer(Trouble.NAME, "its name has no address")
        case aiohttp.ClientSSLError():
            reason = explain_tls(error) or "no TLS connection"
            # What to change has a place of its own in a finding.
            return NoAnswer(Trouble.CERTIFICATE, reason.removesuffix(f" ({ADVICE})"))
        case aiohttp.ClientConnectorError():
            return NoAnswer(Trouble.UNREACHABLE, host.explain_error(error.os_error))
        case TimeoutError():
            return NoAnswer(Trouble.SILENT, f"no answer within {timeout:g} s")
    return NoAnswer(Trouble.BROKEN, f"the connection broke ({type(error).__name__})")


def _explain_proxy(error: Exception, proxy: str, timeout: float) -> NoAnswer | None:
    """Explain what is the proxy's doing, or may be; None for what the server itself has done."""
    match error:
        case aiohttp.ClientHttpProxyError():
            text = f"the proxy {proxy} answers {error.status}"
        case aiohttp.ClientProxyConnectionError():
            text = f"the proxy {proxy}: {host.explain_error(error.os_error)}"
        case aiohttp.ClientSSLError():
            return None
        case TimeoutError():
            text = f"no answer within {timeout:g} s by the proxy {proxy}"
        case _:
            text = f"the connection by the proxy {proxy} broke ({type(error).__name__})"
    return NoAnswer(Trouble.PROXY, text)


def _read_date(text: str | None) -> datetime | None:
    try:
        return parsedate_to_datetime(text) if text else None
    except ValueError:
        return None
