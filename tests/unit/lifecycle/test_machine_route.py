"""The relay on a machine, whose containers have a network of their own in it.

The namespace is the machine; a second one, behind it, is a container. There the instance metadata
would answer only with a hop limit of 2 or more: every answer here is the relay's.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from local import imds
from sidecar import host, process
from sidecar.aws.instance_metadata import read_machine
from sidecar.lifecycle.facts import read_facts
from sidecar.lifecycle.job_credentials import Access, job_credentials
from sidecar.settings.load import load
from sidecar.shutdown.cleanup import CleanupStack
from tests.support.namespace import in_namespace

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(sys.platform != "linux", reason="needs network namespaces"),
]

IMDS = "169.254.169.254"
CONTAINER, BRIDGE = "198.18.7.2", "198.18.7.1"
ASK = """
import json
from botocore.utils import InstanceMetadataFetcher, InstanceMetadataRegionFetcher
given = {"timeout": 5, "env": {}, "user_agent": "judge"}
role = InstanceMetadataFetcher(**given).retrieve_iam_role_credentials()
role["region"] = InstanceMetadataRegionFetcher(**given).retrieve_region()
print(json.dumps(role))
"""

ASK_ROLE = """
from botocore.utils import InstanceMetadataFetcher
fetcher = InstanceMetadataFetcher(timeout=5, env={}, user_agent="judge")
print(fetcher.retrieve_iam_role_credentials())
"""


async def call(*argv):
    """Run a command to its end; return what it prints."""
    started = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
    output, _ = await started.communicate()
    assert started.returncode == 0, argv
    return output.decode()


@asynccontextmanager
async def run_container():
    """Run a network namespace behind this one; yield how to run a command in it."""
    holder = await asyncio.create_subprocess_exec(
        "unshare", "--net", "sh", "-c", "echo; exec sleep 600", stdout=asyncio.subprocess.PIPE
    )
    try:
        await holder.stdout.readline()
        inside = ("nsenter", "--net", f"--target={holder.pid}")
        await call(*f"ip link add c0 type veth peer name eth0 netns {holder.pid}".split())
        for command in (f"address add {BRIDGE}/24 dev c0", "link set c0 up"):
            await call("ip", *command.split())
        for command in (
            f"address add {CONTAINER}/24 dev eth0",
            "link set eth0 up",
            f"route add default via {BRIDGE}",
        ):
            await call(*inside, "ip", *command.split())
        yield inside
    finally:
        holder.kill()
        await holder.wait()


@asynccontextmanager
async def run_machine(folder, **environ):
    """Run a machine with the relay in it; yield its metadata service, and the job's credentials."""
    listener = folder / "bin" / host.LISTENER.name
    listener.parent.mkdir()
    listener.touch()
    await call("ip", "address", "add", f"{IMDS}/32", "dev", "lo")
    instance = imds.Instance(token_required=True)
    async with imds.serving(host=IMDS, port=80, instance=instance) as served:
        variables = {
            "SIDECAR_TOKEN_PARAMETER": "/unused",
            "SIDECAR_RUNNER_DIR": str(folder),
            "SIDECAR_RUNNER_USER": "nobody",
        }
        machine = await read_machine(served.url, expected=True)
        config = load([], variables | environ, machine)
        access, cleanup_stack = Access(config), CleanupStack()
        facts = await read_facts(config, so_mark=access.so_mark)
        async with process.collect_orphans():
            async with job_credentials(config, access, facts, cleanup_stack) as job:
                env = await job.wait_for_credentials("x", 60, config.passed_on, required=True)
                yield served, env
            for cleanup_step in cleanup_stack.steps:
                await cleanup_step.begin()
        assert cleanup_stack.not_done == {}


@pytest.mark.parametrize(
    "environ",
    [{"SIDECAR_RELAY": "netfilter"}, {"DOCKER_HOST": "unix:///nowhere/docker.sock"}],
    ids=["netfilter", "auto"],
)
def test_a_container_on_a_machine_gets_the_role(tmp_path, environ):
    """An AWS SDK in it finds role and region by IMDSv2, whatever the hop limit of the machine."""

    async def play():
        with capture_logs() as logs:
            async with run_container() as inside, run_machine(tmp_path, **environ) as (served, env):
                role = json.loads(await call(*inside, sys.executable, "-c", ASK))
                assert (role["role_name"], role["region"]) == ("instance", "eu-central-1")
                assert role["access_key"] == served.held["AccessKeyId"]
                peers = {seen.peer for seen in served.requests}
                assert CONTAINER not in peers
                assert env["AWS_REGION"] == "eu-central-1"
        (chosen,) = [event for event in logs if event["event"] == "relay.mode_chosen"]
        assert chosen["mode"] == "netfilter"

    in_namespace(play())


def test_a_container_gets_nothing_where_the_relay_does_not_speak_imds(tmp_path):
    """SIDECAR_RELAY_IMDS=false refuses at once, and nobody reaches the machine's own service."""

    async def play():
        environ = {"SIDECAR_RELAY": "netfilter", "SIDECAR_RELAY_IMDS": "false"}
        async with run_container() as inside, run_machine(tmp_path, **environ) as (served, _):
            said = await call(*inside, sys.executable, "-c", ASK_ROLE)
            assert said.strip() == "{}"
            assert CONTAINER not in {seen.peer for seen in served.requests}

    in_namespace(play())
