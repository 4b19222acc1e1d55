"""The whole relay: real SDKs as clients, start, refusals and end."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest
from structlog.testing import capture_logs

from local import aws as local_aws
from local import ecs_agent
from sidecar import relay
from sidecar.errors import RelayError

ROOT = Path(__file__).parents[3]
TIMEOUT = 60.0
PATIENT = relay.Pace(try_timeout=60.0)
"""For those who count the calls upstream: a try that a busy machine cuts is one more."""

WHOAMI = """
import boto3
session = boto3.Session()
print(session.client("sts").get_caller_identity()["Arn"])
print(session.get_credentials().method)
"""
WHOAMI_AIO = """
import asyncio
from aiobotocore.session import get_session
async def main():
    session = get_session()
    async with session.create_client("sts") as sts:
        print((await sts.get_caller_identity())["Arn"])
    print((await session.get_credentials()).method)
asyncio.run(main())
"""


async def program(source: str, **env: str) -> str:
    """Run a Python program in a child process; return its output."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", source),
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await child.communicate()
    assert child.returncode == 0, err.decode()
    return out.decode()


def assumed(role: str) -> str:
    """Return the ARN of a session of `role`, without the session name."""
    return role.replace(":iam:", ":sts:").replace(":role/", ":assumed-role/") + "/"


# --- real SDKs ----------------------------------------------------------------------------------


@pytest.mark.parametrize("source", [WHOAMI, WHOAMI_AIO], ids=["boto3", "aiobotocore"])
def test_an_sdk_that_has_only_the_uri_gets_the_task_role(run, aws, source):
    """The credentials go from the ECS agent through the relay into a real SDK; STS accepts them."""

    async def case():
        async with ecs_agent.serving(aws_endpoint=aws) as agent:
            uri = agent.environment["AWS_CONTAINER_CREDENTIALS_FULL_URI"]
            endpoint = relay.Endpoint.from_variables(full_uri=uri)
            async with relay.serving(endpoint, "127.0.0.1", 0, pace=PATIENT) as served:
                await served.wait_until_fetched(20)
                said = await asyncio.gather(
                    *(
                        program(
                            source,
                            AWS_CONTAINER_CREDENTIALS_FULL_URI=served.uri,
                            AWS_ENDPOINT_URL=aws,
                        )
                        for _ in range(2)
                    )
                )
            return said, len(agent.requests)

    said, calls = run(case())
    for lines in said:
        arn, method = lines.split()
        assert arn.startswith(assumed(local_aws.TASK_ROLE))
        assert method == "container-role"
    assert calls == 1


def test_an_sdk_reads_the_relays_errors(run, upstream):
    """The error of an SDK that asks before the first fetch has the code of the relay."""
    source = """
import boto3, botocore.exceptions
try:
    boto3.client("sts").get_caller_identity()
except botocore.exceptions.CredentialRetrievalError as error:
    print(error)
"""

    async def case():
        async with (
            upstream(None) as up,
            relay.serving(up.endpoint, "127.0.0.1", 0) as served,
        ):
            uri = served.uri
            return await program(source, AWS_CONTAINER_CREDENTIALS_FULL_URI=uri)

    assert "CredentialsUninitialized" in run(case())


NETNS = """
import asyncio, os, subprocess, sys
from local import ecs_agent
from sidecar import relay

CLIENT = '''
import boto3
held = boto3.Session().get_credentials()
print(held.access_key, held.method)
'''

async def client(**env):
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CLIENT, env={**os.environ, **env}, stdout=subprocess.PIPE)
    return (await child.communicate())[0].decode().strip()

async def main():
    async with ecs_agent.serving("169.254.170.2", 80) as agent:
        endpoint = relay.Endpoint.from_variables(relative_uri=agent.relative_uri)
        async with relay.serving(endpoint, "127.0.0.1", 0) as served:
            await served.wait_until_fetched(20)
            direct = await client(AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=agent.relative_uri)
            through = await client(AWS_CONTAINER_CREDENTIALS_FULL_URI=served.uri)
            print(direct == through, direct.split()[1])
    async with ecs_agent.serving("127.0.0.1") as agent:
        endpoint = relay.Endpoint.from_variables(full_uri=agent.url + agent.relative_uri)
        async with relay.serving(endpoint, "169.254.170.2", 80) as served:
            await served.wait_until_fetched(20)
            relative = await client(AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=served.relative_uri)
            full = await client(AWS_CONTAINER_CREDENTIALS_FULL_URI=agent.url + agent.relative_uri)
            print(relative == full, relative.split()[1])

asyncio.run(main())
"""


@pytest.mark.root
def test_the_relative_uri_works_at_its_real_address():
    """In a new network namespace, ECS agent and relay are served at 169.254.170.2."""
    missing = [tool for tool in ("unshare", "ip") if not shutil.which(tool)]
    if missing:
        pytest.skip(f"needs {', '.join(missing)} on PATH")
    script = 'ip link set lo up && ip address add 169.254.170.2/32 dev lo && exec "$0" -c "$1"'
    child = subprocess.run(
        ["unshare", "--net", "sh", "-c", script, sys.executable, NETNS],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    said = [line for line in child.stdout.splitlines() if line.startswith(("True", "False"))]
    assert said == ["True container-role"] * 2


# --- start and refusals -------------------------------------------------------------------------


def test_the_start_does_not_wait_for_upstream(run, upstream):
    """The relay answers 503 at once while the first fetch is in progress."""

    async def case():
        async with (
            upstream(None) as up,
            relay.serving(up.endpoint, "127.0.0.1", 0) as served,
            aiohttp.ClientSession() as session,
            session.get(served.uri) as answer,
        ):
            return answer.status, served.state.held

    assert run(case()) == (503, False)


def test_a_burst_at_the_start_is_one_call_upstream(run, upstream, say):
    """200 clients that ask before the first fetch ends are all answered, without more calls."""

    async def case():
        async with (
            upstream(None) as up,
            relay.serving(
                up.endpoint, "127.0.0.1", 0, clock=relay.Clock(lambda: say.start), pace=PATIENT
            ) as served,
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
        ):

            async def ask():
                async with session.get(served.uri) as answer:
                    return answer.status, await answer.read()

            before = await asyncio.gather(*(ask() for _ in range(200)))
            up.release(say.good())
            await served.wait_until_fetched(20)
            after = await asyncio.gather(*(ask() for _ in range(200)))
            return {status for status, _ in before}, set(after), len(up.heads)

    before, after, calls = run(case())
    assert before == {503}
    ((status, body),) = after
    assert status == 200
    assert json.loads(body)["AccessKeyId"] == "ASIATESTKEY00001"
    assert calls == 1


def test_expired_credentials_are_not_served(run, upstream, say, time, hasty):
    """Exactly from their expiry on, also while the refresh fails."""

    async def case():
        fake = time()
        async with (
            upstream(say.good(say.start + 60), say.answer(500)) as up,
            relay.serving(up.endpoint, "127.0.0.1", 0, clock=fake.clock, pace=hasty) as served,
            aiohttp.ClientSession() as session,
        ):
            await served.wait_until_fetched(20)
            found = []
            for now in (0, 59.9, 60):
                fake.now = say.start + now
                async with session.get(served.uri) as answer:
                    found.append((answer.status, served.state.held))
            return found

    assert run(case()) == [(200, True), (200, True), (503, False)]


def test_each_relay_has_a_different_secret_path(run, upstream, say):
    """It has 256 random bits; no event and no repr shows it."""

    async def case():
        found = []
        with capture_logs() as logs:
            async with upstream(say.good()) as up:
                for _ in range(2):
                    async with relay.serving(up.endpoint, "127.0.0.1", 0) as served:
                        assert served.uri.endswith(served.relative_uri)
                        found.append(served.relative_uri)
                        assert served.relative_uri not in repr(served) + repr(logs)
        return found, logs

    (one, other), logs = run(case())
    assert one != other
    secret = one.removeprefix("/v2/credentials/")
    assert len(base64.urlsafe_b64decode(secret + "=")) == 32
    assert logs[0]["event"] == "relay.started"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "169.254.170.2"}, 200),
        ({"Host": "169.254.170.2:80"}, 200),
        ({"Host": "evil.example"}, 421),
        ({"X-Forwarded-For": "10.0.0.1"}, 403),
        ({"Forwarded": "for=10.0.0.1"}, 403),
        ({"Via": "1.1 proxy"}, 403),
        ({"Content-Length": "2"}, 413),
    ],
)
def test_a_request_of_somebody_else_is_refused(run, upstream, say, headers, status):
    """The listener refuses DNS rebinding, forwarding and bodies, in a form that SDKs read."""

    async def case():
        async with (
            upstream(say.good()) as up,
            relay.serving(
                up.endpoint, "127.0.0.1", 0, clock=relay.Clock(lambda: say.start)
            ) as served,
            aiohttp.ClientSession() as session,
        ):
            await served.wait_until_fetched(20)
            data = b"{}" if "Content-Length" in headers else None
            async with session.get(served.uri, headers=headers, data=data) as answer:
                assert answer.headers["Content-Type"] == "application/json"
                assert answer.headers["Cache-Control"] == "no-store"
                return answer.status, await answer.json()

    found, body = run(case())
    assert found == status
    assert ("AccessKeyId" in body) == (status == 200)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", ""])
def test_a_wildcard_address_is_refused(run, host):
    """A relay on every address could be used by neighbours. The error names the setting."""

    async def case():
        async with relay.serving(relay.Endpoint("http://127.0.0.1:9/x"), host, 0):
            pass

    with pytest.raises(RelayError, match="SIDECAR_RELAY_ADDRESS"):
        run(case())


def test_a_taken_address_is_named(run):
    """The error has the address, the reason and the setting."""

    async def case():
        endpoint = relay.Endpoint("http://127.0.0.1:9/x")
        async with relay.serving(endpoint, "127.0.0.1", 0) as served:
            with pytest.raises(RelayError) as caught:
                async with relay.serving(endpoint, "127.0.0.1", served.port):
                    pass
            return str(caught.value), served.port

    said, port = run(case())
    assert said == (
        f"cannot serve the relay on 127.0.0.1:{port}: address already in use "
        "(change SIDECAR_RELAY_ADDRESS)"
    )


# --- end ----------------------------------------------------------------------------------------


def is_an_accept(task):
    """Return whether a task is asyncio's own on Windows, which ends in the loop's next turn."""
    return task.get_coro().__qualname__ == "IocpProactor.accept.<locals>.accept_coro"


@pytest.mark.alone
def test_the_end_is_quick_though_upstream_hangs(run, upstream):
    """A fetch in progress and waiting clients are ended, and no asyncio task remains."""

    async def case():
        loop = asyncio.get_running_loop()
        before = asyncio.all_tasks()
        async with upstream(None) as up:
            async with relay.serving(up.endpoint, "127.0.0.1", 0) as served:
                await up.hanging.wait()
                reader, writer = await asyncio.open_connection(served.host, served.port)
                writer.write(b"GET /")
                await writer.drain()
                began = loop.time()
            took = loop.time() - began
            left = {task for task in asyncio.all_tasks() - before if not is_an_accept(task)}
            with suppress(ConnectionError):
                assert await reader.read() == b""
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
        return took, left

    took, left = run(case())
    assert took < 1.0
    assert not left


def test_an_error_in_the_block_is_raised_unchanged(run):
    """Neither an error nor a cancellation is wrapped into a group, or lost."""

    async def case():
        endpoint = relay.Endpoint("http://127.0.0.1:9/x")
        with pytest.raises(ZeroDivisionError):
            async with relay.serving(endpoint, "127.0.0.1", 0):
                raise ZeroDivisionError
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05), relay.serving(endpoint, "127.0.0.1", 0):
                await asyncio.Event().wait()

    run(case())
