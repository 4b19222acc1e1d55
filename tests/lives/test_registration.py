"""Run whole lives: each source of a registration, each way to deregister, each watch.

`Stage.check_end` checks what must be true after each of them.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from contextlib import asynccontextmanager

import boto3
import pytest
from aiohttp import web

from local import aws as local_aws
from local import ecs_agent
from local.github import apps
from local.github.scope import Scope
from tests.lives.stage import open_stage, run_side_by_side, wait_until

HURRY = (
    "import sys; from sidecar.lifecycle import protection, watches; "
    "watches.LOOKUP_EVERY = watches.SPOT_EVERY = 0.2; protection.RENEW = 0.2; "
    "from sidecar.__main__ import main; sys.exit(main(['run', *sys.argv[1:]]))"
)
HASTY = (sys.executable, "-c", HURRY)
"""The agent, with watches that look and renew every 0.2 s."""
PAT = {"SIDECAR_GITHUB_PAT": "ghp_local"}
NO_TOKEN = {"SIDECAR_TOKEN_PARAMETER": None}
JIT = {"SIDECAR_JUST_IN_TIME": "true"}
AT_ONCE = {"SIDECAR_STOP_TIMEOUT": "24"}
"""A job is interrupted at once, and has time to end before the runner is killed."""
REPOSITORY = Scope.of_path("/repos/octo/repo")


def list_rungs(life):
    """Return by which method each runner was deregistered."""
    return [event["rung"] for event in life.find_events("runner.deregistered")]


def list_removers(stage):
    """Return what ended each registration, as GitHub saw it."""
    return [gone.by for gone in stage.world.runners.removed]


def install_app(stage, **more):
    """Install an App; returns the settings for it, and its key."""
    pem, modulus, exponent = apps.fresh_key()
    known = stage.world.apps.add("runners", modulus, exponent)
    stage.world.apps.install(known, "octo", **more)
    return {"SIDECAR_GITHUB_APP_ID": known.client_id, "SIDECAR_GITHUB_APP_KEY": pem}, pem


async def make_jit_configuration(stage, name="jit-1"):
    """Register a just-in-time runner as a launcher does; returns its configuration."""
    url = f"{stage.github.api}/repos/octo/repo/actions/runners/generate-jitconfig"
    body = {"name": name, "runner_group_id": 1, "labels": ["self-hosted"]}
    headers = {"Authorization": "Bearer ghp_local"}
    async with stage.http.post(url, json=body, headers=headers) as answer:
        assert answer.status == 201
        return (await answer.json())["encoded_jit_config"]


# --- registration ------------------------------------------------------------------------


@pytest.mark.parametrize("with_url", [True, False])
def test_a_just_in_time_configuration_in_ssm(aws, with_url):
    """It is larger than 4 KB, needs no URL, and after its job nothing of it is left."""

    async def play():
        async with open_stage(aws) as stage:
            text = await make_jit_configuration(stage)
            assert len(text) > 4096
            await stage.put(text)
            job = stage.job("echo hello")
            env = {} if with_url else {"SIDECAR_GITHUB_URL": None}
            async with stage.life(env=env) as life:
                await stage.check_end(life, 0)
            assert job.result == "succeeded"
            assert list_rungs(life) == ["github"]
            files = json.loads(base64.b64decode(text))
            for content in files.values():
                assert content not in life.text
                assert base64.b64decode(content).decode("utf-8-sig") not in life.text

    run_side_by_side(play())


def test_a_stopped_just_in_time_runner_is_removed_by_the_api(aws):
    """With a credential it is deleted; without one the log says what will happen: exit 17."""

    async def play(env, code, left):
        async with open_stage(aws) as stage:
            await stage.put(await make_jit_configuration(stage))
            async with stage.life(env=env) as life:
                await life.wait_for_phase("idle")
                life.signal()
                await stage.check_end(life, code, left=left)
            assert list_rungs(life) == ([] if left else ["api"])
            if left:
                (failed,) = life.find_events("cleanup.failed")
                assert "a just-in-time runner cannot remove itself" in failed["reason"]
                assert "after one day" in failed["reason"]

    run_side_by_side(play(PAT, 0, []), play({}, 17, ["runner"]))


@pytest.mark.parametrize(("notices", "code"), [(True, 20), (False, 0)])
def test_a_just_in_time_runner_that_the_launcher_deleted(aws, notices, code):
    """Nothing is left, and no cleanup step fails: the runner's own key tells that it is gone.

    The launcher deletes a runner before it stops the task; the listener may notice it before.
    """

    async def play():
        async with open_stage(aws) as stage:
            await stage.put(await make_jit_configuration(stage))
            async with stage.life() as life:
                await life.wait_for_phase("idle")
                (runner,) = stage.world.runners
                if notices:
                    stage.world.runners.remove(runner, "the launcher")
                else:
                    stage.world.make_ghost(runner)
                    life.signal()
                await stage.check_end(life, code)
            assert list_rungs(life) == ["github"]

    run_side_by_side(play())


def test_a_just_in_time_runner_that_is_stopped_before_it_starts(aws):
    """GitHub knows it since its configuration was made: it is removed, not forgotten."""

    async def play():
        async with open_stage(aws) as stage:
            await stage.put(await make_jit_configuration(stage))
            async with stage.life(env=PAT) as life:
                await life.wait_for_event("token.read")
                life.signal()
                await life.wait_for_end()
            assert list_rungs(life) == ["api"]
            assert [runner.name for runner in stage.world.runners] == []

    run_side_by_side(play())


@pytest.mark.parametrize("quoted", [False, True])
def test_the_arguments_of_config_sh_in_ssm(aws, quoted):
    """Arguments as terraform-aws-github-runner writes them are used: group, labels, URL."""

    async def play():
        async with open_stage(aws) as stage:
            stage.world.settings.runner_groups.append("two words")
            stage.token = token = stage.mint_token()
            group = "'two words'" if quoted else "two words"
            labels = '"extra one,ecs"' if quoted else "extra,ecs"
            await stage.put(
                f"--url {stage.github_url} --token {token} --labels {labels} --runnergroup {group} "
                "--ephemeral --disableupdate"
            )
            stage.token = token
            job = stage.job("echo hello", labels=["ecs"])
            async with stage.life(env={"SIDECAR_GITHUB_URL": None}) as life:
                await stage.wait_for(lambda: list(stage.world.runners), "the runner")
                (runner,) = stage.world.runners
                assert runner.group_id == 2
                assert ("extra one" if quoted else "extra") in [it.name for it in runner.labels]
                await stage.check_end(life, 0)
            assert job.result == "succeeded"

    run_side_by_side(play())


@pytest.mark.parametrize("just_in_time", [False, True])
@pytest.mark.parametrize("credential", ["app", "pat"])
def test_a_credential_mints_what_it_needs(aws, credential, just_in_time):
    """Without a parameter; after the job GitHub is asked whether the runner is gone."""

    async def play():
        async with open_stage(aws) as stage:
            env, pem = install_app(stage) if credential == "app" else (PAT, "ghp_local")
            job = stage.job("env | grep -c SIDECAR_ || true")
            async with stage.life(env=env | NO_TOKEN | (JIT if just_in_time else {})) as life:
                await stage.check_end(life, 0)
            assert job.result == "succeeded"
            assert "0\n" in job.log()
            assert list_rungs(life) == ["github"]
            calls = stage.world.calls
            assert calls["get-runner"] == 1
            assert calls["registration-token"] == (0 if just_in_time else 1)
            assert calls["generate-jitconfig"] == (1 if just_in_time else 0)
            assert not stage.ssm.requests
            for line in pem.splitlines():
                assert line not in life.text

    run_side_by_side(play())


@pytest.mark.parametrize("just_in_time", [False, True])
def test_a_credential_without_permission_ends_the_life(aws, just_in_time):
    """Exit 12 if no token can be minted, 13 if nothing is registered; the reason names the fix."""

    async def play():
        async with open_stage(aws) as stage:
            stage.world.add_pat("ghp_weak").permission = "read"
            env = {"SIDECAR_GITHUB_PAT": "ghp_weak"} | NO_TOKEN
            async with stage.life(env=env | (JIT if just_in_time else {})) as life:
                await stage.check_end(life, 13 if just_in_time else 12)
            assert "403" in life.find_events("life.failed")[0]["reason"]
            assert list_rungs(life) in ([], ["never-registered"])
            assert "ghp_weak" not in life.text

    run_side_by_side(play())


@pytest.mark.parametrize("kind", ["file", "ssm", "secretsmanager"])
def test_a_secret_may_be_in_a_file_or_in_aws(aws, kind):
    """A file is read by the agent alone; a secret that the task role can read is warned of once."""

    async def play():
        async with open_stage(aws) as stage:
            name = f"/pat/{stage.mark}"
            keys = {"aws_access_key_id": "x", "aws_secret_access_key": "x"}
            if kind == "file":
                name = str(stage.folder / "pat")
                (stage.folder / "pat").write_text("ghp_local\n")
            else:
                client = boto3.client(kind, endpoint_url=aws, region_name=local_aws.REGION, **keys)
                if kind == "ssm":
                    client.put_parameter(Name=name, Value="ghp_local", Type="SecureString")
                else:
                    client.create_secret(Name=name, SecretString="ghp_local")
                client.close()
            env = {
                "SIDECAR_GITHUB_PAT": f"{kind}:{name}",
                "AWS_ENDPOINT_URL_SECRETS_MANAGER": aws,
            }
            stage.job("echo hello")
            async with stage.life(env=env | NO_TOKEN) as life:
                await stage.check_end(life, 0)
            assert len(life.find_events("credential.shared")) == (0 if kind == "file" else 1)
            assert "ghp_local" not in life.text

    run_side_by_side(play())


def test_a_stop_while_github_registers_just_in_time(aws):
    """A stop before GitHub's answer: the answer is awaited, the runner removed; exit 16."""

    async def play():
        async with open_stage(aws) as stage:
            # The stop must come first, however late it is; half of its budget is longer.
            fault = {"call": "generate-jitconfig", "after": True, "delay": 6.0}
            stage.world.faults.add(fault)
            async with stage.life(env=PAT | NO_TOKEN | JIT) as life:
                await stage.wait_for(lambda: list(stage.world.runners), "the runner")
                life.signal()
                await stage.check_end(life, 16)
            assert list_removers(stage) == ["rest"]
            assert list_rungs(life) == ["api"]

    run_side_by_side(play())


def test_a_lost_answer_leaves_no_runner_behind(aws):
    """A runner whose registration was not answered is removed and registered again."""

    async def play():
        async with open_stage(aws) as stage:
            stage.world.faults.add({"call": "generate-jitconfig", "after": True, "drop": True})
            job = stage.job("echo hello")
            async with stage.life(env=PAT | NO_TOKEN | JIT) as life:
                await stage.check_end(life, 0)
            assert job.result == "succeeded"
            assert list_removers(stage) == ["rest", "job-completed"]

    run_side_by_side(play())


# --- deregistration ----------------------------------------------------------------------------


@pytest.mark.parametrize("credential", ["app", "pat"])
def test_a_token_and_a_credential(aws, credential):
    """The token registers, the API deletes: the log has the method."""

    async def play():
        async with open_stage(aws) as stage:
            env, _ = install_app(stage) if credential == "app" else (PAT, "")
            await stage.put()
            async with stage.life(env=env) as life:
                await life.wait_for_phase("idle")
                life.signal()
                await stage.check_end(life, 0)
            assert list_rungs(life) == ["api"]
            assert list_removers(stage) == ["rest"]

    run_side_by_side(play())


@pytest.mark.parametrize("how", ["ended", "revoked"])
def test_a_job_longer_than_the_app_s_token(aws, how):
    """When the installation token has expired, a new one is minted."""

    async def play():
        async with open_stage(aws) as stage:
            env, _ = install_app(stage)
            if how == "ended":
                stage.world.settings.token_lifetime = 299.0  # shorter than the agent relies on
            step, let_go = stage.make_gate()
            job = stage.job(step)
            async with stage.life(env=env | NO_TOKEN) as life:
                await stage.wait_for_output(job, "at the gate")
                before = stage.world.calls["access-token"]
                for token in stage.world.tokens:
                    if token.kind == "installation":
                        token.expires_at = 0.0
                let_go()
                await stage.check_end(life, 0)
            assert list_rungs(life) == ["github"]
            assert not life.find_events("runner.removal_unverified")
            assert stage.world.calls["access-token"] > before
            assert stage.world.calls["get-runner"] >= 1

    run_side_by_side(play())


def test_a_registration_token_that_has_expired_at_the_end(aws):
    """With a credential nothing is left; without one the log has the reason: exit 17."""

    async def play(env, code, left):
        async with open_stage(aws) as stage:
            await stage.put()
            async with stage.life(env=env) as life:
                await life.wait_for_phase("idle")
                for token in stage.world.tokens:
                    if token.kind == "registration":
                        token.expires_at = 0.0
                life.signal()
                await stage.check_end(life, code, left=left)
            assert list_rungs(life) == ([] if left else ["api"])
            if left:
                (failed,) = life.find_events("cleanup.failed")
                assert "no credential for GitHub's API" in failed["reason"]
                assert "GitHub answers 404" in failed["reason"]
                assert "after one day" in failed["reason"]

    run_side_by_side(play(PAT, 0, []), play({}, 17, ["runner"]))


def test_when_the_api_fails_the_registration_token_is_used(aws):
    """The next method is the program's own remove."""

    async def play(fault):
        async with open_stage(aws) as stage:
            await stage.put()
            stage.world.faults.add({"call": "delete-runner", "count": -1} | fault)
            async with stage.life(env=PAT) as life:
                await life.wait_for_phase("idle")
                life.signal()
                await stage.check_end(life, 0)
            assert list_rungs(life) == ["registration-token"]
            assert list_removers(stage) == ["remove"]

    run_side_by_side(play({"status": 403}), play({"hang": True}))


@pytest.mark.parametrize("admin_flow", [False, True])
def test_a_token_alone_removes_the_runner_without_its_program(aws, admin_flow):
    """The agent's own requests, in both flows: no process of the runner's gets the token again."""

    async def play():
        async with open_stage(aws) as stage:
            stage.world.settings.admin_flow = admin_flow
            stage.misbehave(remove="fail")
            await stage.put()
            async with stage.life() as life:
                await life.wait_for_phase("idle")
                life.signal()
                await stage.check_end(life, 0)
            assert list_rungs(life) == ["registration-token"]
            assert list_removers(stage) == ["remove"]
            assert stage.world.calls["delete-runner" if admin_flow else "runner-delete"] == 1

    run_side_by_side(play())


@pytest.mark.parametrize("expired", [False, True])
def test_after_a_job_github_is_asked_without_a_credential(aws, expired):
    """With the registration token, and when that has expired with the runner's own key."""

    async def play():
        async with open_stage(aws) as stage:
            await stage.put()
            step, let_go = stage.make_gate()
            job = stage.job(step)
            async with stage.life() as life:
                await stage.wait_for_output(job, "at the gate")
                for token in stage.world.tokens:
                    if token.kind == "registration" and expired:
                        token.expires_at = 0.0
                looked = stage.world.calls["runner-agents"]
                let_go()
                await stage.check_end(life, 0)
            assert list_rungs(life) == ["github"]
            assert not life.find_events("runner.removal_unverified")
            assert (stage.world.calls["runner-agents"] > looked) == (not expired)

    run_side_by_side(play())


def test_a_listener_s_end_is_no_proof(aws):
    """A job deletes `.runner` and keeps GitHub from its end: the runner is removed all the same."""

    async def play():
        async with open_stage(aws) as stage:
            await stage.put()
            stage.world.faults.add({"call": "job-complete", "count": -1, "status": 404})
            job = stage.job(f"rm -f {stage.runner_folder}/.runner")
            async with stage.life() as life:
                await life.wait_for_event("runner.ended", code=0)
                assert list(stage.world.runners)  # what the agent believed to be gone
                stage.give_up(job, 1.0)
                await stage.check_end(life, 0)
            assert list_rungs(life) in (["github"], ["registration-token"])

    run_side_by_side(play())


@pytest.mark.parametrize("env", [PAT, {}], ids=["credential", "token"])
def test_a_job_that_comes_just_before_the_stop_is_not_lost(aws, env):
    """GitHub refuses to remove a busy runner: the job goes on to its end; exit 0."""

    async def play():
        async with open_stage(aws) as stage:
            await stage.put()
            stage.world.faults.add({"call": "job-acquire", "delay": 2.0})
            async with stage.life(env=env | {"SIDECAR_STOP_TIMEOUT": "60"}) as life:
                await life.wait_for_phase("idle")
                job = stage.job("echo hello")
                await stage.wait_for(lambda: job.state == "running", "the job given out")
                life.signal()
                await stage.check_end(life, 0)
            assert job.result == "succeeded"
            assert life.find_events("stop.job_awaited")
            assert list_rungs(life) == ["github"]

    run_side_by_side(play())


def test_a_late_removal_is_awaited(aws):
    """GitHub does not remove an ephemeral runner at once: it is looked up again, then deleted."""

    async def play(call, rung):
        async with open_stage(aws) as stage:
            stage.world.settings.deregister_after = 3600.0
            stage.job("echo hello")
            async with stage.life(env=PAT | NO_TOKEN) as life:
                await wait_until(lambda: stage.world.calls[call], f"{call} in vain")
                (runner,) = stage.world.runners
                stage.world.runners.remove(runner, "job-completed", force=True)
                await stage.check_end(life, 0)
            assert list_rungs(life) == [rung]
            assert list_removers(stage) == ["job-completed"]
            assert stage.world.calls["get-runner"] >= 2

    run_side_by_side(play("get-runner", "github"), play("delete-runner", "api"))


# --- the watches -------------------------------------------------------------------------------


@pytest.mark.parametrize("env", [PAT | NO_TOKEN, {}], ids=["credential", "token"])
def test_an_idle_runner_ends_with_18(aws, env):
    """Without a job within the limit the runner is deregistered first, then ended."""

    async def play():
        async with open_stage(aws) as stage:
            if not env:
                await stage.put()
            async with stage.life(env=env | {"SIDECAR_IDLE_LIMIT": "1"}) as life:
                await stage.check_end(life, 18)
            assert life.find_events("watch.triggered", reason="idle-limit")
            assert list_rungs(life) == ["api" if env else "registration-token"]

    run_side_by_side(play())


def test_a_job_that_comes_at_the_idle_limit_is_done(aws):
    """If GitHub has already assigned a job, the limit is ignored: exit 0."""

    async def play():
        async with open_stage(aws) as stage:
            # GitHub gives it out before the limit; its runner gets it after that.
            refused = asyncio.Event()
            stage.world.faults.add({"call": "job-acquire", "gate": refused})
            job = stage.job("echo hello")
            env = PAT | NO_TOKEN | {"SIDECAR_IDLE_LIMIT": "8"}
            async with stage.life(env=env) as life:
                await wait_until(lambda: stage.world.calls["delete-runner"], "the removal")
                refused.set()
                await stage.check_end(life, 0)
            assert job.result == "succeeded"
            assert stage.world.calls["delete-runner"] == 1

    run_side_by_side(play())


def test_the_lifetime_limit_ends_with_19(aws):
    """An idle runner ends at once, a busy one after the drain time; exit 19 for both."""

    async def idle():
        async with open_stage(aws) as stage:
            await stage.put()
            async with stage.life(env={"SIDECAR_LIFETIME_LIMIT": "15"}) as life:
                await stage.check_end(life, 19)
            assert life.find_events("watch.triggered", reason="lifetime-limit")
            assert list_rungs(life) == ["registration-token"]

    async def busy():
        async with open_stage(aws) as stage:
            stage.misbehave(time_scale=0.1)
            job = stage.job("echo busy; sleep 600")
            await stage.put()
            async with stage.life(env=PAT | AT_ONCE | {"SIDECAR_LIFETIME_LIMIT": "20"}) as life:
                await stage.wait_for_output(job, "busy")
                await stage.check_end(life, 19)
            assert job.result == "failed"

    run_side_by_side(idle(), busy())


def test_a_job_that_ends_in_the_drain_of_the_lifetime_limit(aws):
    """It is not cancelled: exit 0, and the job has its own result."""

    async def play():
        async with open_stage(aws) as stage:
            step, let_go = stage.make_gate()
            job = stage.job(step)
            await stage.put()
            env = {"SIDECAR_LIFETIME_LIMIT": "20", "SIDECAR_STOP_TIMEOUT": "120"}
            async with stage.life(env=env) as life:
                await life.wait_for_event("stop.job_awaited")
                let_go()
                await stage.check_end(life, 0)
            assert job.result == "succeeded"
            assert life.find_events("watch.triggered", reason="lifetime-limit")

    run_side_by_side(play())


def test_a_deregistered_runner_ends_with_20(aws):
    """A listener without a job, whose runner is missing at GitHub twice in a row, is ended."""

    async def play():
        async with open_stage(aws) as stage:
            await stage.put()
            async with stage.life(HASTY, env=PAT) as life:
                await life.wait_for_phase("idle")
                (runner,) = stage.world.runners
                looked = stage.world.calls["get-runner"]
                stage.world.make_ghost(runner)
                await stage.check_end(life, 20)
            assert life.find_events("watch.triggered", reason="ghost")
            assert stage.world.calls["get-runner"] >= looked + 2

    run_side_by_side(play())


def test_a_failing_github_does_not_end_a_runner(aws):
    """A missing answer says nothing about the runner."""

    async def play():
        async with open_stage(aws) as stage:
            await stage.put()
            stage.world.faults.add({"call": "get-runner", "count": 8, "status": 403})
            async with stage.life(HASTY, env=PAT) as life:
                await life.wait_for_event("runner.lookup_failed", count=3)
                job = stage.job("echo hello")
                await stage.check_end(life, 0)
            assert job.result == "succeeded"

    run_side_by_side(play())


def test_a_runner_version_that_github_refuses_ends_with_21(aws):
    """The runner is removed, and the outcome is named."""

    async def play():
        async with open_stage(aws) as stage:
            stage.world.settings.deprecated_versions = ["2.336.0"]
            await stage.put()
            async with stage.life() as life:
                await stage.check_end(life, 21)
            assert life.find_events("runner.ended", outcome="version-deprecated")
            assert list_rungs(life) == ["registration-token"]

    run_side_by_side(play())


@asynccontextmanager
async def serve_instance_metadata():
    """Serve an instance's metadata; what is put into the list becomes the spot notice."""
    notices = []

    async def token(_request):
        return web.Response(text="TOKEN")

    async def notice(request):
        assert request.headers["X-aws-ec2-metadata-token"] == "TOKEN"
        return web.json_response(notices[0]) if notices else web.Response(status=404)

    served = web.Application()
    served.router.add_put("/latest/api/token", token)
    served.router.add_get("/latest/meta-data/spot/instance-action", notice)
    runner = web.AppRunner(served, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0]
    try:
        yield f"http://{host}:{port}", notices
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("busy", [False, True])
def test_a_spot_notice_is_a_stop(aws, busy):
    """A task without a SIGTERM finds the notice and drains: exit 0 or 22."""

    async def play():
        async with open_stage(aws) as stage, serve_instance_metadata() as (url, notices):
            stage.misbehave(time_scale=0.1)
            await stage.put()
            env = {"SIDECAR_SPOT_WATCH": "true", "AWS_EC2_METADATA_SERVICE_ENDPOINT": url}
            async with stage.life(HASTY, env=env | AT_ONCE) as life:
                await life.wait_for_phase("idle")
                if busy:
                    await stage.wait_for_output(stage.job("echo busy; sleep 600"), "busy")
                notices.append({"action": "terminate", "time": "2026-01-22T12:00:00Z"})
                await stage.check_end(life, 22 if busy else 0)
            assert life.find_events("watch.triggered", reason="spot-notice")
            assert life.find_events("stop.requested", signal="spot-notice")

    run_side_by_side(play())


# --- scale-in protection -----------------------------------------------------------------------


def list_protection_calls(stage):
    """Return the calls for task protection that the ECS agent got."""
    return [seen for seen in stage.ecs.requests if "task-protection" in seen.path]


def test_the_task_is_protected_while_its_job_runs(aws):
    """Protection is set when the job starts and removed after it: one call for each."""

    async def play():
        async with open_stage(aws) as stage:
            step, let_go = stage.make_gate()
            await stage.put()
            async with stage.life() as life:
                await life.wait_for_phase("idle")
                assert not list_protection_calls(stage)
                job = stage.job(step)
                await stage.wait_for_output(job, "at the gate")
                await life.wait_for_event("task.protected")
                assert stage.ecs.protection_now()["ProtectionEnabled"]
                let_go()
                await stage.check_end(life, 0)
            assert len(list_protection_calls(stage)) == 2
            assert not stage.ecs.protection_now()["ProtectionEnabled"]

    run_side_by_side(play())


def test_a_long_job_s_protection_is_renewed(aws):
    """Protection is renewed as long as the job runs."""

    async def play():
        async with open_stage(aws) as stage:
            step, let_go = stage.make_gate()
            stage.job(step)
            await stage.put()
            async with stage.life(HASTY) as life:
                await life.wait_for_event("task.protected", count=3)
                let_go()
                await stage.check_end(life, 0)
            assert not stage.ecs.protection_now()["ProtectionEnabled"]

    run_side_by_side(play())


def test_an_idle_life_asks_for_no_protection(aws):
    """A life without a job makes no call."""

    async def play():
        async with open_stage(aws) as stage:
            await stage.put()
            async with stage.life() as life:
                await life.wait_for_phase("idle")
                life.signal()
                await stage.check_end(life, 0)
            assert not list_protection_calls(stage)

    run_side_by_side(play())


@pytest.mark.parametrize("mode", [mode for mode in ecs_agent.PROTECTION if mode != "ready"])
def test_no_job_fails_when_protection_fails(aws, mode):
    """Whatever the ECS agent answers: exit 0, and at most one call for each change."""

    async def play():
        async with open_stage(aws) as stage:
            stage.ecs.protection = ecs_agent.Mode(mode, None)
            step, let_go = stage.make_gate()
            job = stage.job(step)
            await stage.put()
            async with stage.life() as life:
                await life.wait_for_event("task.protection_failed")  # a short job may need no call
                let_go()
                await stage.check_end(life, 0)
            assert job.result == "succeeded"
            assert len(list_protection_calls(stage)) == (2 if mode == "hang" else 1)
            assert not life.find_events("task.protected")

    run_side_by_side(play())
