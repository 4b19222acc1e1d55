"""AWS's JavaScript SDKs read credentials from the ECS agent stand-in and from the relay."""

import asyncio
import json
import os
import subprocess
import sys
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from local import ecs_agent
from sidecar import relay

ROOT = Path(__file__).parent.parent.parent
PROGRAMS = {"v3": "whoami-v3.mjs", "v2": "whoami-v2.cjs"}

pytestmark = [pytest.mark.node, pytest.mark.parametrize("sdk", PROGRAMS)]
by_either = pytest.mark.parametrize("served_by", ["agent", "relay"])


def run(coroutine):
    """Run the coroutine of a test, for 60 s at most."""
    return asyncio.run(asyncio.wait_for(coroutine, 60))


async def whoami(sdk, *inside, **environment):
    """Run an SDK client with `environment`; return exit code, output and errors."""
    child = await asyncio.create_subprocess_exec(
        *(*inside, "node", "--no-warnings", Path(__file__).parent / PROGRAMS[sdk]),
        env={**os.environ, "AWS_SDK_JS_SUPPRESS_MAINTENANCE_MODE_MESSAGE": "1", **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, errors = await child.communicate()
    except BaseException:
        child.kill()
        raise
    return child.returncode, out.decode(), errors.decode()


def make_environment(uri, sts):
    """Return the variables for credentials from `uri`, and for STS at `sts`."""
    return {"AWS_CONTAINER_CREDENTIALS_FULL_URI": uri, "AWS_ENDPOINT_URL_STS": sts}


@asynccontextmanager
async def serving(served_by, sts):
    """Serve the task role's credentials; yield the ECS agent and the URI for a client."""
    async with ecs_agent.serving(aws_endpoint=sts) as agent:
        uri = agent.url + agent.relative_uri
        if served_by == "agent":
            yield agent, uri
            return
        async with relay.serving(
            relay.Endpoint.from_variables(full_uri=uri), "127.0.0.1", 0
        ) as relayed:
            await relayed.wait_until_fetched(5)
            yield agent, relayed.uri


@by_either
def test_a_real_sdk_gets_the_task_role(aws, sdk, served_by):
    """The credentials are complete, expire at the right time, and STS accepts them."""

    async def life():
        async with serving(served_by, aws) as (agent, uri):
            code, out, errors = await whoami(sdk, **make_environment(uri, aws))
            assert (code, errors) == (0, "")
            return json.loads(out), agent

    held, agent = run(life())
    assert held["arn"].endswith(f":assumed-role/runner-task/{agent.task.id}")
    assert held["sessionToken"]
    left = datetime.fromisoformat(held["expiration"]).timestamp() - agent.requests[0].at
    assert abs(left - agent.lifetime) < 60


@by_either
def test_a_real_sdk_is_refused_with_a_wrong_path(aws, sdk, served_by):
    """It gets no credentials, and an error at once."""

    async def life():
        async with serving(served_by, aws) as (_, uri):
            return await whoami(sdk, **make_environment(uri + "x", aws))

    code, out, errors = run(life())
    assert (code, out) == (1, "")
    assert errors


@by_either
def test_many_clients_at_once_all_get_an_answer(aws, sdk, served_by):
    """Several clients that start together do not disturb each other."""

    async def life():
        async with serving(served_by, aws) as (agent, uri):
            results = await asyncio.gather(
                *[whoami(sdk, **make_environment(uri, aws)) for _ in range(3)]
            )
            return results, len(agent.requests)

    results, asked = run(life())
    assert [code for code, *_ in results] == [0, 0, 0]
    # The relay asked once for all of them.
    assert asked == (1 if served_by == "relay" else 3)


@pytest.fixture
def namespace():
    """Serve the ECS agent stand-in at its real address, in a new network namespace."""
    there = "ip link set lo up; ip address add 169.254.170.2/32 dev lo; exec "
    serve = f"{sys.executable} -m local.ecs_agent --address 169.254.170.2:80"
    argv = ["unshare", "--net", "sh", "-ec", there + serve]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, cwd=ROOT) as child:
        try:
            assert child.stdout.readline() == b"ready http://169.254.170.2:80\n"
            yield ["nsenter", f"--net=/proc/{child.pid}/ns/net"]
        finally:
            child.terminate()


@pytest.mark.root
def test_a_real_sdk_finds_the_ecs_agent_by_its_relative_uri(namespace, sdk):
    """ECS itself sets this variable: a path at 169.254.170.2."""
    ask = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1]).read().decode())"
    argv = [*namespace, sys.executable, "-c", ask, "http://169.254.170.2/_local/environment"]
    environment = json.loads(subprocess.run(argv, check=True, capture_output=True).stdout)
    path = urlsplit(environment["AWS_CONTAINER_CREDENTIALS_FULL_URI"]).path
    whole = {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": path, "AWS_ENDPOINT_URL_STS": ""}
    code, out, errors = run(whoami(sdk, *namespace, **whole))
    assert (code, errors) == (0, "")
    assert json.loads(out)["accessKeyId"].startswith("ASIA")
