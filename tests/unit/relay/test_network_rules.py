"""The network rules of each tool, in a new network namespace; and where they are not allowed."""

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
from tests.support.servers import serving

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
async def serve_word(word: str, address: str, port: int = 0):
    """Answer every request with 200 and a word; yield a stand-in for the relay."""

    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 X\r\nContent-Length: %d\r\n\r\n" % len(word) + word.encode())
        writer.close()

    async with serving(answer, host=address, port=port) as server:
        port = server.sockets[0].getsockname()[1]
        yield SimpleNamespace(host=address, port=port, relative_uri="/v2/credentials/secret")


async def ask(*, so_mark: bool) -> str:
    """Ask at the ECS agent's address; return the word of the answer."""
    import aiohttp

    async with (
        aiohttp.ClientSession(connector=connector(so_mark=so_mark)) as session,
        session.get(f"http://{ECS_AGENT}/") as answer,
    ):
        return await answer.text()


def run_tool(*argv: str) -> str:
    """Run a program in this namespace; return its output."""
    return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=30).stdout


def list_rules() -> str:
    """Return the rules in this namespace, of both tools."""
    listed = run_tool("iptables-save")
    return listed + (run_tool("nft", "list", "ruleset") if shutil.which("nft") else "")


@tools
@pytest.mark.usefixtures("spare_children")
class TestRules:
    """The rules of each tool."""

    pytestmark = in_a_namespace

    def test_only_marked_sockets_reach_the_ecs_agent(self, tool):
        """While the rules exist, other sockets reach the relay."""

        async def play():
            async with (
                serve_word("agent", ECS_AGENT, 80),
                serve_word("relay", "127.0.0.1") as relay,
            ):
                assert await ask(so_mark=False) == "agent"
                await tool().add_rules(Target(relay.host, relay.port))
                assert await ask(so_mark=False) == "relay"
                assert await ask(so_mark=True) == "agent"
                await tool().remove_rules()
                assert await ask(so_mark=False) == "agent"
                assert "SIDECAR" not in list_rules().upper()

        in_namespace(play())

    def test_rules_of_a_killed_agent_are_replaced(self, tool):
        """Only the new rules remain."""

        async def play():
            async with (
                serve_word("agent", ECS_AGENT, 80),
                serve_word("relay", "127.0.0.1") as relay,
            ):
                await tool().add_rules(Target("127.0.0.1", 9))
                await tool().add_rules(Target("127.0.0.1", 10))
                await tool().add_rules(Target(relay.host, relay.port))
                assert await ask(so_mark=False) == "relay"
                await tool().remove_rules()
                assert "SIDECAR" not in list_rules().upper()

        in_namespace(play())

    def test_rules_of_others_stay(self, tool):
        """Rules that a docker daemon or the image's owner added stay as they are."""

        async def play():
            run_tool("iptables", "-t", "nat", "-A", "OUTPUT", "-d", "10.9.9.9", "-j", "RETURN")
            before = list_rules()
            await tool().add_rules(Target("127.0.0.1", 9))
            assert list_rules() != before
            await tool().remove_rules()
            left = [line for line in list_rules().splitlines() if "10.9.9.9" in line]
            assert left == [line for line in before.splitlines() if "10.9.9.9" in line]

        in_namespace(play())

    def test_all_rules_are_removed(self, tool):
        """Also those for containers and for IPv6. Adding them twice makes one of each."""

        async def play():
            target = Target("169.254.170.23", 9, ("eth0", "ecs-eth0"))
            for _ in range(2):
                await tool().add_rules(target)
                await tool().refuse_ipv6()
            listed = list_rules() + run_tool("ip6tables-save")
            assert "ecs-eth0" in listed
            assert "fd00:ec2::254" in listed
            once = len(listed.splitlines())
            await tool().add_rules(target)
            assert len((list_rules() + run_tool("ip6tables-save")).splitlines()) == once
            await tool().remove_rules()
            assert "SIDECAR" not in (list_rules() + run_tool("ip6tables-save")).upper()

        in_namespace(play())

    def test_removing_twice_is_no_error(self, tool):
        """The cleanup step may run more than once, also without rules."""

        async def play():
            await tool().remove_rules()
            await tool().add_rules(Target("127.0.0.1", 9))
            await tool().remove_rules()
            await tool().remove_rules()
            assert "SIDECAR" not in list_rules().upper()

        in_namespace(play())


@pytest.mark.usefixtures("spare_children")
class TestRedirect:
    """The rules as the agent uses them."""

    pytestmark = in_a_namespace

    def test_rules_are_added_and_removed(self):
        """They redirect jobs to the relay; removed, nothing remains. Each is one event."""

        async def play():
            async with (
                serve_word("agent", ECS_AGENT, 80),
                serve_word("relay", "127.0.0.1") as relay,
            ):
                redirect = Redirect(OWN)
                redirect.prepare()
                with capture_logs() as logs:
                    await redirect.add_rules(relay)
                    assert await ask(so_mark=False) == "relay"
                    await redirect.remove_rules()
                    await redirect.remove_rules()
                events = [event["event"] for event in logs]
                assert events == ["network.rules_added", "network.rules_removed"]
                assert "SIDECAR" not in list_rules().upper()

        in_namespace(play())

    def test_connections_that_leave_by_a_route_are_redirected(self):
        """As in a task, where the ECS agent is behind an interface and a route."""

        async def play():
            with serve_agent_elsewhere():
                await check()

        async def check():
            # Processes that run already are not the agent's and are not killed.
            async with process.collect_orphans(), serve_word("relay", "127.0.0.1") as relay:
                assert "404" in await ask(so_mark=False)
                redirect = Redirect(OWN)
                await redirect.add_rules(relay)
                assert await ask(so_mark=False) == "relay"
                assert "404" in await ask(so_mark=True)
                await redirect.remove_rules()
                assert "404" in await ask(so_mark=False)

        in_namespace(play())

    def test_nft_is_used_where_iptables_is_missing(self, monkeypatch):
        """An image may have nft and no iptables."""
        if not shutil.which("nft"):
            pytest.skip("needs nft on PATH")

        async def play():
            monkeypatch.setattr(Iptables, "add_rules", no_iptables)
            async with (
                serve_word("agent", ECS_AGENT, 80),
                serve_word("relay", "127.0.0.1") as relay,
            ):
                redirect = Redirect(OWN)
                with capture_logs() as logs:
                    await redirect.add_rules(relay)
                assert [event.get("tool") for event in logs][-1] == "nft"
                assert await ask(so_mark=False) == "relay"
                await redirect.remove_rules()

        in_namespace(play())

    @pytest.mark.parametrize("there", [False, True])
    def test_rules_that_do_not_work_are_removed(self, there):
        """If a job would not reach the relay, there are no rules, and an error."""

        async def play():
            with socket.socket() as silent:  # bound, and not listening
                silent.bind(("127.0.0.1", 0))
                port = silent.getsockname()[1]
                relay = SimpleNamespace(host="127.0.0.1", port=port, relative_uri="/x")
                with pytest.raises(RulesUnavailable, match="lead nowhere"):
                    await Redirect(OWN).add_rules(relay)
            assert "SIDECAR" not in list_rules().upper()

        async def other():
            async with serve_refusals() as relay:
                with pytest.raises(RulesUnavailable, match="would reach the ECS agent"):
                    await Redirect(OWN).add_rules(relay)
            assert "SIDECAR" not in list_rules().upper()

        in_namespace(other() if there else play())

    def test_unprotected_ipv6_metadata_are_logged(self, monkeypatch):
        """The other rules are added all the same."""

        async def play():
            async with (
                serve_word("agent", ECS_AGENT, 80),
                serve_word("relay", "127.0.0.1") as relay,
            ):
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

    def test_an_address_that_cannot_be_removed_is_an_error(self, monkeypatch):
        """The next try removes it."""

        async def play():
            redirect = Redirect(OWN, containers=True)
            redirect.prepare()
            monkeypatch.setattr(host, "remove_loopback_address", keep_address)
            with pytest.raises(RulesUnavailable, match=r"cannot remove 169\.254\.170\.23 from lo"):
                await redirect.remove_rules()
            monkeypatch.undo()
            await redirect.remove_rules()

        in_namespace(play())

    def test_without_any_tool_there_are_no_rules(self, monkeypatch):
        """The error names both tools."""

        async def play():
            monkeypatch.setattr(network_rules, "_PATH", "/nowhere")
            async with serve_word("relay", "127.0.0.1") as relay:
                with pytest.raises(
                    RulesUnavailable, match=r"cannot start iptables.*cannot start nft"
                ):
                    await Redirect(OWN).add_rules(relay)

        in_namespace(play())

    def test_rules_that_cannot_be_removed_are_an_error(self, monkeypatch):
        """The error names the tool; the next try removes them."""

        async def play():
            async with (
                serve_word("agent", ECS_AGENT, 80),
                serve_word("relay", "127.0.0.1") as relay,
            ):
                redirect = Redirect(OWN)
                await redirect.add_rules(relay)
                monkeypatch.setattr(network_rules, "_PATH", "/nowhere")
                with pytest.raises(RulesUnavailable, match="cannot remove the rules by iptables"):
                    await redirect.remove_rules()
                monkeypatch.undo()
                await redirect.remove_rules()

        in_namespace(play())

    def test_a_tool_that_hangs_is_not_waited_for(self, monkeypatch, tmp_path, spare_children):
        """Any process may hold the lock of iptables; the start does not wait for ever."""
        hanging = tmp_path / "iptables"
        hanging.write_text("#!/bin/sh\nexec sleep 60\n")
        hanging.chmod(0o755)
        shutil.copy(hanging, tmp_path / "nft")

        async def play():
            monkeypatch.setattr(network_rules, "_PATH", f"{tmp_path}:/usr/bin:/bin")
            monkeypatch.setattr(network_rules, "_TIMEOUT", 0.2)
            async with serve_word("relay", "127.0.0.1") as relay:
                with pytest.raises(RulesUnavailable, match=r"iptables did not end within 0\.2 s"):
                    await Redirect(OWN).add_rules(relay)
            assert process._waited_for == spare_children

        in_namespace(play())


@contextmanager
def serve_agent_elsewhere():
    """Serve the ECS agent stand-in in another namespace, joined to this one by a veth pair."""
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
            run_tool("ip", *command.split())
        for command in (
            "addr add 10.77.0.1/30 dev agent0",
            f"addr add {ECS_AGENT}/32 dev agent0",
            "link set agent0 up",
        ):
            run_tool(*inside, "ip", *command.split())
        run_tool("ip", "route", "add", f"{ECS_AGENT}/32", "via", "10.77.0.1")
        argv = (*inside, sys.executable, "-m", "local.ecs_agent", "--address", f"{ECS_AGENT}:80")
        with subprocess.Popen(argv, stdout=subprocess.PIPE) as agent:
            try:
                assert agent.stdout.readline().startswith(b"ready")
                yield
            finally:
                agent.terminate()
                agent.wait(timeout=30)
                other.stdin.close()


def keep_address(_address):
    """Fail as a kernel that does not remove the address."""
    raise OSError(1, "Operation not permitted")


async def no_iptables(*_):
    """Fail as for an image without iptables."""
    raise network_rules._ToolError("cannot start iptables")


@asynccontextmanager
async def serve_refusals():
    """Answer every request with 400, as the ECS agent does for an unknown path."""

    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 400 X\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async with serving(answer) as server:
        port = server.sockets[0].getsockname()[1]
        yield SimpleNamespace(host="127.0.0.1", port=port, relative_uri="/x")


@pytest.mark.root
@pytest.mark.skipif(sys.platform != "linux", reason="needs socket marks")
def test_a_job_may_not_set_the_mark():
    """The kernel refuses it for another user."""
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
    ("may", "modes", "reason"),
    [
        (False, {"awsvpc"}, "NET_ADMIN"),
        (True, set(), "does not tell the network mode"),
        (True, {"host"}, "not the task's own"),
        (True, {"awsvpc", "host"}, "not the task's own"),
        (True, {"default"}, "not the task's own"),
    ],
)
def test_where_rules_are_not_allowed_they_are_not_tried(monkeypatch, may, modes, reason):
    """A namespace that is the instance's, or may be, is not changed."""
    monkeypatch.setattr(host, "may_filter", lambda: may)
    with pytest.raises(RulesUnavailable, match=reason):
        Redirect(frozenset(modes)).prepare()


def test_rules_cannot_redirect_to_a_relay_on_ipv6():
    """The redirected addresses are IPv4."""

    async def play():
        relay = SimpleNamespace(host="::1", port=1, relative_uri="/")
        with pytest.raises(RulesUnavailable, match="SIDECAR_RELAY_ADDRESS"):
            await Redirect(OWN).add_rules(relay)

    asyncio.run(play())
