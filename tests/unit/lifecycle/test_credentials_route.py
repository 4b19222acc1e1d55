"""The way by which jobs and containers reach the relay, in a namespace without any engine.

What real engines make of it is in `tests/engines/test_networks.py`.
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
from sidecar.aws.task_metadata import task_facts
from sidecar.errors import RelayError
from sidecar.lifecycle.job_credentials import Access, job_credentials
from sidecar.relay import network_rules
from sidecar.settings.load import load
from sidecar.shutdown.cleanup import CleanupStack
from tests.support.namespace import ECS_AGENT, in_namespace

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(sys.platform != "linux", reason="needs network namespaces"),
]


@asynccontextmanager
async def task(folder, mode: str = "awsvpc", **environ: str):
    """Put up the ECS agent of such a task; give its configuration, and what relays for it."""
    listener = folder / "bin" / host.LISTENER.name
    listener.parent.mkdir(exist_ok=True)
    listener.touch()
    async with ecs_agent.serving(ECS_AGENT, 80, task=ecs_agent.Task(network_mode=mode)) as agent:
        told = {key: value for key, value in agent.environment.items() if "FULL_URI" not in key}
        common = {
            "SIDECAR_TOKEN_PARAMETER": "/unused",
            "SIDECAR_RUNNER_DIR": str(folder),
            "SIDECAR_RUNNER_USER": "nobody",
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": agent.relative_uri,
            "AWS_REGION": "eu-central-1",
        }
        config = load([], common | told | environ)

        @asynccontextmanager
        async def credentials():
            access, cleanup_stack = Access(config), CleanupStack()
            facts = await task_facts(config.task.metadata_uri, so_mark=access.so_mark)
            async with process.reaping():
                async with job_credentials(config, access, facts, cleanup_stack) as found:
                    told = await found.warmed("x", 10, config.passed_on, required=True)
                    yield found, dict(found.without_agents(config.passed_on)) | told
                for cleanup_step in cleanup_stack.steps:
                    await cleanup_step.begin()
            assert cleanup_stack.not_done == {}

        yield agent, credentials


async def status(path: str) -> int:
    """Ask at the ECS agent's address as a job would; give the status."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{ECS_AGENT}{path}") as answer,
    ):
        return answer.status


def standing() -> str:
    """List rules and addresses of this namespace."""
    listed = ""
    for argv in (["iptables-save"], ["ip", "address", "show", "lo"]):
        done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=30)
        listed += done.stdout
    return listed


def said(logs, name):
    """Return the one event of that name."""
    (event,) = [event for event in logs if event["event"] == name]
    return event


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"SIDECAR_RELAY": "netfilter"}, "SIDECAR_RELAY=netfilter"),
        ({"DOCKER_HOST": "unix:///nowhere/docker.sock"}, "cannot be asked"),
        ({"DOCKER_HOST": "tcp://localhost:2376"}, "an address of ours"),
    ],
)
def test_rules_lead_jobs_and_containers_to_the_relay(tmp_path, given, reason):
    """The task's own path is good as well; after the life all is as it was."""

    async def play():
        async with task(tmp_path, **given) as (agent, credentials):
            with capture_logs() as logs:
                async with credentials() as (found, env):
                    path = env["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"]
                    assert path == found.served.relative_uri != agent.relative_uri
                    assert await status(path) == 200
                    assert await status(agent.relative_uri) == 200
                    assert await status("/v2/credentials/other") == 400
                    assert not [name for name in env if name.startswith("ECS_")]
                    assert len(agent.requests) == 2  # for the metadata, and by the relay
                    assert network_rules.RELAY_ADDRESS in standing()
            told = said(logs, "relay.mode_chosen")
            assert (told["mode"], reason in told["reason"]) == ("netfilter", True)
            assert await status(agent.relative_uri) == 200
            for word in (network_rules.CHAIN, network_rules.RELAY_ADDRESS):
                assert word not in standing()

    in_namespace(play())


def test_without_a_tool_the_next_best_is_taken(tmp_path, monkeypatch):
    """The agent's own URI stays good, and nothing is left of the attempt."""
    monkeypatch.setattr(network_rules, "_PATH", "/nowhere")

    async def play():
        async with task(tmp_path, DOCKER_HOST="unix:///nowhere") as (agent, credentials):
            with capture_logs() as logs:
                async with credentials() as (found, env):
                    assert env["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"] == agent.relative_uri
                    assert found.served.host == "127.0.0.1"
                    assert network_rules.RELAY_ADDRESS not in standing()
            told = said(logs, "relay.mode_chosen")
            assert told["mode"] == "pass-through"
            assert "cannot start iptables" in told["reason"]

    in_namespace(play())


@pytest.mark.parametrize(
    ("mode", "given", "why"),
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
def test_a_mode_that_is_asked_for_and_cannot_be_ends_the_life(
    tmp_path, monkeypatch, mode, given, why
):
    """With what is in the way, the setting that asks for it, and nothing left."""
    if "TOOLS" in given:
        monkeypatch.setattr(network_rules, "_PATH", given["TOOLS"])
    if "TAKEN" in given:
        monkeypatch.setattr(host, "claim_network", lambda: None)
    if "HELD" in given:
        monkeypatch.setattr(host, "hold_address", not_held)

    async def play():
        async with task(tmp_path, mode, **given) as (_, credentials):
            with pytest.raises(RelayError, match=why) as failed:
                async with credentials():
                    raise AssertionError
            assert "SIDECAR_RELAY" in str(failed.value)
        for word in (network_rules.CHAIN, network_rules.RELAY_ADDRESS):
            assert word not in standing()

    in_namespace(play())


def not_held(_address):
    """Stand for a kernel that gives no address."""
    raise PermissionError(1, "Operation not permitted")


def test_a_task_without_a_role_cannot_relay_as_told(tmp_path):
    """A way that is named is wanted."""
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
        async with job_credentials(config, Access(config), await task_facts(None), CleanupStack()):
            raise AssertionError

    with pytest.raises(RelayError, match="no role"):
        asyncio.run(work())


def test_what_a_killed_agent_left_goes_in_any_mode(tmp_path):
    """Else a step would be led to a port that nobody listens at; a living agent's rules stay."""

    async def play():
        killed = network_rules.Redirect(frozenset({"awsvpc"}), containers=True)
        async with task(tmp_path, SIDECAR_RELAY="local") as (_, credentials):
            async with process.reaping():
                killed.prepare()
                await network_rules.Iptables().put_up(
                    network_rules.Target(network_rules.RELAY_ADDRESS, 9, ())
                )
            with capture_logs() as logs:
                async with credentials():
                    assert network_rules.CHAIN in standing()
                killed._claim.close()
                async with credentials():
                    for word in (network_rules.CHAIN, network_rules.RELAY_ADDRESS):
                        assert word not in standing()
            assert said(logs, "network.leftovers_removed")["failures"] == []

    in_namespace(play())


def test_nothing_secret_is_logged(tmp_path):
    """Neither the relay's path nor the agent's."""

    async def play():
        async with task(tmp_path, SIDECAR_RELAY="netfilter") as (agent, credentials):
            with capture_logs() as logs:
                async with credentials() as (found, _):
                    secrets = (found.served.relative_uri, agent.relative_uri)
            assert not [secret for secret in secrets if secret in json.dumps(logs, default=str)]

    in_namespace(play())
