"""The rule that sends a job's requests for credentials to the relay, and not the agent's own.

Everything in this network namespace that connects to the ECS agent's address reaches the relay
instead, but for sockets with the agent's mark. It stands in a chain (iptables) or a table (nft) of
its own, goes up and down as a whole, and what a killed predecessor left is replaced.

It must never stand in a network namespace that is not the task's: in the network mode `host` it
would catch the instance and all its tasks.
"""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import structlog

from sidecar import host
from sidecar.errors import RunnerError
from sidecar.process import Command, running

if TYPE_CHECKING:
    from sidecar.relay import Relay

log = structlog.get_logger()

ECS_AGENT = "169.254.170.2"
CHAIN = "ECS_RUNNER_SIDECAR"
TABLE = "ecs_runner_sidecar"
OWN_NAMESPACES = frozenset({"awsvpc", "bridge"})
"""Network modes (task metadata, `NetworkMode`) in which the namespace is the task's own."""

_PATH = "/usr/sbin:/sbin:/usr/bin:/bin:/usr/local/sbin:/usr/local/bin"
_TIMEOUT = 5.0
_PROBE = aiohttp.ClientTimeout(total=2.0)
# By standard input, which a child of the agent does not have: all or nothing is told that way.
_RESTORE = ("sh", "-c", 'printf %s "$1" | iptables-restore -w 3 --noflush', "iptables-restore")


class Unredirected(Exception):
    """The rule cannot stand; the text says why."""


class _Failed(Exception):
    """One tool did not do it."""


class Redirect:
    """The rule, once it is up."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._tool: Iptables | Nft | None = None

    def check(self, network_modes: frozenset[str]) -> None:
        """See whether the rule may, and could, stand here. Raises Unredirected."""
        if not host.may_filter():
            raise Unredirected("the agent is not root, or lacks NET_ADMIN (linuxParameters)")
        if not network_modes:
            raise Unredirected("the task metadata does not tell the network mode")
        if not network_modes <= OWN_NAMESPACES:
            modes = ", ".join(sorted(network_modes))
            raise Unredirected(f"the network namespace is not the task's own (mode {modes})")
        if not isinstance(ip_address(self._relay.host), IPv4Address):
            raise Unredirected("the relay listens by IPv6 (SIDECAR_RELAY_ADDRESS)")

    async def put_up(self) -> None:
        """Put the rule up and see that it works. Raises Unredirected, and then nothing is up."""
        failures = []
        for tool in (Iptables(), Nft()):
            try:
                self._tool = tool  # before: the half of it would have to go as well
                await tool.put_up(self._relay.host, self._relay.port)
                await self._seen()
            except _Failed as failed:
                failures.append(f"{tool.name}: {failed}")
                await self._cleared(tool)
            else:
                log.info("network.redirected", tool=tool.name, address=ECS_AGENT)
                return
        raise Unredirected("; ".join(failures))

    async def _cleared(self, tool: Iptables | Nft) -> None:
        try:
            await tool.take_down()
        except _Failed as failed:
            log.debug("network.uncleared", tool=tool.name, reason=str(failed))
        self._tool = None

    async def take_down(self) -> None:
        """Take the rule down, if it is up. Raises Unredirected with what stands still."""
        if self._tool is None:
            return
        try:
            await self._tool.take_down()
        except _Failed as failed:
            raise Unredirected(f"cannot remove the rule by {self._tool.name}: {failed}") from failed
        self._tool = None
        log.info("network.restored")

    async def _seen(self) -> None:
        """Connect as a job would, without the mark, and see that it is the relay who answers."""
        url = f"http://{ECS_AGENT}{self._relay.relative_uri}"
        try:
            async with (
                aiohttp.ClientSession(timeout=_PROBE, trust_env=False) as session,
                session.get(url, allow_redirects=False) as answer,
            ):
                # The relay is warm or not yet; the ECS agent would know no such path.
                if answer.status not in (200, 503):
                    raise _Failed("the rule is up, yet a job would reach the ECS agent")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _Failed(f"the rule is up, yet leads nowhere: {type(error).__name__}") from error


class Iptables:
    """A chain of our own in the table `nat`, and one jump to it from OUTPUT."""

    name = "iptables"

    async def put_up(self, relay: str, port: int) -> None:
        """Replace whatever stands of ours; in one go."""
        await self._restored(
            f":{CHAIN} - [0:0]",  # made, or emptied
            *await self._jumps_gone(),
            f"-A {CHAIN} -m mark --mark {host.AGENT_MARK:#x} -j RETURN",
            f"-A {CHAIN} -p tcp -j DNAT --to-destination {relay}:{port}",
            f"-I OUTPUT 1 -d {ECS_AGENT}/32 -p tcp -m tcp --dport 80 -j {CHAIN}",
        )

    async def take_down(self) -> None:
        """Remove whatever stands of ours; in one go."""
        await self._restored(f":{CHAIN} - [0:0]", *await self._jumps_gone(), f"-X {CHAIN}")

    async def _jumps_gone(self) -> list[str]:
        listed = await _ran("iptables", "-w", "3", "-t", "nat", "-S", "OUTPUT")
        ours = [line for line in listed if line.endswith(f"-j {CHAIN}")]
        return ["-D" + line.removeprefix("-A") for line in ours]

    async def _restored(self, *lines: str) -> None:
        await _ran(*_RESTORE, "\n".join(("*nat", *lines, "COMMIT", "")))


class Nft:
    """A table of our own, asked just before the place of everybody else's."""

    name = "nft"
    # Adding what is there already is no error, so that it can be removed in any case.
    _gone = f"add table ip {TABLE}; delete table ip {TABLE}"

    async def put_up(self, relay: str, port: int) -> None:
        """Replace whatever stands of ours; in one go."""
        await _ran(
            "nft",
            f"{self._gone}; add table ip {TABLE}; "
            f"add chain ip {TABLE} output {{ type nat hook output priority -101; }}; "
            f"add rule ip {TABLE} output ip daddr {ECS_AGENT} tcp dport 80 "
            f"meta mark != {host.AGENT_MARK:#x} dnat to {relay}:{port}",
        )

    async def take_down(self) -> None:
        """Remove whatever stands of ours; in one go."""
        await _ran("nft", self._gone)


async def _ran(*argv: str) -> list[str]:
    """Run a tool to its end; return the lines it printed. Raises _Failed."""
    lines: list[str] = []
    errors: list[str] = []

    def hear(stream: str, line: str) -> None:
        (lines if stream == "stdout" else errors).append(line)

    try:
        async with running(Command(argv, {"PATH": _PATH}, Path("/")), hear) as process:
            await asyncio.wait([process.ended], timeout=_TIMEOUT)
            code = process.ended.result() if process.ended.done() else None
            await process.heard_out()
    except RunnerError as error:
        raise _Failed(str(error)) from error
    if code is None:
        raise _Failed(f"{argv[0]} did not end within {_TIMEOUT:g} s")
    if code != 0:
        raise _Failed((errors or [f"exit code {code}"])[0][:200])
    return lines
