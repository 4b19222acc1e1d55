"""Play whole lives on Windows for what their jobs get: credentials, a role, a policy, hooks.

See `test_lives` for who runs where.
"""

from __future__ import annotations

import json

import pytest

from local import aws as local_aws
from local.stage import PAT
from tests.lives.stage import read_output, run_side_by_side
from tests.windows.wine import translate

ASK = """\
import json, os, urllib.request
with urllib.request.urlopen(os.environ["RUNNER_SIDECAR_RELAY_URI"], timeout=50) as answer:
    print("relayed", json.load(answer)["AccessKeyId"])
"""


def test_health_and_credentials_over_the_wire(aws, open_one):
    """While a job runs the health check answers, and a step of it gets the task's credentials."""

    async def play():
        async with open_one(aws) as stage:
            await stage.put()
            step, open_gate = stage.make_gate()
            job = stage.job(step, stage.run_python(ASK))
            async with stage.start_agent() as life:
                await stage.wait_for_output(job, "at the gate")
                port = life.last_event("health.started")["port"]
                assert await stage.is_healthy(port)
                open_gate()
                await stage.check_end(life, 0)
            assert job.result == "succeeded", read_output(job)
            assert f"relayed {stage.ecs._held['AccessKeyId']}\n" in read_output(job)

    run_side_by_side(play())


JOB_ROLE = f"arn:aws:iam::{local_aws.ACCOUNT}:role/job"
WHOAMI = """\
import boto3
print("I am", boto3.client("sts").get_caller_identity()["Arn"])
"""


def test_a_job_has_a_role_of_its_own(open_one):
    """SIDECAR_JOB_ROLE_ARN: a step's AWS SDK is that role, which the agent has assumed for it."""

    async def play():
        async with open_one(use_sts=True) as stage:
            await stage.put()
            job = stage.job(stage.run_python(WHOAMI))
            env = {
                "AWS_ENDPOINT_URL_STS": stage.moto,
                "SIDECAR_JOB_ROLE_ARN": JOB_ROLE,
                "SIDECAR_NAME": "build-1",
            }
            async with stage.start_agent(env=env) as life:
                await stage.check_end(life, 0)
            assert f"I am arn:aws:sts::{local_aws.ACCOUNT}:assumed-role/job/" in read_output(job)

    run_side_by_side(play())


def test_a_just_in_time_runner_s_key_is_sealed(aws, open_one):
    """The agent seals it as the runner's program does, which opens it and does a job; exit 0."""

    async def play():
        async with open_one(aws) as stage:
            await stage.put(await make_jit_configuration(stage))
            step, open_gate = stage.make_gate()
            job = stage.job(step)
            async with stage.start_agent() as life:
                await stage.wait_for_output(job, "at the gate")
                assert (
                    b"modulus" not in (stage.runner_folder / ".credentials_rsaparams").read_bytes()
                )
                open_gate()
                await stage.check_end(life, 0)
            assert job.result == "succeeded"

    run_side_by_side(play())


async def make_jit_configuration(stage):
    """Register a just-in-time runner as a launcher does; return its configuration."""
    url = f"{stage.github.api}/repos/{stage.repository}/actions/runners/generate-jitconfig"
    body = {"name": "jit-1", "runner_group_id": 1, "labels": ["self-hosted"]}
    headers = {"Authorization": f"Bearer {PAT}"}
    async with stage.http.post(url, json=body, headers=headers) as answer:
        assert answer.status == 201
        return (await answer.json())["encoded_jit_config"]


STRANGER = {"event": "pull_request", "pull_request": 7, "head_repository": "mallory/repo"}


@pytest.mark.parametrize(
    ("whose", "code"),
    [pytest.param({}, 0, marks=pytest.mark.again), (STRANGER, 25)],
    ids=["own", "stranger"],
)
def test_a_policy_decides_which_job_runs(aws, open_one, whose, code):
    """Asked by the hook, the agent refuses a stranger's job: no step of it runs; exit 25.

    A hook that only fails would let the step with `always()` run.
    """

    async def play():
        async with open_one(aws) as stage:
            policy = {"owners": ["octo"], "forks": False}
            await stage.put(json.dumps({"token": stage.mint_token(), "policy": policy}))
            stage.misbehave(time_scale=0.1)
            steps = [{"run": "echo in^side"}, {"run": "echo in^side", "if": "always()"}]
            job = stage.queue_job({"name": "build", "steps": steps, **whose})
            async with stage.start_agent() as life:
                await stage.check_end(life, code)
            assert job.result == ("failed" if code else "succeeded")
            assert ("inside" in read_output(job)) is not bool(code)
            refused = "Job not admitted::this runner may not run the job" in job.log()
            assert refused is bool(code)

    run_side_by_side(play())


@pytest.mark.parametrize(
    ("end", "result"),
    [pytest.param("", "succeeded", marks=pytest.mark.again), ("exit 3\n", "failed")],
)
def test_the_user_s_own_hook_runs_after_the_agent_s(aws, open_one, end, result):
    """ACTIONS_RUNNER_HOOK_JOB_STARTED of the image: the job's log has its output; it may fail."""

    async def play():
        async with open_one(aws) as stage:
            await stage.put()
            hook = stage.folder / "it's mine.ps1"
            hook.write_text(f"Write-Host 'from the user''s hook'\n{end}")
            job = stage.job("echo hello")
            env = {"ACTIONS_RUNNER_HOOK_JOB_STARTED": translate(hook)}
            async with stage.start_agent(env) as life:
                await stage.check_end(life, 0)
            assert "from the user's hook\n" in job.runner_logs["Set up runner"]
            assert job.result == result

    run_side_by_side(play())
