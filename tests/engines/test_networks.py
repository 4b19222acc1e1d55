"""Network rules route containers to the relay, and nobody else.

Each task has its own namespaces, and every packet stays in them.
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
CURL = ("curl", "--silent", "--show-error", "--max-time", "30", "--write-out", "\n%{http_code}")


class Answer(NamedTuple):
    """The result of one request."""

    status: int
    """0: there was no response."""
    body: str


def ask(run, *argv: str) -> Answer:
    """Request by curl, with `run` as the place where it runs."""
    try:
        printed = run(*CURL, *argv)
    except (Failed, AssertionError) as failed:
        return Answer(0, str(failed))
    body, _, status = printed.rpartition("\n")
    return Answer(int(status), body)


def ask_credentials(run, path: str) -> Answer:
    """Request credentials at the ECS agent's address."""
    return ask(run, f"http://{ECS_AGENT}{path}")


def ask_instance_token(run) -> Answer:
    """Request a token at the address of the instance's metadata."""
    return ask(run, *TOKEN, f"http://{INSTANCE_METADATA}/latest/api/token")


def run_in(engine: Engine, network: str):
    """Return a function that runs its arguments in a new container of that network."""
    return lambda *argv: engine.run(*argv, network=network)


def list_rules(space: Space) -> list[str]:
    """List every rule, chain and table of a namespace, and its loopback addresses.

    Without counters, and without the built-in tables and chains of iptables, which listing creates.
    """
    saved = space.run("iptables-save") + space.run("ip6tables-save")
    kept = [line for line in saved.splitlines() if line.startswith(("-A", ":"))]
    kept = [re.sub(r" \[\d+:\d+\]", "", line) for line in kept]
    tables = space.run("nft", "list", "tables").splitlines()
    built_in = re.compile(r":\w+ ACCEPT|table ip6? (filter|nat|mangle|raw)")
    found = [line for line in kept + tables if not built_in.fullmatch(line)]
    return [*found, *space.run("ip", "-oneline", "address", "show", "lo").splitlines()]


def make_environment(task: Task, engine: Engine | None, **more: str) -> dict[str, str]:
    """Return the agent's variables."""
    docker = {"DOCKER_HOST": f"unix://{engine.socket}"} if engine is not None else {}
    return {**task.environment, **docker, **more}


@contextmanager
def create_network(engine: Engine, name: str, *options: str) -> Iterator[str]:
    """Make a network of the engine within the block."""
    engine.docker("network", "create", *options, name)
    try:
        yield name
    finally:
        engine.docker("network", "rm", name)


@pytest.fixture(params=["iptables", "nft"])
def tools(request, tmp_path) -> str:
    """Return a PATH that has only one of the tools."""
    wanted = {"iptables": ("iptables", "iptables-restore", "ip6tables", "ip6tables-restore")}
    for name in ("sh", *wanted.get(request.param, (request.param,))):
        found = subprocess.run(["which", name], capture_output=True, text=True, check=True)
        (tmp_path / name).symlink_to(found.stdout.strip())
    return str(tmp_path)


class TestAwsvpc:
    """A task with its own network interfaces, and the engine in its namespace."""

    def test_every_container_reaches_the_relay_and_nobody_else(
        self, task, engine, tools, tmp_path_factory
    ):
        """With either tool, also from networks made later; a network may be removed."""
        folder = tmp_path_factory.mktemp("agent")
        env = make_environment(task, engine, TOOLS_PATH=tools)
        before, asked_before = list_rules(task.space), len(task.instance_requests())
        asked_of_agent = len(task.agent_requests())
        with agents.start(task.space, folder, env) as agent, create_network(engine, "user"):
            assert agent.wait_for_event("relay.mode_chosen")["mode"] == "netfilter"
            assert agent.wait_for_event("network.rules_added")["outside"] == ["ecs-eth0", "eth0"]
            with create_network(engine, "later"):
                for name in ("bridge", "user", "later", "host"):
                    run = run_in(engine, name)
                    answer = ask_credentials(run, agent.uri)
                    assert json.loads(answer.body)["RoleArn"] == aws.TASK_ROLE, name
                    assert ask_credentials(run, task.relative_uri).status == 200, name
                    assert ask_instance_token(run).status == 200, name
            assert len(task.agent_requests()) <= asked_of_agent + 2  # for the metadata and a role
            assert agent.stop() == 0
        assert list_rules(task.space) == before
        assert len(task.instance_requests()) == asked_before

    def test_neighbours_do_not_reach_the_relay(self, task, engine, tools, tmp_path_factory):
        """Neither at the relay's address nor at a redirected one, on either interface."""
        folder = tmp_path_factory.mktemp("agent")
        env = make_environment(task, engine, TOOLS_PATH=tools)
        with agents.start(task.space, folder, env) as agent:
            url = agent.environment["RUNNER_SIDECAR_RELAY_URI"]
            assert ask(task.space.run, url).status == 200
            for route in (f"{ADDRESS} dev vpc", "169.254.172.2 dev ecs-bridge"):
                task.far.ip(f"route replace {RELAY}/32 via {route}")
                # The instance's metadata is local on the far side, so it is not requested here.
                assert ask(task.far.run, "--max-time", "1", url).status == 0, route
            task.far.ip(f"route del {RELAY}/32")
            assert agent.stop() == 0

    def test_an_internal_network_stays_internal(self, task, engine, tmp_path):
        """20.10 routes its containers to the relay. Later engines do not, and a warning says so."""
        env = make_environment(task, engine)
        with (
            create_network(engine, "inner", "--internal"),
            agents.start(task.space, tmp_path, env) as agent,
        ):
            answers = [ask_credentials(run_in(engine, "inner"), agent.uri) for _ in range(2)]
            if engine.docker("version", "--format", "{{.Server.Version}}").startswith("20."):
                assert [answer.status for answer in answers] == [200, 200]
                assert ask_instance_token(run_in(engine, "inner")).status == 200
            else:
                assert [answer.status for answer in answers] == [0, 0]
                assert "curl: (7)" in answers[0].body  # refused at once, not timed out
                assert agent.wait_for_event("network.relay_unreachable")["network"] == "inner"
            assert agent.stop() == 0
        warnings = [
            event for event in agent.events if event["event"] == "network.relay_unreachable"
        ]
        assert len(warnings) <= 1

    def test_rules_of_a_killed_agent_refuse_requests_until_replaced(
        self, task, engine, tools, tmp_path_factory
    ):
        """Until then there are no credentials at all; then those of the next agent."""
        folder = tmp_path_factory.mktemp("agent")
        before = list_rules(task.space)
        env = make_environment(task, engine, TOOLS_PATH=tools)
        with agents.start(task.space, folder, env) as first:
            first.kill()
        run = run_in(engine, "bridge")
        assert list_rules(task.space) != before
        for answer in (ask_credentials(run, task.relative_uri), ask_instance_token(run)):
            assert "curl: (7)" in answer.body
        with agents.start(task.space, folder, env) as second:
            assert ask_credentials(run, second.uri).status == 200
            assert second.stop() == 0
        assert list_rules(task.space) == before

    def test_an_engine_may_start_later(self, task, engine, tmp_path):
        """DOCKER_HOST names an engine that does not answer: the rules exist before it does."""
        late = tmp_path / "docker.sock"
        with agents.start(
            task.space, tmp_path, {**make_environment(task, None), "DOCKER_HOST": f"unix://{late}"}
        ) as agent:
            event = agent.wait_for_event("relay.mode_chosen")
            assert (event["mode"], "cannot be asked" in event["reason"]) == (
                "netfilter",
                True,
            )
            assert ask_credentials(run_in(engine, "bridge"), agent.uri).status == 200
            assert agent.stop() == 0

    def test_two_agents_do_not_share_a_namespace(self, task, engine, tmp_path):
        """The second agent leaves the first one's rules alone."""
        env = make_environment(task, engine)
        with (
            agents.start(task.space, tmp_path, env) as first,
            agents.start(task.space, tmp_path, env) as second,
        ):
            event = second.wait_for_event("relay.mode_chosen")
            assert event["mode"] == "pass-through"
            assert "another agent" in event["reason"]
            assert second.stop() == 0
            assert ask_credentials(run_in(engine, "bridge"), first.uri).status == 200
            assert first.stop() == 0

    def test_metadata_by_ipv6_is_refused_at_once(self, task, engine, tmp_path):
        """Containers may have IPv6 if their task has."""
        task.space.ip("-6 route add default dev eth0")
        try:
            with (
                create_network(engine, "six", "--ipv6", "--subnet", "fd12:3456::/64"),
                agents.start(task.space, tmp_path, make_environment(task, engine)) as agent,
            ):
                answer = ask(run_in(engine, "six"), "http://[fd00:ec2::254]/")
                assert "curl: (7)" in answer.body
                assert agent.stop() == 0
        finally:
            task.space.ip("-6 route del default dev eth0")
        assert "SIDECAR" not in str(list_rules(task.space)).upper()


@contextmanager
def run_far_side(machine: Space, mode: str) -> Iterator[dict[str, str]]:
    """Serve all AWS services in the instance's own namespace; yield what ECS sets."""
    with tasks._far_side(machine, mode):
        variables = tasks._fetch(machine, f"http://{ECS_AGENT}/_local/environment")
        path = urlsplit(variables.pop("AWS_CONTAINER_CREDENTIALS_FULL_URI")).path
        yield {**variables, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": path}


@contextmanager
def create_instance() -> Iterator[Space]:
    """Make an instance with a bridge for tasks; ECS agent and metadata are served on it."""
    with spaces.create() as space:
        for command in (
            f"addr add {ECS_AGENT}/32 dev lo",
            f"addr add {INSTANCE_METADATA}/32 dev lo",
            "addr add 10.0.2.1/24 dev lo",
            "link add tasks0 type bridge",
            "addr add 172.30.0.1/16 dev tasks0",
            "link set tasks0 up",
        ):
            space.ip(command)
        # As ecs-init does it: for every interface.
        rule = f"-p tcp -d {ECS_AGENT} --dport 80 -j DNAT --to-destination {ECS_AGENT}:80"
        space.run("iptables", "-t", "nat", "-A", "PREROUTING", *rule.split())
        yield space


@contextmanager
def create_bridged_task(machine: Space, number: int) -> Iterator[Space]:
    """Add a task to the instance's bridge."""
    with spaces.create() as space:
        spaces.connect(space, "eth0", machine, f"task{number}")
        machine.ip(f"link set task{number} master tasks0")
        space.ip(f"addr add 172.30.0.{number}/16 dev eth0")
        space.ip("route add default via 172.30.0.1")
        yield space


@pytest.fixture(params=["debian-12", "debian-13"])
def make_engine(request, root):
    """Return a function that starts an engine of each kind in a namespace."""
    engine_root = Path("/") if request.param == "debian-12" else root
    return lambda space: engines.start(space, engine_root, root)


class TestBridge:
    """A task behind the instance's bridge, with its own engine in its namespace."""

    def test_containers_reach_the_relay_and_neighbours_do_not(self, make_engine, tmp_path):
        """The neighbour on the same bridge still reaches the ECS agent, and not the relay."""
        with (
            create_instance() as machine,
            run_far_side(machine, "bridge") as variables,
            create_bridged_task(machine, 10) as task_space,
            create_bridged_task(machine, 11) as neighbour,
            make_engine(task_space) as engine,
        ):
            task = Task(task_space, machine, variables)
            before, outside = list_rules(task_space), list_rules(machine)
            with agents.start(task_space, tmp_path, make_environment(task, engine)) as agent:
                assert agent.wait_for_event("relay.mode_chosen")["mode"] == "netfilter"
                assert agent.wait_for_event("network.rules_added")["outside"] == ["eth0"]
                for name in ("bridge", "host"):
                    run = run_in(engine, name)
                    assert ask_credentials(run, agent.uri).status == 200, name
                    assert ask_credentials(run, task.relative_uri).status == 200, name
                    assert ask_instance_token(run).status == 200, name
                neighbour.ip(f"route add {RELAY}/32 via 172.30.0.10")
                url = agent.environment["RUNNER_SIDECAR_RELAY_URI"]
                assert ask(neighbour.run, "--max-time", "1", url).status == 0
                assert ask_credentials(neighbour.run, task.relative_uri).status == 200
                assert ask_credentials(neighbour.run, agent.uri).status == 400
                assert agent.stop() == 0
            assert list_rules(task_space) == before
            assert list_rules(machine) == outside

    def test_the_instance_s_engine_gets_pass_through_mode(self, make_engine, tmp_path):
        """With the instance's docker.sock the ECS agent answers its containers itself."""
        with (
            create_instance() as machine,
            run_far_side(machine, "bridge") as variables,
            create_bridged_task(machine, 10) as task_space,
            make_engine(machine) as engine,
        ):
            task = Task(task_space, machine, variables)
            before, outside = list_rules(task_space), list_rules(machine)
            with agents.start(task_space, tmp_path, make_environment(task, engine)) as agent:
                assert agent.wait_for_event("relay.mode_chosen")["mode"] == "pass-through"
                assert list_rules(task_space) == before
                assert list_rules(machine) == outside
                assert agent.uri == task.relative_uri
                assert ask_credentials(run_in(engine, "bridge"), agent.uri).status == 200
                assert agent.stop() == 0


class TestHost:
    """A task in the instance's own namespace, where all rules belong to others."""

    @pytest.mark.parametrize("ending", ["stop", "kill"])
    def test_nothing_changes_for_neighbours(self, make_engine, tmp_path, ending):
        """Neither rules nor traffic change, while the agent runs and after, however it ends."""
        with (
            create_instance() as machine,
            run_far_side(machine, "host") as variables,
            create_bridged_task(machine, 11) as neighbour,
            make_engine(machine) as engine,
        ):
            task = Task(machine, machine, variables)
            neighbours = (neighbour.run, run_in(engine, "bridge"), run_in(engine, "host"))

            def traffic() -> list[str]:
                """Return each neighbour's answers from ECS agent and instance metadata."""
                return [
                    f"{ask_credentials(run, task.relative_uri)} {ask_instance_token(run).status}"
                    for run in neighbours
                ]

            before, traffic_before = list_rules(machine), traffic()
            assert len(set(traffic_before)) == 1
            assert traffic_before[0].startswith("Answer(status=200")
            with agents.start(machine, tmp_path, make_environment(task, engine)) as agent:
                choice = agent.wait_for_event("relay.mode_chosen")
                assert choice["mode"] == "pass-through"
                assert "mode host" in choice["reason"]
                assert list_rules(machine) == before
                assert traffic() == traffic_before
                getattr(agent, ending)()
            assert list_rules(machine) == before
            assert traffic() == traffic_before

    def test_forced_rules_are_an_error(self, make_engine, tmp_path):
        """SIDECAR_RELAY=netfilter is an error that names the obstacle and the setting."""
        with (
            create_instance() as machine,
            run_far_side(machine, "host") as variables,
            make_engine(machine) as engine,
        ):
            env = make_environment(
                Task(machine, machine, variables), engine, SIDECAR_RELAY="netfilter"
            )
            before = list_rules(machine)
            with agents.start(machine, tmp_path, env, word="failed") as agent:
                assert agent.process.wait(agents.PATIENCE) == 14
            assert list_rules(machine) == before
