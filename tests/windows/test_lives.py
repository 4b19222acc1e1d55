"""Play whole lives on Windows: a genuine Windows Python runs the agent, under wine.

The runner's stand-in runs there as well; AWS, the ECS agent and GitHub run on this machine.
`Stage.check_end` checks what must be true after each life.
"""

from __future__ import annotations

import functools
import json

import pytest

from local import aws as local_aws
from local.stage import PAT
from tests.lives.stage import ROOT, read_output, run_side_by_side
from tests.windows import life as lives
from tests.windows.life import LISTENER, WORKER
from tests.windows.wine import CTRL_BREAK, translate

BUDGET = "8"
"""The stop timeout, in seconds, of lives that need all of it."""
CONFIGURATION = (".runner", ".credentials", ".credentials_rsaparams")


@pytest.fixture(scope="module")
def find_runner(wine, tmp_path_factory):
    """Give what returns a runner's folder for a version of Python, made once."""

    @functools.cache
    def find(version):
        return lives.install_runner(wine, version, tmp_path_factory.mktemp("runner"))

    return find


@pytest.fixture
def open_one(request, wine, find_runner):
    """Give what opens the stage of a life on Windows; a test may name another Python than 3.11."""
    version = getattr(request, "param", "3.11")
    return functools.partial(lives.open_windows_stage, wine, version, find_runner(version))


on_both_pythons = pytest.mark.parametrize("open_one", ["3.11", "3.13"], indirect=True)


@on_both_pythons
def test_a_job_that_ends_ends_the_life(aws, open_one):
    """Exit 0; both hooks were heard; the token, the runner and every process are gone."""

    async def play():
        async with open_one(aws) as stage:
            await stage.put()
            job = stage.job("echo hello", "echo from the second step")
            async with stage.start_agent() as life:
                await stage.check_end(life, 0)
            assert job.result == "succeeded"
            assert "hello\n" in read_output(job)
            assert "from the second step\n" in read_output(job)
            assert life.find_events("job.started")
            assert life.find_events("job.completed")
            assert not any((stage.runner_folder / name).exists() for name in CONFIGURATION)

    run_side_by_side(play())


def test_a_stop_while_waiting_for_the_token(aws, open_one):
    """CTRL_SHUTDOWN before there is a token: exit 16, GitHub was never asked anything."""

    async def play():
        async with open_one(aws) as stage:
            async with stage.start_agent() as life:
                await stage.ssm.reached(target="GetParameter")
                stage.stop_container(life)
                await stage.check_end(life, 16)
            assert not stage.world.calls
            check_budget(life)

    run_side_by_side(play())


def check_budget(life):
    """Check that it ended well within the stop timeout of 30 s, which was not used up."""
    assert life.stop_seconds < 30


def test_a_stop_while_configuring_removes_the_runner(aws, open_one):
    """CTRL_SHUTDOWN to agent and configure: whatever is at GitHub is removed; exit 16."""

    async def play():
        async with open_one(aws) as stage:
            await stage.put()
            stage.world.faults.add({"call": "runner-add", "after": True, "delay": 1.0})
            async with stage.start_agent() as life:
                await stage.wait_for(lambda: list(stage.world.runners), "the runner")
                stage.stop_container(life)
                await stage.check_end(life, 16)
            check_budget(life)

    run_side_by_side(play())


@pytest.mark.parametrize("who", ["agent", "container"])
def test_a_stop_while_idle_deregisters_the_runner(aws, open_one, who):
    """CTRL_SHUTDOWN while idle, to the agent alone or to all: exit 0, and nothing is left."""

    async def play():
        async with open_one(aws) as stage:
            await stage.put()
            async with stage.start_agent() as life:
                await life.wait_for_phase("idle")
                stop(stage, life, who)
                await stage.check_end(life, 0)
            check_budget(life)

    run_side_by_side(play())


def stop(stage, life, who):
    """Stop the agent alone, or all that has a console."""
    if who == "agent":
        stage.stop_agent(life)
    else:
        stage.stop_container(life)


@on_both_pythons
@pytest.mark.parametrize("who", ["agent", "container"])
def test_a_stop_while_busy_cancels_the_job(aws, open_one, who):
    """CTRL_SHUTDOWN while a job runs that does not end: exit 22, and nothing of it is left.

    A container's stop reaches the listener too, which cancels the job by itself at once.
    """

    async def play():
        async with open_one(aws) as stage:
            await stage.put()
            step, _ = stage.make_gate()
            job = stage.job(step)
            stage.misbehave(time_scale=0.1)
            async with stage.start_agent(env={"SIDECAR_STOP_TIMEOUT": BUDGET}) as life:
                await stage.wait_for_output(job, "at the gate")
                stop(stage, life, who)
                await stage.check_end(life, 22)
            assert life.stop_seconds < float(BUDGET)

    run_side_by_side(play())


@pytest.mark.parametrize(
    ("busy", "code", "left"), [(False, 0, []), (True, 22, ["runner"])], ids=["idle", "busy"]
)
def test_a_listener_that_cannot_be_interrupted_is_killed(aws, open_one, busy, code, left):
    """Without a console no Ctrl-Break can be sent: idle it is killed, with a job it has its time.

    That is logged. Nobody tells GitHub of the job's end, so it keeps the runner for some minutes.
    """

    async def play():
        async with open_one(aws) as stage:
            await stage.put()
            if busy:
                step, _ = stage.make_gate()
                job = stage.job(step)
            else:  # it is not told that its registration is gone, and so does not end by itself
                stage.world.faults.add({"call": "runner-message", "count": -1, "hang": True})
            env = {"SIDECAR_STOP_TIMEOUT": BUDGET}
            async with stage.start_agent(env, sends_break=False) as life:
                if busy:
                    await stage.wait_for_output(job, "at the gate")
                else:
                    await life.wait_for_phase("idle")
                stage.stop_agent(life)
                await stage.check_end(life, code, left=left)
            (failed,) = life.find_events("runner.interrupt_failed")
            assert failed["busy"] is busy
            assert life.stop_seconds < float(BUDGET)

    run_side_by_side(play())


def test_a_stop_while_busy_lets_a_short_job_end(aws, open_one):
    """CTRL_SHUTDOWN to the agent alone while a job runs, and enough time: the job ends; exit 0."""

    async def play():
        async with open_one(aws) as stage:
            await stage.put()
            step, open_gate = stage.make_gate()
            job = stage.job(step, "echo the second step")
            async with stage.start_agent(env={"SIDECAR_STOP_TIMEOUT": "120"}) as life:
                await stage.wait_for_output(job, "at the gate")
                stage.stop_agent(life)
                await life.wait_for_event("stop.job_awaited")
                open_gate()
                await stage.check_end(life, 0)
            assert job.result == "succeeded"
            assert "the second step\n" in read_output(job)

    run_side_by_side(play())


def test_a_second_stop_cancels_the_job_at_once(aws, open_one):
    """Ctrl-Break twice while a job runs: the second one waits for no budget; exit 22."""

    async def play():
        async with open_one(aws) as stage:
            await stage.put()
            step, _ = stage.make_gate()
            job = stage.job(step)
            stage.misbehave(time_scale=0.1)
            async with stage.start_agent(env={"SIDECAR_STOP_TIMEOUT": "120"}) as life:
                await stage.wait_for_output(job, "at the gate")
                stage.stop_agent(life, CTRL_BREAK)
                await life.wait_for_event("stop.job_awaited")
                stage.stop_agent(life, CTRL_BREAK)
                await stage.check_end(life, 22)
            assert life.stop_seconds < 60

    run_side_by_side(play())


@pytest.mark.parametrize("moment", ["before-listening", "after-listening", "in-job"])
def test_a_listener_that_crashes_is_cleaned_up_after(aws, open_one, moment):
    """It dies of an exception, as .NET does (0xE0434352): exit 15, the runner is deregistered."""

    async def play():
        async with open_one(aws) as stage:
            stage.misbehave(run=f"crash-{moment}")
            stage.world.settings.lost_after = 1.0  # then GitHub ends the lost job
            await stage.put()
            if moment == "in-job":
                step, _ = stage.make_gate()
                stage.job(step)
            async with stage.start_agent() as life:
                await stage.check_end(life, 15)
            (ended,) = life.find_events("runner.ended")
            assert ended["code"] == 0xE0434352

    run_side_by_side(play())


def test_nothing_survives_a_killed_agent(aws, open_one):
    """TerminateProcess while a job runs: all that it started ends; the next agent cleans up."""

    async def play():
        async with open_one(aws) as stage:
            await stage.put()
            step, _ = stage.make_gate()
            job = stage.job(step)
            async with stage.start_agent() as life:
                await stage.wait_for_output(job, "at the gate")
                assert {LISTENER, WORKER} <= {each.name for each in stage.wine.list_processes()}
                stage.wine.terminate(stage.find_agent().pid)
                await life.wait_for_end()
                assert stage.find_processes() == {}
            stage.give_up(job)
            await stage.wait_for(lambda: job.state == "completed", "the end of the lost job")
            await stage.put()
            async with stage.start_agent(env={"SIDECAR_IDLE_LIMIT": "1"}) as life:
                await stage.check_end(life, 18)
            assert life.find_events("killed_agent.found")

    run_side_by_side(play())


ASK = """\
import json, os, urllib.request
with urllib.request.urlopen(os.environ["RUNNER_SIDECAR_RELAY_URI"], timeout=10) as answer:
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
                assert await stage.run_agent("health", f"127.0.0.1:{port}") == 0
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
                assert b"modulus" not in (stage.runner_folder / CONFIGURATION[2]).read_bytes()
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


REGISTER_AND_RUN = (
    "cd /d %WHERE% && call config.cmd --unattended --ephemeral --disableupdate"
    " --url %URL% --token %TOKEN% --name one && call run.cmd && echo all done"
)


def test_a_supervised_command_registers_and_runs_a_job(aws, open_one):
    """`run -- cmd`: its scripts start the listener, a job runs; its last line and code are kept."""

    async def play():
        async with open_one(aws) as stage:
            job = stage.job("echo hello")
            where = translate(stage.runner_folder)
            env = {"URL": stage.github_url, "TOKEN": stage.mint_token(), "WHERE": where}
            command = ("--", "cmd.exe", "/c", REGISTER_AND_RUN)
            async with stage.start_agent(env, command) as life:
                assert await life.wait_for_end() == 0
            assert "all done" in life.text
            assert job.result == "succeeded"
            assert stage.find_processes() == {}

    run_side_by_side(play())


@pytest.mark.parametrize("code", [3, 0xC000013A])
def test_a_supervised_command_s_exit_code_is_its_own(wine, code):
    """All of its 32 bits, which Windows reads without a sign."""
    python = wine.python("3.11")
    program = f"import ctypes; ctypes.windll.kernel32.ExitProcess({code})"
    argv = [python, "-m", "sidecar", "run", "--", python, "-c", program]
    assert wine.run(argv, cwd=ROOT).code == code


STRANGER = {"event": "pull_request", "pull_request": 7, "head_repository": "mallory/repo"}


@pytest.mark.parametrize(("whose", "code"), [({}, 0), (STRANGER, 25)], ids=["own", "stranger"])
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


def test_the_user_s_own_hook_runs_after_the_agent_s(aws, open_one):
    """ACTIONS_RUNNER_HOOK_JOB_STARTED of the image: what it prints is in the job's log."""

    async def play():
        async with open_one(aws) as stage:
            await stage.put()
            hook = stage.folder / "it's mine.ps1"
            hook.write_text("Write-Host 'from the user''s hook'\n")
            job = stage.job("echo hello")
            env = {"ACTIONS_RUNNER_HOOK_JOB_STARTED": translate(hook)}
            async with stage.start_agent(env) as life:
                await stage.check_end(life, 0)
            assert "from the user's hook\n" in job.runner_logs["Set up runner"]
            assert job.result == "succeeded"

    run_side_by_side(play())
