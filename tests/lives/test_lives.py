"""Run whole lives, each a real process: what they do, and their exit codes."""

from __future__ import annotations

import asyncio
import json
import os
import pwd

import pytest

from local import aws as local_aws
from local import faults
from sidecar import __version__
from tests.lives.stage import (
    AS_PID_1,
    IS_ROOT,
    ON_UVLOOP,
    OTHER_USER,
    PATIENCE,
    list_processes,
    open_stage,
    read_file,
    read_output,
    run_side_by_side,
    wait_until,
)

STATIC = {
    "AWS_ACCESS_KEY_ID": "local-access-key",
    "AWS_SECRET_ACCESS_KEY": "local-secret-key",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI": None,
}
"""Credentials of a task without a role."""

# --- all goes well -----------------------------------------------------------------------------

WHOAMI = """\
echo "I am $(id -un) in $HOME"
/usr/bin/env python3 - <<'END'
import json, os, urllib.request
with urllib.request.urlopen(os.environ["RUNNER_SIDECAR_RELAY_URI"], timeout=10) as answer:
    print("relayed", json.load(answer)["AccessKeyId"])
END
"""


async def run_whole_life(aws, user, name):
    """Run one with SIDECAR_RUNNER_USER=`user`; its job must run as `name`."""
    async with open_stage(aws) as stage:
        await stage.put()
        job = stage.job(WHOAMI, "echo the second step")
        async with stage.life(env={"SIDECAR_RUNNER_USER": user}) as life:
            await stage.check_end(life, 0)
        assert job.result == "succeeded", read_output(job)
        assert f"I am {name} in " in read_output(job)
        assert "the second step" in read_output(job)
        assert f"relayed {stage.ecs._held['AccessKeyId']}" in read_output(job)
        assert job.runner_name.startswith(f"ecs-{stage.ecs.task.id[:12]}-")
        (registered,) = life.find_events("runner.registered")
        assert registered["url"] == stage.github_url
        phases = [event["phase"] for event in life.find_events("phase.entered")]
        assert phases == [
            *("waiting-for-token", "configuring", "warming-relay", "starting-listener"),
            *("idle", "busy", "stopping"),
        ]


@pytest.mark.root
def test_a_whole_life_with_another_user(aws):
    """As root: a job runs as the runner's user, with the task's credentials."""
    run_side_by_side(run_whole_life(aws, OTHER_USER, OTHER_USER))


def test_a_whole_life_with_the_same_user(aws):
    """Without another user the job runs as the agent's user; all else is the same."""
    own = pwd.getpwuid(os.geteuid()).pw_name
    run_side_by_side(run_whole_life(aws, "root" if IS_ROOT else None, own))


def test_a_token_in_json_brings_url_name_and_labels(aws):
    """The runner is registered with the URL, name and labels beside the token."""

    async def play():
        async with open_stage(aws) as stage:
            more = {"url": stage.github_url, "name": "given", "labels": ["gpu", "large"]}
            stage.token = stage.mint_token()
            token, value = stage.token, json.dumps({"token": stage.token, **more})
            await stage.put(value, kind="String")
            stage.token = token
            job = stage.job("true", labels=["gpu", "ecs"])
            env = {"SIDECAR_GITHUB_URL": None, "SIDECAR_LABELS": "ecs"}
            async with stage.life(env=env) as life:
                await stage.check_end(life, 0)
            assert job.runner_name == "given"

    run_side_by_side(play())


def test_settings_are_options_too(aws):
    """Options win over variables."""

    async def play():
        async with open_stage(aws) as stage:
            await stage.put()
            job = stage.job("true", labels=["only"])
            options = ("--name=optional", "--labels", "only", "--no-default-labels")
            env = {"SIDECAR_NAME": "variable"}
            async with stage.life(ON_UVLOOP, *options, env=env) as life:
                await life.wait_for_phase("idle")
                await stage.check_end(life, 0)
            assert job.runner_name == "optional"

    run_side_by_side(play())


def test_a_token_may_come_late(aws):
    """A parameter that is written after the start of the task is waited for."""

    async def play():
        async with open_stage(aws) as stage:
            stage.job("true")
            async with stage.life() as life:
                await stage.ssm.reached(2, target="GetParameter")
                await stage.put()
                await stage.check_end(life, 0)

    run_side_by_side(play())


def test_a_token_that_was_written_again_is_kept(aws):
    """A parameter that was made again or overwritten meanwhile belongs to another task."""

    async def play(*, deleted):
        async with open_stage(aws) as stage:
            first = await stage.put()
            written = asyncio.Event()
            stage.world.faults.add({"call": "runner-add", "after": True, "gate": written})
            stage.job("true")
            async with stage.life() as life:
                await stage.wait_for(lambda: list(stage.world.runners), "the runner")
                if deleted:
                    await stage.call_ssm("DeleteParameter", Name=stage.parameter)
                second = await stage.put()
                written.set()
                await life.wait_for_event("life.ended")
                assert await stage.read_parameter() == second
                await stage.call_ssm("DeleteParameter", Name=stage.parameter)
                await stage.check_end(life, 0)
            assert life.find_events("token.kept")
            assert first not in life.text

    run_side_by_side(play(deleted=True), play(deleted=False))


def test_throttling_is_waited_out(aws):
    """Calls that SSM throttles are retried, and the life goes well."""

    async def play():
        async with open_stage(aws) as stage:
            await stage.put()
            stage.job("true")
            rule = faults.Rule("status", error="ThrottlingException", times=2)
            stage.ssm.add(rule)
            async with stage.life() as life:
                await stage.check_end(life, 0)
            assert "throttled" in life.find_events("retry.scheduled")[0]["reason"]

    run_side_by_side(play())


def test_calls_without_a_good_answer_are_retried(aws):
    """Answers of SSM that are cut, reset or not JSON are retried."""

    async def play(kind, target):
        async with open_stage(aws) as stage:
            await stage.put()
            stage.job("true")
            forward = target == "DeleteParameter"  # it is done, but the answer is lost
            stage.ssm.add(faults.Rule(kind, target=target, times=1, forward=forward))
            async with stage.life() as life:
                await stage.check_end(life, 0)

    run_side_by_side(
        *(
            play(kind, target)
            for kind in ("reset", "not-json", "truncate")
            for target in ("GetParameter", "DeleteParameter")
            if kind == "reset" or target == "GetParameter"  # nobody needs a deletion's answer
        )
    )


def test_configure_is_retried_while_the_network_fails(aws):
    """While GitHub cannot be reached, configure is run again."""

    async def play(knob, fault):
        async with open_stage(aws) as stage:
            await stage.put()
            stage.misbehave(retry_seconds=0.01, **knob)
            if fault:
                stage.world.faults.add(fault)
            stage.job("true")
            async with stage.life() as life:
                await stage.check_end(life, 0)
            assert life.find_events("retry.scheduled")

    lost = {"call": "runner-add", "after": True, "drop": True}
    run_side_by_side(
        play({"configure": {"kind": "fail-network", "count": 1}}, None),
        play({"configure": {"kind": "half", "count": 1}}, None),
        play({}, {"call": "runner-registration", "count": 3, "status": 503}),
        play({}, lost),
    )


def test_a_name_that_is_taken_gets_a_suffix(aws):
    """If another runner has the name, this one gets a suffix, and the other one stays."""

    async def play():
        async with open_stage(aws) as stage, open_stage(aws) as other:
            await stage.put()
            # Somebody else's runner, registered at the same GitHub.
            await other.put(stage.mint_token())
            named = {"SIDECAR_NAME": "build", "SIDECAR_GITHUB_URL": stage.github_url}
            async with other.life(env=named) as first:
                await first.wait_for_phase("idle")
                async with stage.life(env=named) as second:
                    await second.wait_for_phase("idle")
                    names = sorted(runner.name for runner in stage.world.runners)
                    assert names[0] == "build"
                    assert names[1].startswith("build-")
                    second.signal()
                    assert await second.wait_for_end() == 0
                assert [runner.name for runner in stage.world.runners] == ["build"]
                first.signal()
                await other.check_end(first, 0)
            await stage.check_end(second, 0)
            assert second.find_events("runner.name_taken")

    run_side_by_side(play())


# --- the runner's folder -----------------------------------------------------------------------


def write_hook(stage, name, text):
    """Write a hook as an image has it; returns its path."""
    path = stage.folder / name
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_hooks_of_the_image_still_run(aws):
    """The image's own hooks run in their order, named in the environment or in `.env`."""
    started, completed = (f"ACTIONS_RUNNER_HOOK_JOB_{word}" for word in ("STARTED", "COMPLETED"))

    async def play(where):
        async with open_stage(aws) as stage:
            await stage.put()
            own = {
                started: write_hook(stage, "started.sh", "echo own start; echo A=b >> $GITHUB_ENV"),
                completed: write_hook(stage, "completed.sh", "echo own end"),
            }
            if where == ".env":
                lines = "".join(f"{key}={value}\n" for key, value in own.items())
                (stage.runner_folder / ".env").write_text("OTHER=kept\n" + lines)
            job = stage.job("echo in between A=$A OTHER=$OTHER")
            async with stage.life(env=own if where == "env" else {}) as life:
                await stage.check_end(life, 0)
            said = read_output(job)
            assert job.result == "succeeded", said
            assert "own start" in said
            assert f"in between A=b OTHER={'kept' if where == '.env' else ''}" in said
            assert "own end" in said
            assert life.find_events("job.started")
            assert life.find_events("job.completed")
            if where == ".env":
                assert started in (stage.runner_folder / ".env").read_text(), (
                    "put back for the next life"
                )

    async def play_failing():
        async with open_stage(aws) as stage:
            await stage.put()
            job = stage.job("echo never")
            own = {started: write_hook(stage, "no.sh", "echo no; exit 3")}
            async with stage.life(env=own) as life:
                await stage.check_end(life, 0)
            assert job.result == "failed", "the user's hook may still refuse a job"
            assert life.find_events("job.started")

    run_side_by_side(play("env"), play(".env"), play_failing())


def test_the_job_s_log_names_the_task(aws):
    """The job's log begins with task, zone and agent version, beside the image's own lines."""

    async def play():
        async with open_stage(aws) as stage:
            await stage.put()
            image = [{"group": "Image", "detail": "built by hand"}]
            (stage.runner_folder / ".setup_info").write_text("\ufeff" + json.dumps(image))
            job = stage.job("true")
            async with stage.life() as life:
                await stage.check_end(life, 0)
            said = job.runner_logs["Set up job"]
            assert "built by hand" in said
            assert stage.ecs.task.arn in said
            assert f"Zone: {local_aws.REGION}" in said
            assert f"runner-sidecar {__version__}" in said

    run_side_by_side(play())


def test_an_old_configuration_is_removed(aws):
    """An old `.runner`, with which configure would fail, is removed before it."""

    async def play():
        async with open_stage(aws) as stage:
            await stage.put()
            for name in (".runner", ".credentials", ".runner_migrated"):
                (stage.runner_folder / name).write_text("\ufeff{}")
            (stage.runner_folder / ".credentials_rsaparams").symlink_to("/etc/hostname")
            job = stage.job("true")
            async with stage.life() as life:
                await stage.check_end(life, 0)
            assert job.result == "succeeded"
            assert (
                ".runner_migrated" in life.find_events("runner.configuration_removed")[0]["stale"]
            )

    run_side_by_side(play())


def test_proxies_and_certificates_reach_the_steps(aws):
    """Variables that are not the agent's own reach the steps: proxies, CAs, the tool cache."""
    passed = {
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "no_proxy": "localhost,127.0.0.1",
        "SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt",
        "NODE_EXTRA_CA_CERTS": "/etc/ssl/certs/ca-certificates.crt",
        "AGENT_TOOLSDIRECTORY": "/opt/hostedtoolcache",
    }

    async def play():
        async with open_stage(aws) as stage:
            await stage.put()
            job = stage.job("env")
            async with stage.life(env=passed) as life:
                await stage.check_end(life, 0)
            said = read_output(job).splitlines()
            assert [f"{key}={value}" for key, value in passed.items() if f"{key}={value}" in said]
            assert not [line for line in said if line.startswith("SIDECAR_")]
            assert "ACTIONS_RUNNER_INPUT_TOKEN" not in read_output(job)

    run_side_by_side(play())


def test_the_network_s_variables_of_the_runner_s_file_reach_the_steps(aws):
    """With the agent's own additions, which the file would else win over; it is put back."""
    file = "https_proxy='127.0.0.1:9'\nNO_PROXY=intern,127.0.0.1\nLANG=C\n"

    async def play():
        async with open_stage(aws) as stage:
            (stage.runner_folder / ".env").write_text(file)
            await stage.put()
            job = stage.job("env")
            async with stage.life(env={"no_proxy": "localhost"}) as life:
                await stage.check_end(life, 0)
            said = read_output(job).splitlines()
            hosts = "intern,127.0.0.1,localhost"
            expected = ("https_proxy=http://127.0.0.1:9", f"NO_PROXY={hosts}", f"no_proxy={hosts}")
            assert set(expected) <= set(said)
            assert (stage.runner_folder / ".env").read_text() == file

    run_side_by_side(play())


def test_a_closed_log_does_not_end_the_life(aws):
    """With stdout and stderr closed the life goes on to its normal end."""

    async def play():
        async with open_stage(aws) as stage:
            await stage.put()
            job = stage.job("true")
            reading, writing = os.pipe()
            process = await asyncio.create_subprocess_exec(
                *ON_UVLOOP, env=stage.environment(), stdout=writing, stderr=writing
            )
            os.close(reading)
            os.close(writing)
            assert await asyncio.wait_for(process.wait(), 60) == 0
            assert job.result == "succeeded"
            assert await stage.read_parameter() is None
            assert list(stage.world.runners) == []
            await stage.check_no_processes()

    run_side_by_side(play())


# --- exit codes --------------------------------------------------------------------------------

MISTAKES = {
    "SIDECAR_TOKEN_PARAMETER": None,
    "SIDECAR_TOKEN_TIMEOUT": "soon",
    "SIDECAR_GITHUB_URL": "ftp://github.com/octo",
    "SIDECAR_NAME": "-leading",
    "SIDECAR_NAME_PREFIX": "both-",
    "SIDECAR_LABELS": "-x",
    "SIDECAR_WORK_DIR": "-w",
    "SIDECAR_RUNNER_DIR": "/nowhere",
    "SIDECAR_RUNNER_USER": "no-such-user",
    "SIDECAR_STOP_TIMEOUT": "0",
    "SIDECAR_HEALTH_ADDRESS": "0.0.0.0:9190",
    "SIDECAR_LOG_FORMAT": "xml",
    "SIDECAR_LOG_LEVEL": "loud",
    "SIDECAR_RELAY": "off",
    "SIDECAR_RELAY_REQUIRED": "true",
    "SIDECAR_RELAY_ADDRESS": "localhost",
}


def test_11_all_mistakes_at_once(aws):
    """Each mistake is a line with the setting and an example; nothing is contacted."""

    async def play():
        async with open_stage(aws) as stage:
            async with stage.life(env=MISTAKES) as life:
                assert await life.wait_for_end() == 11
            lines = life.errors.splitlines()
            named = {line.split()[0] for line in lines}
            contradicting = {"SIDECAR_NAME", "SIDECAR_RELAY"}
            assert named | contradicting >= set(MISTAKES), life.errors
            assert all("(example: " in line for line in lines), life.errors
            assert life.text == ""
            assert not stage.ssm.requests
            assert not stage.ecs.requests
            assert not stage.world.calls

    async def play_elsewhere():
        async with open_stage(aws) as stage:
            where = "192.0.2.1:9190"  # of no machine
            async with stage.life(env={"SIDECAR_HEALTH_ADDRESS": where}) as life:
                await stage.check_end(life, 11)
            assert where in life.find_events("life.failed")[0]["reason"]
            assert not stage.ssm.requests

    run_side_by_side(play(), play_elsewhere())


def test_an_unknown_setting_is_warned_about_with_the_nearest_name(aws):
    """A misspelt variable is a warning, not an end; its value is not shown."""

    async def play():
        async with open_stage(aws) as stage:
            await stage.put()
            stage.job("true")
            async with stage.life(env={"SIDECAR_LABLES": "a-value"}) as life:
                await stage.check_end(life, 0)
            assert "SIDECAR_LABELS" in life.find_events("settings.ignored")[0]["warning"]
            assert "a-value" not in life.text

    run_side_by_side(play())


def refuse(error, target="GetParameter"):
    """Return the rule by which SSM refuses an operation."""
    return faults.Rule("status", target=target, error=error)


TOKEN_FAILURES = {
    # name: (value of the parameter, rules, environment, what the reason says, left)
    # A token that was never read is deleted unseen: that needs no permission to read.
    "denied": (True, [refuse("AccessDeniedException")], {}, "ssm:GetParameter", []),
    "denied all": (
        True,
        [refuse("AccessDeniedException"), refuse("AccessDeniedException", "DeleteParameter")],
        {},
        "ssm:GetParameter",
        ["token"],
    ),
    "kms": (True, [refuse("KmsAccessDenied")], {}, "kms:Decrypt", []),
    "key": (True, [refuse("InvalidKeyId")], {}, "kms:Decrypt", []),
    "expired": (
        True,
        [refuse("ExpiredTokenException"), refuse("ExpiredTokenException", "DeleteParameter")],
        {"SIDECAR_TOKEN_TIMEOUT": "1"},
        "credentials",
        ["token"],
    ),
    "throttled": (
        *(True, [refuse("ThrottlingException")], {"SIDECAR_TOKEN_TIMEOUT": "1"}, "throttled"),
        [],
    ),
    "broken": (
        *(True, [refuse("InternalServerError")], {"SIDECAR_TOKEN_TIMEOUT": "1"}, "500"),
        [],
    ),
    "empty": ("  ", [], {}, "empty", []),
    "malformed": ("{not json", [], {}, "JSON is malformed", []),
    "tokenless": ('{"url": "https://github.com/o"}', [], {}, 'holds no "token"', []),
    "wrong": ("two words", [], {}, "no registration token", []),
    "odd": ('{"token": "ABCDEFGHIJ", "url": "ftp://x"}', [], {}, '"url" must begin', []),
    "missing": (None, [], {"SIDECAR_TOKEN_TIMEOUT": "1"}, "no such parameter", []),
    "placeless": (True, [], {"SIDECAR_GITHUB_URL": None}, "SIDECAR_GITHUB_URL", []),
    "nobody": (
        *(True, [], {"AWS_CONTAINER_CREDENTIALS_FULL_URI": None}, "taskRoleArn"),
        ["token"],
    ),
    "nowhere": (
        True,
        [],
        {"AWS_ENDPOINT_URL_SSM": "http://127.0.0.1:9", "SIDECAR_TOKEN_TIMEOUT": "1"},
        "no network path",
        ["token"],
    ),
    "regionless": (True, [], {"AWS_REGION": None}, "AWS_REGION", ["token"]),
}


@pytest.mark.parametrize(
    "kinds", [list(TOKEN_FAILURES)[start::4] for start in range(4)], ids="abcd"
)
def test_12_each_failure_of_the_token_is_named(aws, kinds):
    """Exit 12; the reason names the permission or the setting, and never the value."""

    async def play(value, rules, env, reason, left):
        async with open_stage(aws) as stage:
            if value is not None:
                await stage.put(None if value is True else value)
            if value is not True:
                stage.token = ""
            stage.ssm.add(*rules)
            if left:  # then its clean-up takes all of the stop's time
                env = {"SIDECAR_STOP_TIMEOUT": "2", **env}
            async with stage.life(env=env) as life:
                await stage.check_end(life, 12, left=left)
            (failed,) = life.find_events("life.failed")
            assert reason in failed["reason"]
            assert value in (None, True) or value.strip() == "" or value not in life.text
            assert not stage.world.calls

    run_side_by_side(*(play(*TOKEN_FAILURES[kind]) for kind in kinds))


def test_13_a_token_that_github_refuses(aws):
    """GitHub answers 404 to an expired token: exit 13, the reason says what it may mean."""

    async def play(expires_in, scope):
        async with open_stage(aws) as stage:
            await stage.put(stage.mint_token(expires_in=expires_in))
            async with stage.life(env={"SIDECAR_GITHUB_URL": scope(stage)}) as life:
                await stage.check_end(life, 13)
            assert "younger than an hour" in life.find_events("life.failed")[0]["reason"]
            assert life.find_events("retry.scheduled") == []

    run_side_by_side(
        play(-1, lambda stage: stage.github_url),
        play(3600, lambda stage: f"{stage.github.url}/another/place"),
    )


def test_13_a_group_that_does_not_exist(aws):
    """The log has configure's own message."""

    async def play():
        async with open_stage(aws) as stage:
            await stage.put()
            async with stage.life(env={"SIDECAR_RUNNER_GROUP": "absent"}) as life:
                await stage.check_end(life, 13)
            assert 'runner group named "absent"' in life.find_events("life.failed")[0]["reason"]

    run_side_by_side(play())


def test_14_a_relay_that_is_required(aws):
    """A required relay without credentials: exit 14, and everything is cleaned up."""

    async def play(mode, env):
        async with open_stage(aws) as stage:
            await stage.put()
            stage.ecs.credentials.name = mode
            settings = {**STATIC, "SIDECAR_RELAY_REQUIRED": "true"}
            async with stage.life(env={**settings, **env(stage)}) as life:
                await stage.check_end(life, 14)

    def upstream(stage):
        uri = stage.ecs.environment["AWS_CONTAINER_CREDENTIALS_FULL_URI"]
        return {"AWS_CONTAINER_CREDENTIALS_FULL_URI": uri}

    run_side_by_side(
        play("ready", lambda _stage: {}),  # no task role at all
        play("unknown", upstream),
        play("hang", upstream),
    )


def test_a_relay_that_is_not_required_prevents_no_job(aws):
    """A relay without credentials that is not required: a warning, and the job runs."""

    async def play(mode):
        async with open_stage(aws) as stage:
            await stage.put()
            stage.ecs.credentials.name = mode
            job = stage.job("true")
            async with stage.life(env={**STATIC, **stage.ecs.environment}) as life:
                await stage.check_end(life, 0)
            assert job.result == "succeeded"
            assert life.find_events("relay.credentials_delayed")

    async def play_off():
        async with open_stage(aws) as stage:
            await stage.put()
            job = stage.job("echo uri=$RUNNER_SIDECAR_RELAY_URI.")
            async with stage.life(env={"SIDECAR_RELAY": "off"}) as life:
                await stage.check_end(life, 0)
            assert "uri=." in read_output(job)

    run_side_by_side(play("unknown"), play("broken"), play_off())


def test_20_a_runner_that_somebody_deregistered(aws):
    """The listener notices it while it waits, or before its session: exit 20, as with a watch."""

    async def play_idle():
        async with open_stage(aws) as stage:
            await stage.put()
            async with stage.life() as life:
                await life.wait_for_phase("idle")
                (runner,) = stage.world.runners
                stage.world.runners.remove(runner, "test")
                await stage.check_end(life, 20)
            assert life.find_events("runner.ended")[0]["outcome"] == "deregistered"

    async def play_early():
        async with open_stage(aws) as stage:
            await stage.put()
            removed = asyncio.Event()
            stage.world.faults.add({"call": "runner-oauth", "gate": removed})
            async with stage.life() as life:
                await life.wait_for_event("runner.registered")
                (runner,) = stage.world.runners
                stage.world.runners.remove(runner, "test")
                removed.set()
                await stage.check_end(life, 20)
            (ended,) = life.find_events("runner.ended")
            assert (ended["code"], ended["outcome"]) == (1, "deregistered")

    run_side_by_side(play_idle(), play_early())


def test_15_a_listener_that_cannot_open_its_session(aws):
    """It is ended after SIDECAR_SESSION_LIMIT; the error says why it had no connection."""
    # The listener has to say first why it has no connection, on a busy machine too.
    env = {"SIDECAR_SESSION_LIMIT": "12", "SIDECAR_STOP_TIMEOUT": "15"}

    async def play():
        async with open_stage(aws) as stage:
            await stage.put()
            stage.world.faults.add({"call": "runner-session", "count": -1, "drop": True})
            async with stage.life(env=env) as life:
                await stage.check_end(life, 15)
            assert life.find_events("watch.triggered", reason="session-limit")
            (ended,) = life.find_events("runner.ended")
            assert ended["outcome"] == "no-session"
            (lost,) = life.find_events("runner.connection_changed")
            assert lost["reason"] in life.events[-1]["error"]

    async def play_silent():
        async with open_stage(aws) as stage:
            await stage.put()
            stage.misbehave(run="hang")
            async with stage.life(env=env) as life:
                await stage.check_end(life, 15)
            assert "SIDECAR_SESSION_LIMIT" in life.events[-1]["error"]

    run_side_by_side(play(), play_silent())


def test_15_a_runner_that_cannot_run(aws):
    """The program cannot be started, or ends with a code that it should not: exit 15."""

    async def play_unstartable():
        async with open_stage(aws) as stage:
            await stage.put()
            (stage.runner_folder / "bin" / "Runner.Listener").write_text("#!/nowhere/at/all\n")
            async with stage.life() as life:
                await stage.check_end(life, 15)
            assert "cannot start" in life.find_events("life.failed")[0]["reason"]
            assert not stage.world.calls

    async def play_odd(code):
        async with open_stage(aws) as stage:
            await stage.put()
            stage.misbehave(run=f"exit:{code}")
            async with stage.life() as life:
                await stage.check_end(life, 15)
            assert life.find_events("runner.ended")[0]["code"] == code

    run_side_by_side(play_unstartable(), play_odd(3), play_odd(99))


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        ("job-renew", {"source": "actions-run-service", "statusCode": 404}),
        (
            "job-acknowledge",
            {"source": "actions-broker-listener", "errorKind": "AcknowledgeJobNotFound"},
        ),
    ],
)
def test_0_a_job_that_github_withdraws_before_it_begins(aws, call, answer):
    """Before its first renewal or its acknowledgement: it is named so, and no job is counted."""

    async def play():
        async with open_stage(aws) as stage:
            await stage.put()
            stage.world.faults.add({"call": call, "status": 404, "body": answer})
            job = stage.job("true")
            env = {"SIDECAR_METRICS_NAMESPACE": "Runners"}
            async with stage.life(env=env) as life:
                await life.wait_for_event("runner.ended")
                stage.world.complete(job, "canceled")  # then GitHub lets the runner go
                await stage.check_end(life, 0)
            (ended,) = life.find_events("runner.ended")
            assert ended["outcome"] == "job-withdrawn"
            assert life.events[-1]["jobs"] == 0
            assert life.find_events("job.started") == []

    run_side_by_side(play())


def test_17_a_token_that_could_not_be_deleted(aws):
    """The job ran, but the token could not be deleted: exit 17, and the log has the reason."""

    async def play():
        async with open_stage(aws) as stage:
            await stage.put()
            stage.ssm.add(refuse("AccessDeniedException", "DeleteParameter"))
            job = stage.job("true")
            async with stage.life() as life:
                await stage.check_end(life, 17, left=["token"])
            assert job.result == "succeeded", "a failing delete never fails the job"

    run_side_by_side(play())


def test_21_and_23_a_listener_that_github_refuses(aws):
    """Exit 21 for a version that GitHub refuses, 23 for a session that another one holds."""

    async def play_old():
        async with open_stage(aws) as stage:
            await stage.put()
            stage.world.settings.deprecated_versions.append("2.336.0")
            async with stage.life() as life:
                await stage.check_end(life, 21)

    async def play_conflict():
        async with open_stage(aws) as stage:
            await stage.put()
            stage.misbehave(session_retry_seconds=0.1, session_conflict_seconds=0.3)
            async with stage.life() as life:
                await stage.wait_for(lambda: list(stage.world.runners), "the runner")
                (runner,) = stage.world.runners
                stage.world.open_session(runner, "somebody else", "2.336.0")
                await stage.check_end(life, 23)

    run_side_by_side(play_old(), play_conflict())


# --- output is never trusted -------------------------------------------------------------------

FORGED = """build
2026-01-01 00:00:00Z: Job build completed with result: {}
The runner no longer exists on the server. Cleaning up local configuration.
2026-01-01 00:00:00Z: Listening for Jobs"""


def test_forged_lines_change_no_outcome(aws):
    """A job's name that looks like the listener's lines changes nothing when it is printed."""
    echo = {"ACTIONS_RUNNER_PRINT_LOG_TO_STDOUT": "1"}

    async def play():
        async with open_stage(aws) as stage:
            await stage.put()
            job = stage.job("true", name=FORGED.format("Canceled"))
            async with stage.life(env=echo) as life:
                await stage.check_end(life, 0)
            assert job.result == "succeeded"

    async def play_stopped():
        async with open_stage(aws) as stage:
            await stage.put()
            job = stage.job("echo begun; exec sleep 600", name=FORGED.format("Succeeded"))
            async with stage.life(env={**echo, "SIDECAR_STOP_TIMEOUT": "24"}) as life:
                await stage.wait_for_output(job, "begun")
                life.signal()
                await stage.check_end(life, 22)

    run_side_by_side(play(), play_stopped())


@pytest.mark.alone  # after the kill there is little time for the rest
def test_forged_lines_change_no_outcome_of_a_kill(aws):
    """Nor does the name of a job whose runner and step ignore the stop."""

    async def play():
        async with open_stage(aws) as stage:
            await stage.put()
            stage.misbehave(ignore_signals=True)
            step = "trap '' INT TERM; echo begun; while :; do sleep 0.1; done"
            job = stage.job(step, name=FORGED.format("Succeeded"))
            env = {"ACTIONS_RUNNER_PRINT_LOG_TO_STDOUT": "1", "SIDECAR_STOP_TIMEOUT": "15"}
            async with stage.life(env=env) as life:
                await stage.wait_for_output(job, "begun")
                stage.give_up(job)
                life.signal()
                await stage.check_end(life, 22)

    run_side_by_side(play())


# --- processes of a job ------------------------------------------------------------------------


def test_daemons_of_a_job_do_not_outlive_it(aws):
    """Processes that a job hides (own session, no mark, no parent) are killed."""
    hidden = 'env -i /bin/sh -c "cd /; setsid sleep 601 >/dev/null 2>&1 & echo daemon \\$!"'

    async def play():
        async with open_stage(aws) as stage:
            await stage.put()
            stage.misbehave(spawn_daemon=True)
            job = stage.job(hidden)
            async with stage.life() as life:
                await stage.check_end(life, 0)
            (line,) = [line for line in read_output(job).splitlines() if line.startswith("daemon ")]
            planted = int((stage.runner_folder / "_diag" / "daemon.pid").read_text())
            for pid in (planted, int(line.split()[1])):
                assert str(pid) not in list_processes(), "it outlived its job"

    run_side_by_side(play())


@pytest.mark.root
def test_orphans_are_collected_by_pid_1(aws):
    """As a container's first process the agent collects ended processes without a parent."""

    async def play():
        async with open_stage(aws) as stage:
            await stage.put()
            step, open_gate = stage.make_gate()
            orphans = "for i in 1 2 3 4 5; do (setsid sh -c 'exit 0' &); done\n"
            job = stage.job(orphans + step)
            async with stage.life((*AS_PID_1, *ON_UVLOOP)) as life:
                await stage.wait_for_output(job, "at the gate")
                await wait_until(lambda: not list_zombies(life.pid), "all orphans are collected")
                open_gate()
                await stage.check_end(life, 0)
            assert job.result == "succeeded"

    run_side_by_side(play())


def list_zombies(pid):
    """Return the states of a process's children that have ended and are not collected."""
    children = read_file(f"/proc/{pid}/task/{pid}/children").split()
    states = [
        read_file(f"/proc/{int(child)}/stat").rpartition(b")")[2].split() for child in children
    ]
    return [state for state in states if state and state[0] == b"Z"]


# --- health --------------------------------------------------------------------------------


async def probe_health(stage, where):
    """Run the container's health check, as it is told the address; return its exit code."""
    env = {**stage.environment(), "SIDECAR_HEALTH_ADDRESS": where}
    argv = (ON_UVLOOP[0], "-m", "sidecar", "health")
    probe = await asyncio.create_subprocess_exec(*argv, env=env, stderr=asyncio.subprocess.PIPE)
    await probe.communicate()
    return probe.returncode


async def wait_until_healthy(stage, where):
    """Run the health check until it says so, as ECS does: an agent that stands still fails one."""
    async with asyncio.timeout(PATIENCE):
        while await probe_health(stage, where) != 0:
            pass


HEALTH_HOST = "127.83.65.12"
"""An address on which no other program listens: a free port is soon somebody else's."""


def test_two_tasks_on_one_network_are_both_healthy(aws):
    """The second one takes a free port, and its health check finds it: network mode host."""
    env = {"SIDECAR_HEALTH_ADDRESS": f"{HEALTH_HOST}:0"}

    async def play():
        async with open_stage(aws) as one, open_stage(aws) as other, one.life(env=env) as first:
            started = await first.wait_for_event("health.started")
            where = f"{HEALTH_HOST}:{started['port']}"
            async with other.life(env={"SIDECAR_HEALTH_ADDRESS": where}) as second:
                moved = await second.wait_for_event("health.moved", wanted=where)
                assert moved["address"] != where
                await one.put()
                one.job("true")
                await one.check_end(first, 0)
                # Nobody answers at the address of the settings any more.
                assert await probe_health(one, where) == 1
                await wait_until_healthy(other, where)
                await other.put()
                other.job("true")
                await other.check_end(second, 0)
            assert await probe_health(other, where) == 1

    run_side_by_side(play())


def test_health_through_the_phases(aws):
    """/healthz answers 200 from the start, /readyz from when the listener listens.

    The exit code of `runner-sidecar health` agrees with /healthz.
    """

    async def asked(stage, where, path):
        async with stage.http.get(f"http://{where}{path}") as answer:
            return answer.status, await answer.json()

    async def play():
        async with open_stage(aws) as stage:
            step, open_gate = stage.make_gate()
            async with stage.life(env={"SIDECAR_HEALTH_ADDRESS": f"{HEALTH_HOST}:0"}) as life:
                listening = await life.wait_for_event("health.started")
                where = f"{listening['host']}:{listening['port']}"
                await life.wait_for_phase("waiting-for-token")
                status, body = await asked(stage, where, "/healthz")
                assert (status, body["phase"]) == (200, "waiting-for-token")
                assert body["life_seconds"] >= body["phase_seconds"] >= 0
                assert (await asked(stage, where, "/readyz"))[0] == 503
                await wait_until_healthy(stage, where)
                await stage.put()
                await life.wait_for_phase("idle")
                status, body = await asked(stage, where, "/readyz")
                assert (status, body["phase"], body["ready"]) == (200, "idle", True)
                job = stage.job(step)
                await stage.wait_for_output(job, "at the gate")
                await life.wait_for_phase("busy")  # it reads of the job in its own time
                status, body = await asked(stage, where, "/readyz")
                assert (status, body["phase"]) == (200, "busy")
                life.signal()
                await life.wait_for_phase("draining")
                status, body = await asked(stage, where, "/healthz")
                assert (status, body["phase"]) == (200, "draining")
                open_gate()
                await stage.check_end(life, 0)
            assert await probe_health(stage, where) == 1

    run_side_by_side(play())
