"""Check that the names of what a life connects to have addresses."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sidecar.errors import SettingsError
from sidecar.examination.finding import Finding, failed, ok
from sidecar.net.proxy import find_proxy

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sidecar.examination.surroundings import Surroundings

RESOLVER = Path("/etc/resolv.conf")


async def check(setup: Surroundings) -> list[Finding]:
    """Look up each name: a proxy's own, where one is between."""
    names = sorted({*_list_names(await setup.list_urls())})
    if not names:
        return [ok("no name has to be looked up")]
    timeout = setup.patience.request
    reasons = await asyncio.gather(*(_look_up(name, timeout) for name in names))
    wrong = [(name, reason) for name, reason in zip(names, reasons, strict=True) if reason]
    if not wrong:
        return [ok(f"{len(names)} names have addresses: {', '.join(names)}")]
    return [failed(f"cannot look up {name}: {reason}", _advise()) for name, reason in wrong]


def _list_names(urls: Iterable[str]) -> Iterable[str]:
    for url in urls:
        try:
            name = urlsplit(find_proxy(url).get("proxy", url)).hostname or ""
        except SettingsError:  # the line proxy tells it
            continue
        with suppress(ValueError):
            ip_address(name)
            continue
        if name:
            yield name


async def _look_up(name: str, timeout: float) -> str:
    """Return why a name has no address; "" if it has one."""
    try:
        async with asyncio.timeout(timeout):
            await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except TimeoutError:
        return f"no answer within {timeout:g} s"
    except OSError as error:
        return (error.strerror or str(error)).lower()
    return ""


def _advise() -> str:
    return (
        "correct the name; else let the VPC resolve names (enableDnsSupport, DHCP options), or "
        f"open the way to the name servers{_list_servers()}"
    )


def _list_servers() -> str:
    """Name the servers that this container asks, as far as they are told."""
    try:
        lines = RESOLVER.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    found = [line.split()[1] for line in lines if line.startswith("nameserver ")]
    return f" ({', '.join(found)})" if found else ""
