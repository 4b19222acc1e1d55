"""The rules and the ways round them: where a daemon's containers end up, and who must not.

Each kind of task has namespaces of its own, and every packet stays in them.
"""

from __future__ import annotations

import json
import re
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

import pytest

from local import aws
from tests.engines import agents, spaces, tasks
from tests.engines import engine as engines
from tests.engines.engine import Failed
from tests.engines.far import ECS_AGENT, INSTANCE_METADATA
from tests.engines.tasks import ADDRESS, Task

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.engines.engine import Engine
    from tests.engines.spaces import Space

pytestmark = [pytest.mark.docker, pytest.mark.root]

RELAY = "169.254.170.23"
TOKEN = ("-X", "PUT", "-H", "x-aws-ec2-metadata-token-ttl-seconds: 60")
CURL = ("curl", "--silent", "--show-error", "--max-time", "5", "--write-out", "\n%{http_code}")


class Answer(NamedTuple):
    """What came of one request."""

    status: int
    """0: nothing did."""
    body: str


def asked(run, *argv: str) -> Answer:
    """Ask by curl, in what `run` runs its argument in."""
    try:
        body, _, status = run(*CURL, *argv).rpartition("\n")
    except (Failed, AssertionError) as failed:
        return Answer(0, str(failed))
    return Answer(int(status), body)


def credentials(run, path: str) -> Answer:
    """Ask whoever is at the ECS agent's address."""
    return asked(run, f"http://{ECS_AGENT}{path}")


def instance_token(run) -> Answer:
    """Ask whoever is at the address of the instance's metadata."""
    return asked(run, *TOKEN, f"http://{INSTANCE_METADATA}/latest/api/token")


def within(engine: Engine, network: str):
    """Return what runs its arguments in a new container of that network."""
    return lambda *argv: engine.run(*argv, network=network)


def rules(space: Space) -> list[str]:
    """List every rule, chain and table of a namespace, and its loopback addresses.

    Without counters; and without the built-in tables and chains of iptables, which asking for
    them makes.
    """
    saved = space.run("iptables-save") + space.run("ip6tables-save")
    kept = [line for line in saved.splitlines() if line.startswith(("-A", ":"))]
    kept = [re.sub(r" \[\d+:\d+\]", "", line) for line in kept]
    tables = space.run("nft", "list", "tables").splitlines()
    built_in = re.compile(r":\w+ ACCEPT|table ip6? (filter|nat|mangle|raw)")
    found = [line for line in kept + tables if not built_in.fullmatch(line)]
    return [*found, *space.run("ip", "-oneline", "address", "show", "lo").splitlines()]


def variables(task: Task, engine: Engine | None, **more: str) -> dict[str, str]:
    """Return what the agent is told."""
    docker = {"DOCKER_HOST": f"unix://{engine.socket}"} if engine is not None else {}
    return {**task.environment, **docker, **more}


@contextmanager
def network(engine: Engine, name: str, *options: str) -> Iterator[str]:
    """Make a network of the engine for the block."""
    engine.docker("network", "create", *options, name)
    try:
        yield name
    finally:
        engine.docker("network", "rm", name)


@pytest.fixture(params=["iptables", "nft"])
def tools(request, tmp_path) -> str:
    """Give a PATH on which one of the tools alone is to be found."""
    wanted = {"iptables": ("iptables", "iptables-restore", "ip6tables", "ip6tables-restore")}
    for name in ("sh", *wanted.get(request.param, (request.param,))):
        found = subprocess.run(["which", name], capture_output=True, text=True, check=True)
        (tmp_path / name).symlink_to(found.stdout.strip())
    return str(tmp_path)


class TestAwsvpc:
    """A task with interfaces of its own, and the daemon in its namespace."""

    def test_every_container_reaches_the_relay_and_nobody_else(
        self, task, engine, tools, tmp_path_factory
    ):
        """By either tool, also from networks made later; a network's end is no matter."""
        folder = tmp_path_factory.mktemp("agent")
        env = variables(task, engine, TOOLS_PATH=tools)
        before, asked_before = rules(task.space), len(task.asked_of_instance())
        asked_of_agent = len(task.asked_of_agent())
        with agents.started(task.space, folder, env) as agent, network(engine, "user"):
            assert agent.event("relay.mode_chosen")["mode"] == "netfilter"
            assert agent.event("network.rules_added")["outside"] == ["ecs-eth0", "eth0"]
            with network(engine, "later"):
                for name in ("bridge", "user", "later", "host"):
                    run = within(engine, name)
                    answer = credentials(run, agent.uri)
                    assert json.loads(answer.body)["RoleArn"] == aws.TASK_ROLE, name
                    assert credentials(run, task.relative_uri).status == 200, name
                    assert instance_token(run).status == 200, name
            assert len(task.asked_of_agent()) <= asked_of_agent + 2  # for the metadata and a role
            assert agent.end() == 0
        assert rules(task.space) == before
        assert len(task.asked_of_instance()) == asked_before

    def test_neighbours_reach_nothing(self, task, engine, tools, tmp_path_factory):
        """Neither by the relay's address nor by one that is led there, on either interface."""
        folder = tmp_path_factory.mktemp("agent")
        env = variables(task, engine, TOOLS_PATH=tools)
        with agents.started(task.space, folder, env) as agent:
            url = agent.environment["RUNNER_SIDECAR_RELAY_URI"]
            assert asked(task.space.run, url).status == 200
            for way in (f"{ADDRESS} dev vpc", "169.254.172.2 dev ecs-bridge"):
                task.far.ip(f"route replace {RELAY}/32 via {way}")
                # Whoever sits there; the instance's metadata is local on the far side.
                assert asked(task.far.run, "--max-time", "1", url).status == 0, way
            task.far.ip(f"route del {RELAY}/32")
            assert agent.end() == 0

    def test_an_internal_network_stays_internal(self, task, engine, tmp_path):
        """20.10 leads its containers to the relay; later engines do not, and that is told."""
        env = variables(task, engine)
        with (
            network(engine, "inner", "--internal"),
            agents.started(task.space, tmp_path, env) as agent,
        ):
            answers = [credentials(within(engine, "inner"), agent.uri) for _ in range(2)]
            if engine.docker("version", "--format", "{{.Server.Version}}").startswith("20."):
                assert [answer.status for answer in answers] == [200, 200]
                assert instance_token(within(engine, "inner")).status == 200
            else:
                assert [answer.status for answer in answers] == [0, 0]
                assert "curl: (7)" in answers[0].body  # refused at once, not timed out
                assert agent.event("network.relay_unreachable")["network"] == "inner"
            assert agent.end() == 0
        told = [event for event in agent.events if event["event"] == "network.relay_unreachable"]
        assert len(told) <= 1

    def test_what_a_killed_agent_left_fails_closed_and_is_replaced(
        self, task, engine, tools, tmp_path_factory
    ):
        """No credentials and no instance meanwhile; then those of the next agent alone."""
        folder = tmp_path_factory.mktemp("agent")
        before = rules(task.space)
        env = variables(task, engine, TOOLS_PATH=tools)
        with agents.started(task.space, folder, env) as first:
            first.kill()
        run = within(engine, "bridge")
        assert rules(task.space) != before
        for answer in (credentials(run, task.relative_uri), instance_token(run)):
            assert "curl: (7)" in answer.body
        with agents.started(task.space, folder, env) as second:
            assert credentials(run, second.uri).status == 200
            assert second.end() == 0
        assert rules(task.space) == before

    def test_a_daemon_may_come_later(self, task, engine, tmp_path):
        """It is named and silent: the rules stand before its first container."""
        late = tmp_path / "docker.sock"
        with agents.started(
            task.space, tmp_path, {**variables(task, None), "DOCKER_HOST": f"unix://{late}"}
        ) as agent:
            told = agent.event("relay.mode_chosen")
            assert (told["mode"], "cannot be asked" in told["reason"]) == ("netfilter", True)
            assert credentials(within(engine, "bridge"), agent.uri).status == 200
            assert agent.end() == 0

    def test_two_agents_do_not_share_a_namespace(self, task, engine, tmp_path):
        """The second leaves the first's rules alone."""
        env = variables(task, engine)
        with (
            agents.started(task.space, tmp_path, env) as first,
            agents.started(task.space, tmp_path, env) as second,
        ):
            told = second.event("relay.mode_chosen")
            assert told["mode"] == "pass-through"
            assert "another agent" in told["reason"]
            assert second.end() == 0
            assert credentials(within(engine, "bridge"), first.uri).status == 200
            assert first.end() == 0

    def test_metadata_by_ipv6_is_refused_at_once(self, task, engine, tmp_path):
        """Where a task has IPv6, so may have its containers."""
        task.space.ip("-6 route add default dev eth0")
        try:
            with (
                network(engine, "six", "--ipv6", "--subnet", "fd12:3456::/64"),
                agents.started(task.space, tmp_path, variables(task, engine)) as agent,
            ):
                answer = asked(within(engine, "six"), "http://[fd00:ec2::254]/")
                assert "curl: (7)" in answer.body
                assert agent.end() == 0
        finally:
            task.space.ip("-6 route del default dev eth0")
        assert "SIDECAR" not in str(rules(task.space)).upper()


@contextmanager
def far_side(machine: Space, mode: str) -> Iterator[dict[str, str]]:
    """Serve all that tasks ask for in the instance's own namespace; give what ECS sets."""
    with tasks._far_side(machine, mode):
        told = tasks._got(machine, f"http://{ECS_AGENT}/_local/environment")
        path = urlsplit(told.pop("AWS_CONTAINER_CREDENTIALS_FULL_URI")).path
        yield {**told, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": path}


@contextmanager
def instance() -> Iterator[Space]:
    """Put up an instance whose tasks sit on a bridge: the agent, and the metadata, are its own."""
    with spaces.made() as space:
        for command in (
            f"addr add {ECS_AGENT}/32 dev lo",
            f"addr add {INSTANCE_METADATA}/32 dev lo",
            "addr add 10.0.2.1/24 dev lo",
            "link add tasks0 type bridge",
            "addr add 172.30.0.1/16 dev tasks0",
            "link set tasks0 up",
        ):
            space.ip(command)
        # As ecs-init does it: on whatever interface it comes in.
        led = f"-p tcp -d {ECS_AGENT} --dport 80 -j DNAT --to-destination {ECS_AGENT}:80"
        space.run("iptables", "-t", "nat", "-A", "PREROUTING", *led.split())
        yield space


@contextmanager
def bridged(machine: Space, number: int) -> Iterator[Space]:
    """Put a task on the instance's bridge."""
    with spaces.made() as space:
        spaces.joined(space, "eth0", machine, f"task{number}")
        machine.ip(f"link set task{number} master tasks0")
        space.ip(f"addr add 172.30.0.{number}/16 dev eth0")
        space.ip("route add default via 172.30.0.1")
        yield space


@pytest.fixture(params=["debian-12", "debian-13"])
def make_engine(request, root):
    """Give what starts an engine of each kind in a namespace."""
    own = Path("/") if request.param == "debian-12" else root
    return lambda space: engines.started(space, own, root)


class TestBridge:
    """A task behind the instance's bridge, with a daemon of its own in its namespace."""

    def test_containers_reach_the_relay_and_the_neighbour_its_own(self, make_engine, tmp_path):
        """The neighbour on the same bridge reaches the ECS agent as before, and not the relay."""
        with (
            instance() as machine,
            far_side(machine, "bridge") as told,
            bridged(machine, 10) as own,
            bridged(machine, 11) as neighbour,
            make_engine(own) as engine,
        ):
            task = Task(own, machine, told)
            before, outside = rules(own), rules(machine)
            with agents.started(own, tmp_path, variables(task, engine)) as agent:
                assert agent.event("relay.mode_chosen")["mode"] == "netfilter"
                assert agent.event("network.rules_added")["outside"] == ["eth0"]
                for name in ("bridge", "host"):
                    run = within(engine, name)
                    assert credentials(run, agent.uri).status == 200, name
                    assert credentials(run, task.relative_uri).status == 200, name
                    assert instance_token(run).status == 200, name
                neighbour.ip(f"route add {RELAY}/32 via 172.30.0.10")
                url = agent.environment["RUNNER_SIDECAR_RELAY_URI"]
                assert asked(neighbour.run, "--max-time", "1", url).status == 0
                assert credentials(neighbour.run, task.relative_uri).status == 200
                assert credentials(neighbour.run, agent.uri).status == 400
                assert agent.end() == 0
            assert rules(own) == before
            assert rules(machine) == outside

    def test_the_instance_s_daemon_is_passed_through(self, make_engine, tmp_path):
        """With the instance's docker.sock the ECS agent answers its containers itself."""
        with (
            instance() as machine,
            far_side(machine, "bridge") as told,
            bridged(machine, 10) as own,
            make_engine(machine) as engine,
        ):
            task = Task(own, machine, told)
            before, outside = rules(own), rules(machine)
            with agents.started(own, tmp_path, variables(task, engine)) as agent:
                assert agent.event("relay.mode_chosen")["mode"] == "pass-through"
                assert rules(own) == before
                assert rules(machine) == outside
                assert agent.uri == task.relative_uri
                assert credentials(within(engine, "bridge"), agent.uri).status == 200
                assert agent.end() == 0


class TestHost:
    """A task in the instance's own namespace: every rule in it is somebody else's."""

    @pytest.mark.parametrize("ending", ["end", "kill"])
    def test_nothing_of_the_neighbours_changes(self, make_engine, tmp_path, ending):
        """Neither rules nor traffic, while it lives and after, however it ended."""
        with (
            instance() as machine,
            far_side(machine, "host") as told,
            bridged(machine, 11) as neighbour,
            make_engine(machine) as engine,
        ):
            task = Task(machine, machine, told)
            neighbours = (neighbour.run, within(engine, "bridge"), within(engine, "host"))

            def traffic() -> list[str]:
                """Tell what each neighbour gets of the ECS agent, and of the instance."""
                return [
                    f"{credentials(run, task.relative_uri)} {instance_token(run).status}"
                    for run in neighbours
                ]

            before, traffic_before = rules(machine), traffic()
            assert len(set(traffic_before)) == 1
            assert traffic_before[0].startswith("Answer(status=200")
            with agents.started(machine, tmp_path, variables(task, engine)) as agent:
                choice = agent.event("relay.mode_chosen")
                assert choice["mode"] == "pass-through"
                assert "mode host" in choice["reason"]
                assert rules(machine) == before
                assert traffic() == traffic_before
                getattr(agent, ending)()
            assert rules(machine) == before
            assert traffic() == traffic_before

    def test_rules_are_refused_when_asked_for(self, make_engine, tmp_path):
        """SIDECAR_RELAY=netfilter fails, with what is in the way and the setting to change."""
        with (
            instance() as machine,
            far_side(machine, "host") as told,
            make_engine(machine) as engine,
        ):
            env = variables(Task(machine, machine, told), engine, SIDECAR_RELAY="netfilter")
            before = rules(machine)
            with agents.started(machine, tmp_path, env, word="failed") as agent:
                assert agent.process.wait(agents.PATIENCE) == 14
            assert rules(machine) == before
