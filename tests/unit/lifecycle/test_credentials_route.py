"""The route by which jobs and containers reach the relay, in a network namespace without an engine.

`tests/engines/test_networks.py` tests the same with real engines.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from contextlib import asynccontextmanager

import aiohttp
import pytest
from structlog.testing import capture_logs

from local import ecs_agent
from sidecar import host, process
from sidecar.aws.task_metadata import read_task_facts
from sidecar.errors import RelayError
from sidecar.lifecycle.job_credentials import Access, job_credentials
from sidecar.relay import network_rules
from sidecar.settings.load import load
from sidecar.shutdown.cleanup import CleanupStack
from tests.support.namespace import ECS_AGENT, in_namespace
from tests.unit.docker.fakes import fake_engine

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(sys.platform != "linux", reason="needs network namespaces"),
]


@asynccontextmanager
async def run_task(folder, mode: str = "awsvpc", **environ: str):
    """Run the ECS agent of a task; yield it, and a context manager that relays its credentials."""
    listener = folder / "bin" / host.LISTENER.name
    listener.parent.mkdir(exist_ok=True)
    listener.touch()
    async with ecs_agent.serving(ECS_AGENT, 80, task=ecs_agent.Task(network_mode=mode)) as agent:
        variables = {
            key: value for key, value in agent.environment.items() if "FULL_URI" not in key
        }
        common = {
            "SIDECAR_TOKEN_PARAMETER": "/unused",
            "SIDECAR_RUNNER_DIR": str(folder),
            "SIDECAR_RUNNER_USER": "nobody",
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": agent.relative_uri,
            "AWS_REGION": "eu-central-1",
        }
        config = load([], common | variables | environ)

        @asynccontextmanager
        async def credentials():
            access, cleanup_stack = Access(config), CleanupStack()
            facts = await read_task_facts(config.task.metadata_uri, so_mark=access.so_mark)
            async with process.collect_orphans():
                async with job_credentials(config, access, facts, cleanup_stack) as job:
                    variables = await job.wait_for_credentials(
                        "x", 60, config.passed_on, required=True
                    )
                    yield job, dict(job.remove_agent_variables(config.passed_on)) | variables
                for cleanup_step in cleanup_stack.steps:
                    await cleanup_step.begin()
            assert cleanup_stack.not_done == {}

        yield agent, credentials


async def get_status(path: str) -> int:
    """Request a path at the ECS agent's address as a job would; return the status."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{ECS_AGENT}{path}") as answer,
    ):
        return answer.status


def list_rules() -> str:
    """List rules and addresses of this namespace."""
    listed = ""
    for argv in (["iptables-save"], ["ip", "address", "show", "lo"]):
        done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=30)
        listed += done.stdout
    return listed


def find_event(logs, name):
    """Return the one event of that name."""
    (event,) = [event for event in logs if event["event"] == name]
    return event


@pytest.mark.parametrize(
    ("environ", "reason"),
    [
        ({"SIDECAR_RELAY": "netfilter"}, "SIDECAR_RELAY=netfilter"),
        ({"DOCKER_HOST": "unix:///nowhere/docker.sock"}, "cannot be asked"),
        ({"DOCKER_HOST": "tcp://localhost:2376"}, "an address of ours"),
    ],
)
def test_rules_route_jobs_and_containers_to_the_relay(tmp_path, environ, reason):
    """The task's own path works too; afterwards all rules are gone."""

    async def scenario():
        async with run_task(tmp_path, **environ) as (agent, credentials):
            with capture_logs() as logs:
                async with credentials() as (job, env):
                    path = env["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"]
                    assert path == job.relay.relative_uri != agent.relative_uri
                    assert await get_status(path) == 200
                    assert await get_status(agent.relative_uri) == 200
                    assert await get_status("/v2/credentials/other") == 400
                    assert not [name for name in env if name.startswith("ECS_")]
                    assert len(agent.requests) == 2  # one for the metadata, one from the relay
                    assert network_rules.RELAY_ADDRESS in list_rules()
            event = find_event(logs, "relay.mode_chosen")
            assert (event["mode"], reason in event["reason"]) == ("netfilter", True)
            assert await get_status(agent.relative_uri) == 200
            for word in (network_rules.CHAIN, network_rules.RELAY_ADDRESS):
                assert word not in list_rules()

    in_namespace(scenario())


BRIDGE = (
    "link add podman0 type bridge",
    "addr add 10.88.0.1/16 dev podman0",
    "link set podman0 up",
)
CONTAINER = """
ip link set lo up && ip link set eth0 up && ip addr add 10.88.0.2/16 dev eth0
ip route add default via 10.88.0.1
exec python3 -c 'import sys, urllib.request as u; print(u.urlopen(sys.argv[1]).status)' "$1"
"""


def start_container(url: str) -> str:
    """Make the bridge, and a container on it that asks for credentials; return what it prints."""
    for command in BRIDGE:
        subprocess.run(["ip", *command.split()], check=True, timeout=30)
    holder = subprocess.Popen(
        ["unshare", "--net", "sh", "-c", "echo && exec cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with holder:
        holder.stdout.readline()
        link = f"link add veth0 master podman0 type veth peer name eth0 netns {holder.pid}"
        for command in (link, "link set veth0 up"):
            subprocess.run(["ip", *command.split()], check=True, timeout=30)
        argv = ["nsenter", f"--net=/proc/{holder.pid}/ns/net", "sh", "-ec", CONTAINER, "sh", url]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
        holder.stdin.close()
    return done.stdout.strip() or done.stderr


PODMAN = {
    "/networks": [
        {
            "Name": "podman",
            "Id": "2" * 64,
            "Driver": "bridge",
            "Options": {},
            "IPAM": {"Config": [{"Subnet": "10.88.0.0/16", "Gateway": "10.88.0.1"}]},
        }
    ],
    "/version": {"ApiVersion": "1.41", "Components": [{"Name": "Podman Engine"}]},
    "/events": [],
}


def test_the_first_container_of_podman_reaches_the_relay(tmp_path):
    """Its bridge comes with it, long after the mode was chosen; the rules are there already."""

    async def scenario():
        async with (
            fake_engine(tmp_path, PODMAN) as (engine, _),
            run_task(tmp_path, DOCKER_HOST=engine.host) as (agent, credentials),
        ):
            with capture_logs() as logs:
                async with credentials() as (job, _):
                    url = f"http://{ECS_AGENT}{job.relay.relative_uri}"
                    assert await asyncio.to_thread(start_container, url) == "200"
                    assert len(agent.requests) == 2  # the agent's own
            event = find_event(logs, "relay.mode_chosen")
            assert (event["mode"], "no bridge yet" in event["reason"]) == ("netfilter", True)

    in_namespace(scenario())


def test_without_iptables_another_mode_is_chosen(tmp_path, monkeypatch):
    """The ECS agent's own URI keeps working, and no rule is left."""
    monkeypatch.setattr(network_rules, "_PATH", "/nowhere")

    async def scenario():
        async with run_task(tmp_path, DOCKER_HOST="unix:///nowhere") as (agent, credentials):
            with capture_logs() as logs:
                async with credentials() as (job, env):
                    assert env["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"] == agent.relative_uri
                    assert job.relay.host == "127.0.0.1"
                    assert network_rules.RELAY_ADDRESS not in list_rules()
            event = find_event(logs, "relay.mode_chosen")
            assert event["mode"] == "pass-through"
            assert "cannot start iptables" in event["reason"]

    in_namespace(scenario())


@pytest.mark.parametrize(
    ("mode", "environ", "why"),
    [
        ("host", {"SIDECAR_RELAY": "netfilter"}, "not the task's own"),
        ("awsvpc", {"SIDECAR_RELAY": "netfilter", "TOOLS": "/nowhere"}, "cannot start iptables"),
        ("awsvpc", {"SIDECAR_RELAY": "netfilter", "TAKEN": "yes"}, "another agent"),
        ("awsvpc", {"SIDECAR_RELAY": "netfilter", "HELD": "no"}, r"cannot add 169\.254\.170\.23"),
        (
            "awsvpc",
            {"SIDECAR_RELAY": "local", "SIDECAR_RELAY_ADDRESS": "198.51.100.1:1"},
            "cannot serve the relay",
        ),
    ],
)
def test_a_forced_mode_that_is_impossible_is_an_error(tmp_path, monkeypatch, mode, environ, why):
    """The error names the obstacle and the setting, and nothing is left."""
    if "TOOLS" in environ:
        monkeypatch.setattr(network_rules, "_PATH", environ["TOOLS"])
    if "TAKEN" in environ:
        monkeypatch.setattr(host, "claim_network", lambda: None)
    if "HELD" in environ:
        monkeypatch.setattr(host, "add_loopback_address", refuse_address)

    async def scenario():
        async with run_task(tmp_path, mode, **environ) as (_, credentials):
            with pytest.raises(RelayError, match=why) as failed:
                async with credentials():
                    raise AssertionError
            assert "SIDECAR_RELAY" in str(failed.value)
        for word in (network_rules.CHAIN, network_rules.RELAY_ADDRESS):
            assert word not in list_rules()

    in_namespace(scenario())


def refuse_address(_address):
    """Act as a kernel that refuses the address."""
    raise PermissionError(1, "Operation not permitted")


def test_a_forced_mode_without_a_task_role_is_an_error(tmp_path):
    """A mode that the setting names is required."""
    listener = tmp_path / "bin" / host.LISTENER.name
    listener.parent.mkdir()
    listener.touch()
    config = load(
        [],
        {
            "SIDECAR_TOKEN_PARAMETER": "/unused",
            "SIDECAR_RUNNER_DIR": str(tmp_path),
            "SIDECAR_RUNNER_USER": "nobody",
            "SIDECAR_RELAY": "local",
        },
    )

    async def work():
        async with job_credentials(
            config, Access(config), await read_task_facts(None), CleanupStack()
        ):
            raise AssertionError

    with pytest.raises(RelayError, match="no role"):
        asyncio.run(work())


def test_rules_of_a_killed_agent_are_removed_in_any_mode(tmp_path):
    """Else requests would go to a port where nobody listens. The rules of a running agent stay."""

    async def scenario():
        killed = network_rules.Redirect(frozenset({"awsvpc"}), containers=True)
        async with run_task(tmp_path, SIDECAR_RELAY="local") as (_, credentials):
            async with process.collect_orphans():
                killed.prepare()
                await network_rules.Iptables().add_rules(
                    network_rules.Target(network_rules.RELAY_ADDRESS, 9, ())
                )
            with capture_logs() as logs:
                async with credentials():
                    assert network_rules.CHAIN in list_rules()
                killed._claim.close()
                async with credentials():
                    for word in (network_rules.CHAIN, network_rules.RELAY_ADDRESS):
                        assert word not in list_rules()
            assert find_event(logs, "network.leftovers_removed")["failures"] == []

    in_namespace(scenario())


def test_nothing_secret_is_logged(tmp_path):
    """Neither the relay's path nor the ECS agent's."""

    async def scenario():
        async with run_task(tmp_path, SIDECAR_RELAY="netfilter") as (agent, credentials):
            with capture_logs() as logs:
                async with credentials() as (job, _):
                    secrets = (job.relay.relative_uri, agent.relative_uri)
            assert not [secret for secret in secrets if secret in json.dumps(logs, default=str)]

    in_namespace(scenario())
