"""Add and remove the network rules that redirect requests for credentials to the relay.

A connection from this network namespace to the ECS agent's address or to the instance metadata
reaches the relay instead, unless its socket has the agent's mark (SO_MARK). If a docker daemon runs
in the namespace, so do connections from its networks, also from those that are made later: the
rules match every interface except the task's own.

The rules have their own chains (iptables) or tables (nft). They are added and removed as a whole,
and replace those of a killed agent.

They must never be added in a network namespace that is not the task's own: in the network mode
`host` they would redirect the instance and all its tasks.
"""

from __future__ import annotations

import asyncio
import shutil
from contextlib import suppress
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import aiohttp
import structlog

from sidecar import host
from sidecar.errors import RunnerError
from sidecar.net.deadlines import describe_failure
from sidecar.process import Command, run_child
from sidecar.relay.routes import ECS_AGENT, IMDS, is_own, task_interfaces

if TYPE_CHECKING:
    import socket

    from sidecar.relay.server import Relay

log = structlog.get_logger()

RELAY_ADDRESS = "169.254.170.23"
"""Where the relay listens for containers: no network of theirs can have this address."""
CHAIN = "ECS_RUNNER_SIDECAR"
TABLE = "ecs_runner_sidecar"
OWN_NAMESPACES = frozenset({"awsvpc", "bridge", "machine"})
"""Network modes (task metadata, `NetworkMode`) with a namespace that belongs to the task alone.

`machine`: a machine of EC2, which is there for this agent alone."""

_IMDS6 = "fd00:ec2::254"
_REDIRECTED = (ECS_AGENT, IMDS)
_PATH = "/usr/sbin:/sbin:/usr/bin:/bin:/usr/local/sbin:/usr/local/bin"
_TIMEOUT = 5.0
_PROBE = aiohttp.ClientTimeout(total=2.0)


class RulesUnavailable(Exception):
    """The rules cannot be added or removed; the text says why."""


class _ToolError(Exception):
    """One tool failed; the text says why."""


class Target(NamedTuple):
    """The relay's address that the rules redirect to, and from which interfaces."""

    host: str
    port: int
    outside: tuple[str, ...] | None = None
    """The task's own interfaces. Requests that come in by any other interface are redirected. None:
    only local requests are redirected."""


def obstacle(network_modes: frozenset[str]) -> str | None:
    """Return why rules are not allowed or not possible here; None if they are possible."""
    if not network_modes:
        return "the task metadata does not tell the network mode"
    if not network_modes <= OWN_NAMESPACES:
        modes = ", ".join(sorted(network_modes))
        return f"the network namespace is not the task's own (mode {modes})"
    if not host.may_filter():
        return "the agent is not root, or lacks NET_ADMIN (linuxParameters)"
    return None


def find_tools() -> list[str]:
    """Return the names of the tools that could add the rules here, and are installed."""
    return [tool.name for tool in (Iptables, Nft) if shutil.which(tool.name, path=_PATH)]


async def remove_leftovers(network_modes: frozenset[str]) -> None:
    """Remove the rules and the address of a killed agent, when no new ones will replace them.

    No tool is run unless the relay's address is on `lo`. The rules of a running agent stay.
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
                await tool.remove_rules()
            except _ToolError as failed:
                failures.append(f"{tool.name}: {failed}")
        if len(failures) < 2:  # an image may have only one of them
            with suppress(OSError):
                host.remove_loopback_address(RELAY_ADDRESS)
        log.warning("network.leftovers_removed", failures=failures)


class Redirect:
    """The network rules, and the relay's address that they redirect to."""

    def __init__(self, network_modes: frozenset[str], *, containers: bool = False) -> None:
        self.interfaces = task_interfaces() if containers else None
        """The task's own interfaces; see `Target.outside`."""
        self._network_modes = network_modes
        self._tool: Iptables | Nft | None = None
        self._claim: socket.socket | None = None
        self._has_address = False

    def prepare(self) -> None:
        """Check that rules are possible, and add the relay's address. Raises RulesUnavailable."""
        if (reason := obstacle(self._network_modes)) is not None:
            raise RulesUnavailable(reason)
        self._claim = host.claim_network()
        if self._claim is None:
            raise RulesUnavailable("another agent lives in this network namespace")
        if self.interfaces is not None:
            try:
                self._has_address = True  # set first: the address may be added although this fails
                host.add_loopback_address(RELAY_ADDRESS)
            except OSError as error:
                reason = f"cannot add {RELAY_ADDRESS} to lo: {error.strerror or error}"
                raise RulesUnavailable(reason) from error

    async def add_rules(self, relay: Relay) -> None:
        """Add the rules and test them. Raises RulesUnavailable; then there are no rules."""
        if not isinstance(ip_address(relay.host), IPv4Address):
            raise RulesUnavailable("the relay listens by IPv6 (SIDECAR_RELAY_ADDRESS)")
        target = Target(relay.host, relay.port, self.interfaces)
        failures = []
        for tool in (Iptables(), Nft()):
            try:
                self._tool = tool  # set first: rules that were added in part must be removed, too
                await tool.add_rules(target)
                await _check_redirected(relay)
            except _ToolError as failed:
                failures.append(f"{tool.name}: {failed}")
                await self._remove_failed(tool)
            else:
                await self._refuse_ipv6(tool)
                log.info(
                    "network.rules_added",
                    tool=tool.name,
                    addresses=_REDIRECTED,
                    to=f"{relay.host}:{relay.port}",
                    outside=self.interfaces,
                )
                return
        raise RulesUnavailable("; ".join(failures))

    async def _refuse_ipv6(self, tool: Iptables | Nft) -> None:
        """Block the instance metadata's IPv6 address: the relay does not listen there."""
        if not _has_ipv6():
            return
        try:
            await tool.refuse_ipv6()
        except _ToolError as failed:
            log.warning(
                "network.ipv6_unprotected", tool=tool.name, address=_IMDS6, reason=str(failed)
            )

    async def _remove_failed(self, tool: Iptables | Nft) -> None:
        try:
            await tool.remove_rules()
        except _ToolError as failed:
            log.debug("network.removal_failed", tool=tool.name, reason=str(failed))
        self._tool = None

    async def remove_rules(self) -> None:
        """Remove the rules and the address. Raises RulesUnavailable if one of them remains."""
        if self._tool is not None:
            try:
                await self._tool.remove_rules()
            except _ToolError as failed:
                reason = f"cannot remove the rules by {self._tool.name}: {failed}"
                raise RulesUnavailable(reason) from failed
            self._tool = None
            log.info("network.rules_removed")
        if self._has_address:
            try:
                host.remove_loopback_address(RELAY_ADDRESS)
            except OSError as error:
                reason = f"cannot remove {RELAY_ADDRESS} from lo: {error.strerror or error}"
                raise RulesUnavailable(reason) from error
            self._has_address = False
        if self._claim is not None:
            self._claim.close()
            self._claim = None


async def _check_redirected(relay: Relay) -> None:
    """Connect as a job would, without the mark. Raises _ToolError unless the relay answers."""
    url = f"http://{ECS_AGENT}{relay.relative_uri}"
    try:
        async with (
            aiohttp.ClientSession(timeout=_PROBE, trust_env=False) as session,
            session.get(url, allow_redirects=False) as answer,
        ):
            # 200 or, before the first fetch, 503; the ECS agent does not know this path.
            if answer.status not in (200, 503):
                raise _ToolError("the rules were added, but a job would reach the ECS agent")
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise _ToolError(
            f"the rules were added, but lead nowhere: {describe_failure(error, _PROBE)}"
        ) from error


def _has_ipv6() -> bool:
    try:
        return bool(Path("/proc/thread-self/net/if_inet6").read_text(encoding="ascii").strip())
    except OSError:
        return False


class Iptables:
    """Rules by iptables: own chains in the tables `nat` and `filter`, and jumps to them."""

    name = "iptables"

    async def add_rules(self, target: Target) -> None:
        """Replace the rules; each table in one transaction, the protecting `filter` first."""
        await _restore("iptables", await self._filter(target) + await self._nat(target))

    async def _nat(self, target: Target) -> list[str]:
        matches = [f"-d {address}/32 -p tcp -m tcp --dport 80" for address in _REDIRECTED]
        mark = f"-m mark ! --mark {host.AGENT_MARK:#x}"
        rules = [f"-I OUTPUT 1 {match} {mark} -j {CHAIN}" for match in matches]
        if target.outside is not None:
            rules += [f"-A {CHAIN} -i {name} -j RETURN" for name in target.outside]
            rules += [f"-I PREROUTING 1 {match} -j {CHAIN}" for match in matches]
        last = f"-A {CHAIN} -p tcp -j DNAT --to-destination {target.host}:{target.port}"
        return await self._table("nat", *rules, last)

    async def _filter(self, target: Target) -> list[str]:
        """Block the relay's address for neighbours: Linux accepts it on every interface."""
        if target.outside is None:
            return await self._removal("filter")
        drops = [f"-A {CHAIN} -i {name} -j DROP" for name in target.outside]
        jump = f"-I INPUT 1 -d {target.host}/32 -j {CHAIN}"
        return await self._table("filter", *drops, jump)

    async def refuse_ipv6(self) -> None:
        """Reset connections to the IPv6 address of the instance metadata."""
        match = f"-d {_IMDS6}/128 -p tcp -m tcp --dport 80"
        script = await self._table(
            "filter",
            f"-A {CHAIN} -p tcp -j REJECT --reject-with tcp-reset",
            f"-I FORWARD 1 {match} -j {CHAIN}",
            f"-I OUTPUT 1 {match} -m mark ! --mark {host.AGENT_MARK:#x} -j {CHAIN}",
            tool="ip6tables",
        )
        await _restore("ip6tables", script)

    async def remove_rules(self) -> None:
        """Remove the rules; each table in one transaction, the redirecting `nat` first."""
        await _restore("iptables", await self._removal("nat") + await self._removal("filter"))
        if _has_ipv6():
            try:
                script = await self._removal("filter", tool="ip6tables")
            except _ToolError:
                return  # without the tool, no rule can have been added
            await _restore("ip6tables", script)

    async def _table(self, table: str, *rules: str, tool: str = "iptables") -> list[str]:
        removals = await self._jump_removals(table, tool)
        return [f"*{table}", f":{CHAIN} - [0:0]", *removals, *rules, "COMMIT"]

    async def _removal(self, table: str, tool: str = "iptables") -> list[str]:
        return await self._table(table, f"-X {CHAIN}", tool=tool)

    async def _jump_removals(self, table: str, tool: str) -> list[str]:
        listed = await _run_tool(tool, "-w", "3", "-t", table, "-S")
        ours = [line for line in listed if line.endswith(f"-j {CHAIN}")]
        return ["-D" + line.removeprefix("-A") for line in ours]


async def _restore(tool: str, lines: list[str]) -> None:
    """Pass lines to `<tool>-restore`, which changes each table as a whole or not at all.

    A chain that is named is created, or emptied. The shell writes the lines to the tool's standard
    input, because child processes of the agent have none.
    """
    script = f'printf "%s\\n" "$1" | {tool}-restore -w 3 --noflush'
    await _run_tool("sh", "-c", script, f"{tool}-restore", "\n".join(lines))


class Nft:
    """Rules by nft: own tables, with a priority just before the usual one."""

    name = "nft"
    _match = f"ip daddr {{ {', '.join(_REDIRECTED)} }} tcp dport 80"
    _unmarked = f"meta mark != {host.AGENT_MARK:#x}"

    async def add_rules(self, target: Target) -> None:
        """Replace the rules, in one transaction."""
        target_rule = f"dnat to {target.host}:{target.port}"
        script = [
            *self._empty_table("ip"),
            f"add chain ip {TABLE} output {{ type nat hook output priority -101; }}",
            f"add rule ip {TABLE} output {self._match} {self._unmarked} {target_rule}",
        ]
        if target.outside is not None:
            names = ", ".join(f'"{name}"' for name in target.outside)
            inside = f"iifname != {{ {names} }} " if names else ""
            script += [
                f"add chain ip {TABLE} prerouting {{ type nat hook prerouting priority -101; }}",
                f"add rule ip {TABLE} prerouting {inside}{self._match} {target_rule}",
            ]
            if names:
                script += [
                    f"add chain ip {TABLE} input {{ type filter hook input priority -1; }}",
                    f"add rule ip {TABLE} input ip daddr {target.host} iifname {{ {names} }} drop",
                ]
        await _run_tool("nft", "; ".join(script))

    async def refuse_ipv6(self) -> None:
        """Reset connections to the IPv6 address of the instance metadata."""
        rule = f"ip6 daddr {_IMDS6} tcp dport 80 {self._unmarked} reject with tcp reset"
        script = self._empty_table("ip6")
        for hook in ("forward", "output"):
            script += [
                f"add chain ip6 {TABLE} {hook} {{ type filter hook {hook} priority -1; }}",
                f"add rule ip6 {TABLE} {hook} {rule}",
            ]
        await _run_tool("nft", "; ".join(script))

    async def remove_rules(self) -> None:
        """Remove the rules, in one transaction for each family."""
        for family in ("ip", "ip6"):
            *removal, _ = self._empty_table(family)
            await _run_tool("nft", "; ".join(removal))

    @staticmethod
    def _empty_table(family: str) -> list[str]:
        # To add an existing table is no error; so the deletion never fails.
        table = f"table {family} {TABLE}"
        return [f"add {table}", f"delete {table}", f"add {table}"]


async def _run_tool(*argv: str) -> list[str]:
    """Run a tool until it ends; return the lines of its output. Raises _ToolError."""
    lines: list[str] = []
    errors: list[str] = []

    def add_line(stream: str, line: str) -> None:
        (lines if stream == "stdout" else errors).append(line)

    try:
        async with run_child(Command(argv, {"PATH": _PATH}, Path("/")), add_line) as process:
            await asyncio.wait([process.ended], timeout=_TIMEOUT)
            code = process.ended.result() if process.ended.done() else None
            await process.read_last_output()
    except RunnerError as error:
        raise _ToolError(str(error)) from error
    if code is None:
        raise _ToolError(f"{argv[0]} did not end within {_TIMEOUT:g} s")
    if code != 0:
        raise _ToolError((errors or [f"exit code {code}"])[0][:200])
    return lines
