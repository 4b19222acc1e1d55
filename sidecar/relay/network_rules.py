"""The rules that send requests for credentials to the relay, and not the agent's own.

Everything in this network namespace that connects to the ECS agent's address, or to the
instance's metadata, reaches the relay instead, but for sockets with the agent's mark. Where a
docker daemon lives in the namespace the same holds for what comes in from its networks, those of
later included: everything is caught that does not come in by an interface of the task's own.

The rules stand in chains (iptables) or tables (nft) of their own, go up and down as a whole, and
what a killed predecessor left is replaced.

They must never stand in a network namespace that is not the task's: in the network mode `host`
they would catch the instance and all its tasks.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import aiohttp
import structlog

from sidecar import host
from sidecar.errors import RunnerError
from sidecar.process import Command, running
from sidecar.relay.routes import ECS_AGENT, IMDS, is_own, task_interfaces

if TYPE_CHECKING:
    import socket

    from sidecar.relay import Relay

log = structlog.get_logger()

RELAY_ADDRESS = "169.254.170.23"
"""Where the relay listens for containers: an address that no network of theirs can have."""
CHAIN = "ECS_RUNNER_SIDECAR"
TABLE = "ecs_runner_sidecar"
OWN_NAMESPACES = frozenset({"awsvpc", "bridge"})
"""Network modes (task metadata, `NetworkMode`) in which the namespace is the task's own."""

_IMDS6 = "fd00:ec2::254"
_CAUGHT = (ECS_AGENT, IMDS)
_PATH = "/usr/sbin:/sbin:/usr/bin:/bin:/usr/local/sbin:/usr/local/bin"
_TIMEOUT = 5.0
_PROBE = aiohttp.ClientTimeout(total=2.0)


class RulesUnavailable(Exception):
    """The rules cannot stand; the text says why."""


class _Failed(Exception):
    """One tool did not do it."""


class Target(NamedTuple):
    """Where the rules lead, and from where."""

    host: str
    port: int
    outside: tuple[str, ...] | None = None
    """The task's own interfaces, where all else is caught that comes in; None: nothing is."""


def obstacle(network_modes: frozenset[str]) -> str | None:
    """Say why no rules may, or could, stand here; None if they may."""
    if not network_modes:
        return "the task metadata does not tell the network mode"
    if not network_modes <= OWN_NAMESPACES:
        modes = ", ".join(sorted(network_modes))
        return f"the network namespace is not the task's own (mode {modes})"
    if not host.may_filter():
        return "the agent is not root, or lacks NET_ADMIN (linuxParameters)"
    return None


async def cleared(network_modes: frozenset[str]) -> None:
    """Remove what an agent left that was killed, where none will be put in its place.

    Its address on `lo` tells, so that no tool is run where there is nothing; a living agent's
    stands as well, and is left alone.
    """
    if obstacle(network_modes) is not None or not is_own(RELAY_ADDRESS):
        return
    claim = host.claim_network()
    if claim is None:
        return
    with claim:
        failures = []
        for tool in (Iptables(), Nft()):
            try:
                await tool.take_down()
            except _Failed as failed:
                failures.append(f"{tool.name}: {failed}")
        if len(failures) < 2:  # an image may have only one of them
            with suppress(OSError):
                host.let_address_go(RELAY_ADDRESS)
        log.warning("network.leftovers_removed", failures=failures)


class Redirect:
    """The rules, and the address that they lead to."""

    def __init__(self, network_modes: frozenset[str], *, containers: bool = False) -> None:
        self.interfaces = task_interfaces() if containers else None
        """The task's own interfaces, where what comes in by others is caught."""
        self._network_modes = network_modes
        self._tool: Iptables | Nft | None = None
        self._claim: socket.socket | None = None
        self._holds = False

    def prepare(self) -> None:
        """See that the rules may stand, and hold the relay's address. Raises Unredirected."""
        if (why := obstacle(self._network_modes)) is not None:
            raise RulesUnavailable(why)
        self._claim = host.claim_network()
        if self._claim is None:
            raise RulesUnavailable("another agent lives in this network namespace")
        if self.interfaces is not None:
            try:
                self._holds = True  # before: it could stand although the answer was lost
                host.hold_address(RELAY_ADDRESS)
            except OSError as error:
                why = f"cannot add {RELAY_ADDRESS} to lo: {error.strerror or error}"
                raise RulesUnavailable(why) from error

    async def put_up(self, relay: Relay) -> None:
        """Put the rules up and see that they work. Raises Unredirected, and then none is up."""
        if not isinstance(ip_address(relay.host), IPv4Address):
            raise RulesUnavailable("the relay listens by IPv6 (SIDECAR_RELAY_ADDRESS)")
        target = Target(relay.host, relay.port, self.interfaces)
        failures = []
        for tool in (Iptables(), Nft()):
            try:
                self._tool = tool  # before: the half of it would have to go as well
                await tool.put_up(target)
                await _seen(relay)
            except _Failed as failed:
                failures.append(f"{tool.name}: {failed}")
                await self._cleared(tool)
            else:
                await self._refuse_ipv6(tool)
                log.info(
                    "network.rules_added",
                    tool=tool.name,
                    addresses=_CAUGHT,
                    to=f"{relay.host}:{relay.port}",
                    outside=self.interfaces,
                )
                return
        raise RulesUnavailable("; ".join(failures))

    async def _refuse_ipv6(self, tool: Iptables | Nft) -> None:
        """Let the instance's metadata not be had by IPv6 either, where containers may have it."""
        if self.interfaces is None or not _has_ipv6():
            return
        try:
            await tool.refuse_ipv6()
        except _Failed as failed:
            log.warning(
                "network.ipv6_unprotected", tool=tool.name, address=_IMDS6, reason=str(failed)
            )

    async def _cleared(self, tool: Iptables | Nft) -> None:
        try:
            await tool.take_down()
        except _Failed as failed:
            log.debug("network.removal_failed", tool=tool.name, reason=str(failed))
        self._tool = None

    async def take_down(self) -> None:
        """Take all down that is up. Raises Unredirected with what stands still."""
        if self._tool is not None:
            try:
                await self._tool.take_down()
            except _Failed as failed:
                why = f"cannot remove the rules by {self._tool.name}: {failed}"
                raise RulesUnavailable(why) from failed
            self._tool = None
            log.info("network.rules_removed")
        if self._holds:
            try:
                host.let_address_go(RELAY_ADDRESS)
            except OSError as error:
                why = f"cannot take {RELAY_ADDRESS} off lo: {error.strerror or error}"
                raise RulesUnavailable(why) from error
            self._holds = False
        if self._claim is not None:
            self._claim.close()
            self._claim = None


async def _seen(relay: Relay) -> None:
    """Connect as a job would, without the mark, and see that it is the relay who answers."""
    url = f"http://{ECS_AGENT}{relay.relative_uri}"
    try:
        async with (
            aiohttp.ClientSession(timeout=_PROBE, trust_env=False) as session,
            session.get(url, allow_redirects=False) as answer,
        ):
            # The relay is warm or not yet; the ECS agent would know no such path.
            if answer.status not in (200, 503):
                raise _Failed("the rules are up, yet a job would reach the ECS agent")
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise _Failed(f"the rules are up, yet lead nowhere: {type(error).__name__}") from error


def _has_ipv6() -> bool:
    try:
        return bool(Path("/proc/thread-self/net/if_inet6").read_text(encoding="ascii").strip())
    except OSError:
        return False


class Iptables:
    """Chains of our own in the tables `nat` and `filter`, and jumps to them from the built-in."""

    name = "iptables"

    async def put_up(self, target: Target) -> None:
        """Replace whatever stands of ours; each table in one go, the guard first."""
        await _restored("iptables", await self._filter(target) + await self._nat(target))

    async def _nat(self, target: Target) -> list[str]:
        caught = [f"-d {address}/32 -p tcp -m tcp --dport 80" for address in _CAUGHT]
        mark = f"-m mark ! --mark {host.AGENT_MARK:#x}"
        rules = [f"-I OUTPUT 1 {what} {mark} -j {CHAIN}" for what in caught]
        if target.outside is not None:
            rules += [f"-A {CHAIN} -i {name} -j RETURN" for name in target.outside]
            rules += [f"-I PREROUTING 1 {what} -j {CHAIN}" for what in caught]
        last = f"-A {CHAIN} -p tcp -j DNAT --to-destination {target.host}:{target.port}"
        return await self._table("nat", *rules, last)

    async def _filter(self, target: Target) -> list[str]:
        """Keep neighbours from the relay's address: Linux answers it on every interface."""
        if target.outside is None:
            return await self._gone("filter")
        drops = [f"-A {CHAIN} -i {name} -j DROP" for name in target.outside]
        jump = f"-I INPUT 1 -d {target.host}/32 -j {CHAIN}"
        return await self._table("filter", *drops, jump)

    async def refuse_ipv6(self) -> None:
        """Answer connections to the instance's IPv6 metadata with a reset."""
        what = f"-d {_IMDS6}/128 -p tcp -m tcp --dport 80"
        refused = await self._table(
            "filter",
            f"-A {CHAIN} -p tcp -j REJECT --reject-with tcp-reset",
            f"-I FORWARD 1 {what} -j {CHAIN}",
            f"-I OUTPUT 1 {what} -m mark ! --mark {host.AGENT_MARK:#x} -j {CHAIN}",
            tool="ip6tables",
        )
        await _restored("ip6tables", refused)

    async def take_down(self) -> None:
        """Remove whatever stands of ours; each table in one go, what leads to the relay first."""
        await _restored("iptables", await self._gone("nat") + await self._gone("filter"))
        if _has_ipv6():
            try:
                gone = await self._gone("filter", tool="ip6tables")
            except _Failed:
                return  # without the tool nothing of it can have been put up
            await _restored("ip6tables", gone)

    async def _table(self, table: str, *rules: str, tool: str = "iptables") -> list[str]:
        gone = await self._jumps_gone(table, tool)
        return [f"*{table}", f":{CHAIN} - [0:0]", *gone, *rules, "COMMIT"]

    async def _gone(self, table: str, tool: str = "iptables") -> list[str]:
        return await self._table(table, f"-X {CHAIN}", tool=tool)

    async def _jumps_gone(self, table: str, tool: str) -> list[str]:
        listed = await _ran(tool, "-w", "3", "-t", table, "-S")
        ours = [line for line in listed if line.endswith(f"-j {CHAIN}")]
        return ["-D" + line.removeprefix("-A") for line in ours]


async def _restored(tool: str, lines: list[str]) -> None:
    """Hand lines to `<tool>-restore`; a chain that is named is made, or emptied.

    By standard input, which a child of the agent does not have: each table is all or nothing
    that way.
    """
    script = f'printf "%s\\n" "$1" | {tool}-restore -w 3 --noflush'
    await _ran("sh", "-c", script, f"{tool}-restore", "\n".join(lines))


class Nft:
    """Tables of our own, asked just before the place of everybody else's."""

    name = "nft"
    _caught = f"ip daddr {{ {', '.join(_CAUGHT)} }} tcp dport 80"
    _unmarked = f"meta mark != {host.AGENT_MARK:#x}"

    async def put_up(self, target: Target) -> None:
        """Replace whatever stands of ours; in one go."""
        there = f"dnat to {target.host}:{target.port}"
        script = [
            *self._emptied("ip"),
            f"add chain ip {TABLE} output {{ type nat hook output priority -101; }}",
            f"add rule ip {TABLE} output {self._caught} {self._unmarked} {there}",
        ]
        if target.outside is not None:
            names = ", ".join(f'"{name}"' for name in target.outside)
            inside = f"iifname != {{ {names} }} " if names else ""
            script += [
                f"add chain ip {TABLE} prerouting {{ type nat hook prerouting priority -101; }}",
                f"add rule ip {TABLE} prerouting {inside}{self._caught} {there}",
            ]
            if names:
                script += [
                    f"add chain ip {TABLE} input {{ type filter hook input priority -1; }}",
                    f"add rule ip {TABLE} input ip daddr {target.host} iifname {{ {names} }} drop",
                ]
        await _ran("nft", "; ".join(script))

    async def refuse_ipv6(self) -> None:
        """Answer connections to the instance's IPv6 metadata with a reset."""
        refused = f"ip6 daddr {_IMDS6} tcp dport 80 {self._unmarked} reject with tcp reset"
        script = self._emptied("ip6")
        for hook in ("forward", "output"):
            script += [
                f"add chain ip6 {TABLE} {hook} {{ type filter hook {hook} priority -1; }}",
                f"add rule ip6 {TABLE} {hook} {refused}",
            ]
        await _ran("nft", "; ".join(script))

    async def take_down(self) -> None:
        """Remove whatever stands of ours; in one go for each family."""
        for family in ("ip", "ip6"):
            *gone, _ = self._emptied(family)
            await _ran("nft", "; ".join(gone))

    @staticmethod
    def _emptied(family: str) -> list[str]:
        # Adding what is there already is no error, so that it can be removed in any case.
        table = f"table {family} {TABLE}"
        return [f"add {table}", f"delete {table}", f"add {table}"]


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
