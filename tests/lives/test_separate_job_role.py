"""Run lives whose jobs have a role of their own, each in a network namespace of its own.

The stand-in for the ECS agent listens at the real address. Jobs run as another user, and ask with
a real AWS SDK.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from local import aws, ecs_agent
from local.stage import Addresses
from tests.lives import stage as stages
from tests.lives.stage import ON_UVLOOP
from tests.support.namespace import ECS_AGENT, in_namespace
from tests.support.walls import PROBE as ASK_WITHOUT_PAUSE
from tests.support.walls import UNMENDED

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lives.stage import Stage

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(sys.platform != "linux", reason="needs network namespaces"),
]

JOB_ROLE = f"arn:aws:iam::{aws.ACCOUNT}:role/job"
POLICY = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}],
    }
)

WITHOUT_NET_ADMIN = ("setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin")

PROBE = """
import json, os, socket, sys, urllib.error, urllib.request
agent, pid, real, metadata = sys.argv[1:]

def got(url):
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError as error:
        return type(error).__name__

def tried(what):
    try:
        return str(what())
    except OSError as error:
        return type(error).__name__

def marked():
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 0x45525343)

import boto3
env = {k: v for k, v in os.environ.items() if k.startswith(("AWS_", "ECS_"))}
found = {"uid": os.getuid(), "env": env}
try:
    found["arn"] = boto3.client("sts").get_caller_identity()["Arn"]
except Exception as error:
    found["arn"] = type(error).__name__
found["real path"] = got(f"http://{agent}{real}")
found["metadata"] = got(metadata + "/task")
found["mark"] = tried(marked)
found["environ"] = tried(lambda: open(f"/proc/{pid}/environ").read())
found["mem"] = tried(lambda: open(f"/proc/{pid}/mem"))
print("FOUND" + json.dumps(found))
"""


@asynccontextmanager
async def open_stage(network_mode: str = "awsvpc"):
    """Open a stage whose ECS agent listens where the real one does."""
    at = Addresses(ecs_agent=(ECS_AGENT, 80))
    task = ecs_agent.Task(network_mode=network_mode)
    async with stages.open_stage(at=at, task=task, use_sts=True) as stage:
        (stage.folder / "probe.py").write_text(PROBE)
        copy_sdk(stage.folder / "sdk")
        yield stage


def make_environment(stage: Stage, **more: str | None) -> dict[str, str | None]:
    """Return the variables of ECS, whose agent is at its real address, and of the job's role."""
    return {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": None,
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": stage.ecs.relative_uri,
        "AWS_ENDPOINT_URL_STS": stage.moto,
        "SIDECAR_JOB_ROLE_ARN": JOB_ROLE,
        "SIDECAR_JOB_POLICY": POLICY,
        "SIDECAR_NAME": "build-1",
        **more,
    }


def copy_sdk(folder: Path) -> None:
    """Copy boto3, as far as STS needs it, to where the job's user may read it."""

    def needless(where: str, names: list[str]) -> list[str]:
        data = where.endswith("botocore/data")
        return [name for name in names if data and name != "sts" and "." not in name]

    for name in ("boto3", "botocore", "dateutil", "jmespath", "s3transfer", "urllib3"):
        (found,) = importlib.util.find_spec(name).submodule_search_locations
        shutil.copytree(found, folder / name, ignore=needless)
    shutil.copy(importlib.util.find_spec("six").origin, folder)


def make_probe_step(stage: Stage, life) -> str:
    """Return the step that tries what a job can reach, with a Python that its user may run."""
    first = (stage.runner_folder / "bin" / "Runner.Listener").read_text().splitlines()[0]
    python = first.removeprefix("#!").split()[0]
    metadata = stage.ecs.environment["ECS_CONTAINER_METADATA_URI_V4"]
    arguments = f"{ECS_AGENT} {life.pid} {stage.ecs.relative_uri} {metadata}"
    return f"PYTHONPATH={stage.folder}/sdk {python} {stage.folder}/probe.py {arguments}"


def read_probe(job) -> dict:
    """Return what the step found."""
    lines = [line for line in job.log().splitlines() if "FOUND" in line]
    assert len(lines) == 1, job.log()
    (line,) = lines
    return json.loads(line.partition("FOUND")[2])


def list_rules() -> str:
    """Return all network rules of this namespace."""
    return subprocess.run(
        ["iptables-save"], check=True, capture_output=True, text=True, timeout=30
    ).stdout


def test_a_job_gets_its_role_and_cannot_use_the_agent_s():
    """At the usual address a job gets the job's role, and it cannot get the agent's role.

    It cannot use the real path or the mark, nor read the agent's environment or memory. After the
    life the network rule is gone.
    """

    async def play():
        async with open_stage() as stage:
            await stage.put()
            async with stage.life(env=make_environment(stage)) as life:
                await life.wait_for_event("network.rules_added")
                await life.wait_for_event("runner.started")
                job = stage.job(make_probe_step(stage, life))
                await stage.check_end(life, 0)
            assert life.find_events("task.protected"), (
                "the agent itself still reaches the ECS agent"
            )
            assert not life.find_events("task.metadata_failed")
            seen = read_probe(job)
            assert seen["uid"] != 0
            assert seen["arn"] == f"arn:aws:sts::{aws.ACCOUNT}:assumed-role/job/build-1"
            assert seen["real path"] == 400
            assert seen["metadata"] == 404
            assert seen["mark"] == "PermissionError"
            assert seen["environ"] == seen["mem"] == "PermissionError"
            env = seen["env"]
            assert env["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"] != stage.ecs.relative_uri
            assert "AWS_CONTAINER_CREDENTIALS_FULL_URI" not in env
            assert not [name for name in env if name.startswith("ECS_")]
            assert stage.ecs.relative_uri not in json.dumps(seen)
            assert "169.254.170.2" not in list_rules()
            assert stage.ecs.relative_uri not in life.text
            async with stage.http.get(stage.ecs.url + stage.ecs.relative_uri) as answer:
                assert answer.status == 200

    in_namespace(play())


@pytest.mark.parametrize("mended", [True, False], ids=["mended", "unmended"])
def test_the_rule_stands_until_the_job_s_last_process_is_dead(mended):
    """A step that ignores the interrupt, and a daemon of it, never get the agent's role.

    They ask for it without a pause. An agent that removes the rule at the interrupt gives it.
    tests/engines tries the same with a container.
    """

    async def play():
        async with open_stage() as stage:
            await stage.put()
            probe = stage.folder / "ask.py"
            probe.write_text(ASK_WITHOUT_PAUSE)
            answers = [stage.folder / name for name in ("step", "daemon")]
            for path in answers:
                path.touch()
                path.chmod(0o666)
            python = make_probe_step(stage, SimpleNamespace(pid=0)).split()[1]
            url = f"http://{ECS_AGENT}{stage.ecs.relative_uri}"
            step, daemon = (f"{python} {probe} {path} {url} >/dev/null 2>&1" for path in answers)
            waits = " -o ".join(f"! -s {path}" for path in answers)
            job = stage.job(
                f"trap '' INT TERM\nsetsid {daemon} &\n{step} &\n"
                f"while [ {waits} ]; do sleep 0.05; done; echo 'at the gate'; wait"
            )
            argv = ON_UVLOOP if mended else UNMENDED
            env = make_environment(stage, SIDECAR_STOP_TIMEOUT="120")
            async with stage.life(argv, env=env) as life:
                await stage.wait_for_output(job, "at the gate")
                life.signal()
                await life.wait_for_event("stop.job_awaited")
                life.signal(signal.SIGINT)  # two of one kind may become one
                await stage.check_end(life, 22)
            said = {path.name: set(path.read_text().split()) for path in answers}
            assert all(("200" in one) is not mended for one in said.values()), said

    in_namespace(play())


def test_the_rule_of_a_killed_agent_is_replaced():
    """After a kill and a new start there is one rule, and it leads to the new relay."""

    async def play():
        async with open_stage() as stage:
            await stage.put()
            async with stage.life(env=make_environment(stage)) as life:
                await life.wait_for_event("network.rules_added")
                life.signal(signal.SIGKILL)
                await life.wait_for_end()
            assert list_rules().count("169.254.170.2") == 1
            await stage.put()
            async with stage.life(env=make_environment(stage, SIDECAR_NAME="build-2")) as life:
                await life.wait_for_event("runner.started")
                assert list_rules().count("169.254.170.2") == 1
                job = stage.job(make_probe_step(stage, life))
                assert await life.wait_for_end() == 0
            assert read_probe(job)["arn"].endswith("assumed-role/job/build-2")
            assert "169.254.170.2" not in list_rules()

    in_namespace(play())


@pytest.mark.parametrize(
    ("network_mode", "wrapper", "why"),
    [
        ("host", (), "not the task's own"),
        ("awsvpc", WITHOUT_NET_ADMIN, "NET_ADMIN"),
    ],
)
def test_without_a_rule_a_job_gets_the_relay_s_address(network_mode, wrapper, why):
    """No rule is made in the instance's own namespace, nor without the capability for it.

    A job then gets the relay's address, and never the agent's own path.
    """

    async def play():
        async with open_stage(network_mode) as stage:
            await stage.put()
            env = make_environment(stage)
            async with stage.life((*wrapper, *ON_UVLOOP), env=env) as life:
                event = await life.wait_for_event("network.rules_skipped")
                assert why in event["reason"]
                assert "169.254.170.2" not in list_rules()
                await life.wait_for_event("runner.started")
                job = stage.job(make_probe_step(stage, life))
                await stage.check_end(life, 0)
            seen = read_probe(job)
            assert seen["arn"] == f"arn:aws:sts::{aws.ACCOUNT}:assumed-role/job/build-1"
            assert seen["environ"] == seen["mem"] == "PermissionError"
            env = seen["env"]
            assert env["AWS_CONTAINER_CREDENTIALS_FULL_URI"].startswith("http://127.0.0.1:")
            assert "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI" not in env
            assert stage.ecs.relative_uri not in json.dumps(seen["env"])

    in_namespace(play())


def test_a_policy_alone_restricts_the_task_role():
    """Without a role of its own, the policy applies to the role that the ECS agent names."""

    async def play():
        async with open_stage() as stage:
            await stage.put()
            env = make_environment(stage, SIDECAR_JOB_ROLE_ARN=None)
            async with stage.life(env=env) as life:
                await life.wait_for_event("runner.started")
                job = stage.job(make_probe_step(stage, life))
                await stage.check_end(life, 0)
            role = aws.TASK_ROLE.rpartition("/")[2]
            assert read_probe(job)["arn"].endswith(f"assumed-role/{role}/build-1")

    in_namespace(play())


def test_a_job_whose_role_is_unavailable_has_none():
    """While STS cannot be reached a job gets 503, and never the task role instead."""

    async def play():
        async with open_stage() as stage:
            await stage.put()
            env = make_environment(stage, AWS_ENDPOINT_URL_STS="http://127.0.0.1:9")
            async with stage.life(env=env) as life:
                cold = await life.wait_for_event("relay.credentials_delayed")
                assert "cannot assume" in cold["reason"]
                await life.wait_for_event("runner.started")
                job = stage.job(f"AWS_ENDPOINT_URL_STS={stage.moto} {make_probe_step(stage, life)}")
                await stage.check_end(life, 0)
            assert read_probe(job)["arn"] == "CredentialRetrievalError"

    in_namespace(play())


def test_a_required_role_that_is_unavailable_ends_the_life():
    """With SIDECAR_RELAY_REQUIRED no job is taken without the role: exit 14, nothing is left."""

    async def play():
        async with open_stage() as stage:
            await stage.put()
            env = make_environment(
                stage, AWS_ENDPOINT_URL_STS="http://127.0.0.1:9", SIDECAR_RELAY_REQUIRED="true"
            )
            async with stage.life(env=env) as life:
                await stage.check_end(life, 14)
            assert not life.find_events("runner.started")
            assert "169.254.170.2" not in list_rules()

    in_namespace(play())


def test_without_the_setting_a_job_shares_the_task_role_and_the_log_says_so():
    """A job has the task role; one line at the start says what it can read with it."""

    async def play():
        async with open_stage() as stage:
            await stage.put()
            env = make_environment(
                stage,
                SIDECAR_JOB_ROLE_ARN=None,
                SIDECAR_JOB_POLICY=None,
                AWS_DEFAULT_REGION=aws.REGION,
            )
            async with stage.life(env=env) as life:
                (event,) = [await life.wait_for_event("job.role_shared")]
                assert "/lives/*" in json.dumps(event["can_read"])
                await life.wait_for_event("runner.started")
                assert "169.254.170.2" not in list_rules()
                job = stage.job(make_probe_step(stage, life))
                await stage.check_end(life, 0)
            seen = read_probe(job)
            assert seen["real path"] == seen["metadata"] == 200
            assert seen["env"]["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"] == stage.ecs.relative_uri
            assert aws.TASK_ROLE.rpartition("/")[2] in seen["arn"]

    in_namespace(play())
