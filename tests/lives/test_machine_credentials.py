"""Run lives on a machine whose jobs ask for AWS credentials.

Each is in a network namespace of its own, where the stand-in for the instance metadata listens at
the real address.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import asynccontextmanager

import pytest

from local import aws, imds
from tests.lives.machine import open_machine
from tests.lives.test_separate_job_role import JOB_ROLE, POLICY, copy_sdk, list_rules, read_probe
from tests.support.namespace import in_namespace

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(sys.platform != "linux", reason="needs network namespaces"),
]

IMDS = "169.254.169.254"
WITHOUT_NET_ADMIN = ("setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin")
PROBE = """
import json, os, sys, urllib.request
import boto3

def ask(path, method="GET", **headers):
    request = urllib.request.Request(f"http://169.254.169.254{path}", method=method)
    for name, value in headers.items():
        request.add_header(name.replace("_", "-"), value)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read().decode()
    except OSError as error:
        return f"{type(error).__name__}: {error}"

found = {"env": {k: v for k, v in os.environ.items() if k.startswith("AWS_")}}
try:
    sts = boto3.client("sts", region_name=os.environ["AWS_REGION"])
    found["arn"] = sts.get_caller_identity()["Arn"]
except Exception as error:
    found["arn"] = type(error).__name__
token = ask("/latest/api/token", "PUT", X_aws_ec2_metadata_token_ttl_seconds="60")
data = "/latest/meta-data"
read = lambda path: ask(data + path, X_aws_ec2_metadata_token=token)
found["id"] = read("/instance-id")
role = read("/iam/security-credentials/")
found["key"] = json.loads(read(f"/iam/security-credentials/{role}"))["AccessKeyId"]
found["user data"] = ask("/latest/user-data", X_aws_ec2_metadata_token=token)
print("FOUND" + json.dumps(found))
"""


@asynccontextmanager
async def open_stage(**facts):
    """Open a stage of a machine whose metadata are at the real address, with a job that asks."""
    add = await asyncio.create_subprocess_exec("ip", "addr", "add", f"{IMDS}/32", "dev", "lo")
    assert await add.wait() == 0
    async with open_machine(host=IMDS, port=80, **facts) as stage:
        (stage.folder / "probe.py").write_text(PROBE)
        copy_sdk(stage.folder / "sdk")
        yield stage


def make_environment(stage, **more):
    """Return what a unit of systemd sets; the metadata are found as AWS SDKs find them."""
    return {
        "AWS_EC2_METADATA_SERVICE_ENDPOINT": None,
        "AWS_ENDPOINT_URL_STS": stage.moto,
        "SIDECAR_NAME": "build-1",
        **more,
    }


async def ask_as_job(stage, argv=None, **more):
    """Run a life with a job that asks; return what it found, the life, and the rules meanwhile."""
    await stage.put()
    first = (stage.runner_folder / "bin" / "Runner.Listener").read_text().splitlines()[0]
    python = first.removeprefix("#!").split()[0]
    step, let_go = stage.make_gate()
    job = stage.job(step, f"PYTHONPATH={stage.folder}/sdk {python} {stage.folder}/probe.py")
    arguments = (argv,) if argv else ()
    async with stage.life(*arguments, env=make_environment(stage, **more)) as life:
        await stage.wait_for_output(job, "at the gate")
        rules = list_rules()
        let_go()
        await stage.check_end(life, 0)
    assert IMDS not in list_rules()
    return read_probe(job), life, rules


def test_a_job_has_the_instance_s_role():
    """Without a role of its own it asks the machine's metadata itself, as on any machine."""

    async def play():
        async with open_stage() as stage:
            seen, life, rules = await ask_as_job(stage)
            assert seen["arn"].startswith(f"arn:aws:sts::{aws.ACCOUNT}:assumed-role/instance/")
            assert seen["key"] == stage.metadata.held["AccessKeyId"]
            assert seen["id"] == imds.INSTANCE
            assert IMDS not in rules
            assert life.find_events("relay.mode_chosen", mode="local")

    in_namespace(play())


@pytest.mark.parametrize("role", [JOB_ROLE, None], ids=["another role", "less of the same"])
def test_a_job_has_a_role_of_its_own(role):
    """Neither an SDK nor a request to the metadata gives it the instance's role.

    The relay answers there: credentials, and who the machine is, but no user data. Without a role's
    name, SIDECAR_JOB_POLICY limits the instance's role, whose ARN is that of its profile's account.
    """

    async def play():
        async with open_stage() as stage:
            more = {"SIDECAR_JOB_ROLE_ARN": role, "SIDECAR_JOB_POLICY": POLICY}
            seen, life, rules = await ask_as_job(stage, **more)
            name = role.rpartition("/")[2] if role else "instance"
            assert seen["arn"] == f"arn:aws:sts::{aws.ACCOUNT}:assumed-role/{name}/build-1"
            assert seen["key"] not in ("", stage.metadata.held["AccessKeyId"])
            assert seen["id"] == imds.INSTANCE
            assert "404" in seen["user data"]
            assert IMDS in rules
            assert seen["env"]["AWS_EC2_METADATA_DISABLED"] == "true"
            assert seen["env"]["AWS_REGION"] == aws.REGION
            assert life.find_events("network.rules_added")
            assert stage.metadata.held["AccessKeyId"] not in json.dumps(seen)

    in_namespace(play())


def test_without_rules_a_job_of_its_own_role_is_only_asked_not_to():
    """Without NET_ADMIN no rule is possible: SDKs get the job's role, and the log says why."""

    async def play():
        async with open_stage() as stage:
            argv = (*WITHOUT_NET_ADMIN, sys.executable, "-m", "sidecar", "run")
            seen, life, _ = await ask_as_job(stage, argv, SIDECAR_JOB_ROLE_ARN=JOB_ROLE)
            assert seen["arn"] == f"arn:aws:sts::{aws.ACCOUNT}:assumed-role/job/build-1"
            (skipped,) = life.find_events("network.rules_skipped")
            assert "NET_ADMIN" in skipped["reason"]

    in_namespace(play())


def test_a_machine_without_a_profile():
    """The agent has no credentials and says which it needs: exit 12."""

    async def play():
        async with open_stage(has_role=False) as stage:
            env = make_environment(stage, SIDECAR_TOKEN_TIMEOUT="2")
            async with stage.life(env=env) as life:
                assert await life.wait_for_end() == 12
            (failed,) = life.find_events("life.failed")
            assert "a machine needs an instance profile" in failed["reason"]

    in_namespace(play())
