"""Check that every host of GitHub answers that a runner needs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sidecar.doctor.github_hosts import Host, list_hosts
from sidecar.examination.finding import Finding, failed, ok, unknown, warning
from sidecar.examination.probe import NoAnswer
from sidecar.examination.reach import OPEN_WAY

if TYPE_CHECKING:
    from sidecar.doctor.setup import Setup


async def check(setup: Setup) -> list[Finding]:
    """Ask each host for anything; a host that answers at all can be reached."""
    url = await setup.find_github_url()
    if url is None:
        return [unknown("nothing says yet whose hosts are needed", "set SIDECAR_GITHUB_URL")]
    hosts = list_hosts(url)
    reasons = await asyncio.gather(*(_ask(setup, host) for host in hosts))
    found = [
        _judge(host, reason)
        for host, reason in zip(hosts, reasons, strict=True)
        if reason is not None
    ]
    answered = [host.name for host, reason in zip(hosts, reasons, strict=True) if reason is None]
    if answered:
        found.append(ok(f"they answer: {', '.join(dict.fromkeys(answered))}"))
    return found


async def _ask(setup: Setup, host: Host) -> NoAnswer | None:
    try:
        await setup.ask(host.url)
    except NoAnswer as error:
        return error
    return None


def _judge(host: Host, error: NoAnswer) -> Finding:
    text = f"no answer from {host.name} ({host.purpose}): {error}"
    return (failed if host.needed else warning)(text, OPEN_WAY[error.trouble])
