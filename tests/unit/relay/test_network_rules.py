"""The rule, in a network namespace of its own, by each tool; and where it must not stand."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
from contextlib import asynccontextmanager, contextmanager
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from sidecar import host, process
from sidecar.net.marked_sockets import connector
from sidecar.relay import network_rules
from sidecar.relay.network_rules import Iptables, Nft, Redirect, RulesUnavailable, Target
from tests.support.namespace import ECS_AGENT, in_namespace

OWN = frozenset({"awsvpc"})

in_a_namespace = [
    pytest.mark.root,
    pytest.mark.skipif(sys.platform != "linux", reason="needs network namespaces"),
]
tools = pytest.mark.parametrize(
    "tool",
    [
        Iptables,
        pytest.param(
            Nft, marks=pytest.mark.skipif(not shutil.which("nft"), reason="needs nft on PATH")
        ),
    ],
)


@asynccontextmanager
async def answering(word: str, address: str, port: int = 0):
    """Answer every request with 200 and a word; gives what stands for the relay there."""

    async def answered(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 X\r\nContent-Length: %d\r\n\r\n" % len(word) + word.encode())
        writer.close()

    server = await asyncio.start_server(answered, address, port)
    try:
        port = server.sockets[0].getsockname()[1]
        yield SimpleNamespace(host=address, port=port, relative_uri="/v2/credentials/secret")
    finally:
        server.close()


async def asked(*, so_mark: bool) -> str:
    """Ask at the ECS agent's address; give the word that was answered."""
    import aiohttp

    async with (
        aiohttp.ClientSession(connector=connector(so_mark=so_mark)) as session,
        session.get(f"http://{ECS_AGENT}/") as answer,
    ):
        return await answer.text()


def ran(*argv: str) -> str:
    """Run a program in this namespace; give what it printed."""
    return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=30).stdout


def rules() -> str:
    """List what stands in this namespace, by both tools."""
    listed = ran("iptables-save")
    return listed + (ran("nft", "list", "ruleset") if shutil.which("nft") else "")


@tools
class TestTheRule:
    """Of each tool."""

    pytestmark = in_a_namespace

    def test_only_the_marked_reach_the_agent(self, tool):
        """Whoever has no mark reaches the relay, for as long as the rule stands."""

        async def play():
            async with answering("agent", ECS_AGENT, 80), answering("relay", "127.0.0.1") as relay:
                assert await asked(so_mark=False) == "agent"
                await tool().add_rules(Target(relay.host, relay.port))
                assert await asked(so_mark=False) == "relay"
                assert await asked(so_mark=True) == "agent"
                await tool().remove_rules()
                assert await asked(so_mark=False) == "agent"
                assert "SIDECAR" not in rules().upper()

        in_namespace(play())

    def test_a_predecessor_s_is_replaced(self, tool):
        """Whatever was left by one that was killed, there is one rule, and it is the new one."""

        async def play():
            async with answering("agent", ECS_AGENT, 80), answering("relay", "127.0.0.1") as relay:
                await tool().add_rules(Target("127.0.0.1", 9))
                await tool().add_rules(Target("127.0.0.1", 10))
                await tool().add_rules(Target(relay.host, relay.port))
                assert await asked(so_mark=False) == "relay"
                await tool().remove_rules()
                assert "SIDECAR" not in rules().upper()

        in_namespace(play())

    def test_nobody_else_s_rules_are_touched(self, tool):
        """What a docker daemon or the image's owner put up stays as it is."""

        async def play():
            ran("iptables", "-t", "nat", "-A", "OUTPUT", "-d", "10.9.9.9", "-j", "RETURN")
            before = rules()
            await tool().add_rules(Target("127.0.0.1", 9))
            assert rules() != before
            await tool().remove_rules()
            left = [line for line in rules().splitlines() if "10.9.9.9" in line]
            assert left == [line for line in before.splitlines() if "10.9.9.9" in line]

        in_namespace(play())

    def test_all_of_it_goes_as_it_came(self, tool):
        """With what is for containers, and for IPv6; put up again, there is one of each."""

        async def play():
            target = Target("169.254.170.23", 9, ("eth0", "ecs-eth0"))
            for _ in range(2):
                await tool().add_rules(target)
                await tool().refuse_ipv6()
            listed = rules() + ran("ip6tables-save")
            assert "ecs-eth0" in listed
            assert "fd00:ec2::254" in listed
            once = len(listed.splitlines())
            await tool().add_rules(target)
            assert len((rules() + ran("ip6tables-save")).splitlines()) == once
            await tool().remove_rules()
            assert "SIDECAR" not in (rules() + ran("ip6tables-save")).upper()

        in_namespace(play())

    def test_taking_down_twice_is_no_error(self, tool):
        """The undo may be begun more than once, and find nothing."""

        async def play():
            await tool().remove_rules()
            await tool().add_rules(Target("127.0.0.1", 9))
            await tool().remove_rules()
            await tool().remove_rules()
            assert "SIDECAR" not in rules().upper()

        in_namespace(play())


class TestRedirect:
    """The rule as the life has it."""

    pytestmark = in_a_namespace

    def test_it_stands_and_goes(self):
        """Up it sends jobs to the relay; down, nothing is left of it; said once each."""

        async def play():
            async with answering("agent", ECS_AGENT, 80), answering("relay", "127.0.0.1") as relay:
                redirect = Redirect(OWN)
                redirect.prepare()
                with capture_logs() as logs:
                    await redirect.add_rules(relay)
                    assert await asked(so_mark=False) == "relay"
                    await redirect.remove_rules()
                    await redirect.remove_rules()
                events = [event["event"] for event in logs]
                assert events == ["network.rules_added", "network.rules_removed"]
                assert "SIDECAR" not in rules().upper()

        in_namespace(play())

    def test_it_catches_what_would_leave_by_a_route(self):
        """As in a task: the ECS agent is elsewhere, behind an interface and a route."""

        async def play():
            with agent_elsewhere():
                await caught()

        async def caught():
            # What runs already is none of the agent's own, and spared.
            async with process.reaping(), answering("relay", "127.0.0.1") as relay:
                assert "404" in await asked(so_mark=False)
                redirect = Redirect(OWN)
                await redirect.add_rules(relay)
                assert await asked(so_mark=False) == "relay"
                assert "404" in await asked(so_mark=True)
                await redirect.remove_rules()
                assert "404" in await asked(so_mark=False)

        in_namespace(play())

    def test_the_second_tool_helps_where_the_first_is_missing(self, monkeypatch):
        """An image may have nft and no iptables."""
        if not shutil.which("nft"):
            pytest.skip("needs nft on PATH")

        async def play():
            monkeypatch.setattr(Iptables, "add_rules", no_iptables)
            async with answering("agent", ECS_AGENT, 80), answering("relay", "127.0.0.1") as relay:
                redirect = Redirect(OWN)
                with capture_logs() as logs:
                    await redirect.add_rules(relay)
                assert [event.get("tool") for event in logs][-1] == "nft"
                assert await asked(so_mark=False) == "relay"
                await redirect.remove_rules()

        in_namespace(play())

    @pytest.mark.parametrize("there", [False, True])
    def test_a_rule_that_does_not_work_is_no_rule(self, there):
        """Where a job would not reach the relay, the rule goes again, and the life knows."""

        async def play():
            with socket.socket() as silent:  # bound, and not listening
                silent.bind(("127.0.0.1", 0))
                port = silent.getsockname()[1]
                relay = SimpleNamespace(host="127.0.0.1", port=port, relative_uri="/x")
                with pytest.raises(RulesUnavailable, match="lead nowhere"):
                    await Redirect(OWN).add_rules(relay)
            assert "SIDECAR" not in rules().upper()

        async def other():
            async with refusing() as relay:
                with pytest.raises(RulesUnavailable, match="would reach the ECS agent"):
                    await Redirect(OWN).add_rules(relay)
            assert "SIDECAR" not in rules().upper()

        in_namespace(other() if there else play())

    def test_metadata_by_ipv6_that_stay_open_are_told(self, monkeypatch):
        """The rest stands all the same."""

        async def play():
            async with answering("agent", ECS_AGENT, 80), answering("relay", "127.0.0.1") as relay:
                monkeypatch.setattr(Iptables, "refuse_ipv6", no_iptables)
                redirect = Redirect(OWN, containers=True)
                with capture_logs() as logs:
                    await redirect.add_rules(relay)
                assert [event["event"] for event in logs] == [
                    "network.ipv6_unprotected",
                    "network.rules_added",
                ]
                await redirect.remove_rules()

        in_namespace(play())

    def test_an_address_that_stays_is_told(self, monkeypatch):
        """The farewell names it, and tries again."""

        async def play():
            redirect = Redirect(OWN, containers=True)
            redirect.prepare()
            monkeypatch.setattr(host, "let_address_go", not_let_go)
            with pytest.raises(RulesUnavailable, match=r"cannot take 169\.254\.170\.23 off lo"):
                await redirect.remove_rules()
            monkeypatch.undo()
            await redirect.remove_rules()

        in_namespace(play())

    def test_without_any_tool_there_is_no_rule(self, monkeypatch):
        """An image without iptables and nft says so, by name."""

        async def play():
            monkeypatch.setattr(network_rules, "_PATH", "/nowhere")
            async with answering("relay", "127.0.0.1") as relay:
                with pytest.raises(
                    RulesUnavailable, match=r"cannot start iptables.*cannot start nft"
                ):
                    await Redirect(OWN).add_rules(relay)

        in_namespace(play())

    def test_a_rule_that_cannot_be_removed_is_told(self, monkeypatch):
        """The farewell then knows what stands still, and by which tool."""

        async def play():
            async with answering("agent", ECS_AGENT, 80), answering("relay", "127.0.0.1") as relay:
                redirect = Redirect(OWN)
                await redirect.add_rules(relay)
                monkeypatch.setattr(network_rules, "_PATH", "/nowhere")
                with pytest.raises(RulesUnavailable, match="cannot remove the rules by iptables"):
                    await redirect.remove_rules()
                monkeypatch.undo()
                await redirect.remove_rules()

        in_namespace(play())

    def test_a_tool_that_hangs_is_not_waited_for(self, monkeypatch, tmp_path):
        """The lock of iptables can be held by anybody: a start is not held up for ever."""
        hanging = tmp_path / "iptables"
        hanging.write_text("#!/bin/sh\nexec sleep 60\n")
        hanging.chmod(0o755)
        shutil.copy(hanging, tmp_path / "nft")

        async def play():
            monkeypatch.setattr(network_rules, "_PATH", f"{tmp_path}:/usr/bin:/bin")
            monkeypatch.setattr(network_rules, "_TIMEOUT", 0.2)
            async with answering("relay", "127.0.0.1") as relay:
                with pytest.raises(RulesUnavailable, match=r"iptables did not end within 0\.2 s"):
                    await Redirect(OWN).add_rules(relay)
            assert not process._alive

        in_namespace(play())


@contextmanager
def agent_elsewhere():
    """Serve the ECS agent's stand-in in another namespace, joined to this one by a cable."""
    ready = "ip link set lo up; echo; read line"
    with subprocess.Popen(
        ["unshare", "-n", "sh", "-c", ready], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        other.stdout.read(1)
        inside = ("nsenter", f"--net=/proc/{other.pid}/ns/net")
        cable = f"link add task0 type veth peer name agent0 netns {other.pid}"
        for command in (
            f"addr del {ECS_AGENT}/32 dev lo",
            cable,
            "addr add 10.77.0.2/30 dev task0",
            "link set task0 up",
        ):
            ran("ip", *command.split())
        for command in (
            "addr add 10.77.0.1/30 dev agent0",
            f"addr add {ECS_AGENT}/32 dev agent0",
            "link set agent0 up",
        ):
            ran(*inside, "ip", *command.split())
        ran("ip", "route", "add", f"{ECS_AGENT}/32", "via", "10.77.0.1")
        argv = (*inside, sys.executable, "-m", "local.ecs_agent", "--address", f"{ECS_AGENT}:80")
        with subprocess.Popen(argv, stdout=subprocess.PIPE) as agent:
            try:
                assert agent.stdout.readline().startswith(b"ready")
                yield
            finally:
                agent.terminate()
                agent.wait(timeout=30)
                other.stdin.close()


def not_let_go(_address):
    """Stand for a kernel that keeps the address."""
    raise OSError(1, "Operation not permitted")


async def no_iptables(*_):
    """Stand for a tool that an image has not got."""
    raise network_rules._Failed("cannot start iptables")


@asynccontextmanager
async def refusing():
    """Answer every request with 400, as the ECS agent does to a path that it does not know."""

    async def answered(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 400 X\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answered, "127.0.0.1", 0)
    try:
        port = server.sockets[0].getsockname()[1]
        yield SimpleNamespace(host="127.0.0.1", port=port, relative_uri="/x")
    finally:
        server.close()


@pytest.mark.root
@pytest.mark.skipif(sys.platform != "linux", reason="needs socket marks")
def test_a_job_may_not_set_the_mark():
    """Another user's attempt is refused by the kernel."""
    with subprocess.Popen(
        [
            shutil.which("python3", path="/usr/bin:/usr/local/bin") or sys.executable,
            "-IS",
            "-c",
            "import socket; s = socket.socket(); s.setsockopt(1, socket.SO_MARK, 1)",
        ],
        stderr=subprocess.PIPE,
        user=65534,
        group=65534,
        extra_groups=[],
        env={"PATH": os.defpath},
    ) as child:
        _, errors = child.communicate(timeout=30)
    assert b"PermissionError" in errors


@pytest.mark.parametrize(
    ("may", "modes", "why"),
    [
        (False, {"awsvpc"}, "NET_ADMIN"),
        (True, set(), "does not tell the network mode"),
        (True, {"host"}, "not the task's own"),
        (True, {"awsvpc", "host"}, "not the task's own"),
        (True, {"default"}, "not the task's own"),
    ],
)
def test_where_it_may_not_stand_it_is_not_tried(monkeypatch, may, modes, why):
    """A namespace that is the instance's, or that nobody vouches for, is never touched."""
    monkeypatch.setattr(host, "may_filter", lambda: may)
    with pytest.raises(RulesUnavailable, match=why):
        Redirect(frozenset(modes)).prepare()


def test_a_relay_that_listens_by_ipv6_cannot_be_led_to():
    """The addresses that are caught are of IPv4."""

    async def play():
        relay = SimpleNamespace(host="::1", port=1, relative_uri="/")
        with pytest.raises(RulesUnavailable, match="SIDECAR_RELAY_ADDRESS"):
            await Redirect(OWN).add_rules(relay)

    asyncio.run(play())
