"""Whole lives with rules for roles: each job has its own, or none, in every step.

STS is a stand-in that judges tags and tokens; jobs run as another user where the tests are root.
"""

import dataclasses
import json
import os
import signal
import time
from contextlib import asynccontextmanager

import pytest

from local import aws, oidc, sts
from local.github.payloads import number_of
from tests.lives.stage import (
    LOOPS,
    open_stage,
    read_output,
    run_side_by_side,
    wait_until,
)
from tests.lives.test_admission import find_relay_uri, find_waiting_hook

DEPLOY, BUILD = (f"arn:aws:iam::{aws.ACCOUNT}:role/{name}" for name in ("deploy", "build"))
RULES = f"""
[[job]]
name = "deploy"
repository = "octo/repo"
ref = "refs/heads/main"
role = "{DEPLOY}"
tags = {{ team = "web" }}
duration = "15m"
source_identity = "actor"

[[job]]
name = "build"
repository = "octo/*"
event = ["push", "pull_request"]
role = "{BUILD}"
"""
OTHERS = RULES.replace('"octo/repo"', '"octo/other"').replace('"octo/*"', '"octo/other*"')
ASK = """\
python3 - <<'END'
import json, os, urllib.error, urllib.request
try:
    uri = os.environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"]
    with urllib.request.urlopen(uri) as answer:
        print("got" + ":", json.load(answer)["RoleArn"])
except urllib.error.HTTPError as error:
    print("got" + ":", error.code, error.headers.get("Retry-After"), error.read().decode())
END
"""


@asynccontextmanager
async def open_roles(aws_url, rules=RULES, **env):
    """Open a stage beside an STS that knows both roles; give it, STS and the variables."""
    async with open_stage(aws_url) as stage, sts.serving() as asked:
        asked.add(DEPLOY)
        asked.add(BUILD)
        await stage.put()
        yield stage, asked, {"AWS_ENDPOINT_URL_STS": asked.url, "SIDECAR_ROLES": rules, **env}


async def play(aws_url, check, rules=RULES, *steps, knobs=None, prepare=None, **job):
    """Play a life with one job; `check` gets its output, the life and STS."""
    async with open_roles(aws_url, rules) as (stage, asked, env):
        stage.misbehave(**knobs or {})
        if prepare is not None:
            prepare(asked)
        queued = stage.job(*steps or (ASK,), **job)
        async with stage.life(env=env) as life:
            await stage.check_end(life, 0)
        assert queued.result == "succeeded", queued.log()
        check(queued, life, asked)


def got(role):
    """Return a check that a job got a role."""

    def check(job, life, _):
        assert f"got: {role}" in read_output(job)
        (event,) = life.find_events("role.assigned")
        assert event["role"] == role
        assert not life.find_events("role.denied")

    return check


def denied(*words):
    """Return a check that a job was denied every role, and that all say why."""

    def check(job, life, asked):
        output = read_output(job)
        assert "got: 403 " in output
        (event,) = life.find_events("role.denied")
        for word in words:
            assert word in event["reason"]
            assert word in output.partition("got: 403")[2]
            assert word in job.log().partition("::warning title=AWS credentials::")[2]
        assert asked.assumed == []

    return check


def read_session(asked):
    """Return the session that was begun; STS may be asked again for it if it answers late."""
    session, *others = asked.assumed
    own = {"key": session.key, "token": session.token}
    assert all(dataclasses.replace(one, **own) == session for one in others)
    return session


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_a_job_has_the_role_of_its_rule(aws, loop):
    """By repository and branch; STS is told which run it is, by tags and by the session's name."""

    async def life_of_a_job():
        async with open_roles(aws) as (stage, asked, env):
            async with stage.life(LOOPS[loop], env=env) as life:
                uri = await find_relay_uri(stage, life)
                async with stage.http.get(uri) as answer:
                    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
                assert asked.asked == 0
                began = time.monotonic()
                job = stage.job(ASK, actor="mona")
                await stage.check_end(life, 0)
            got(DEPLOY)(job, life, asked)
            session = read_session(asked)
            run = str(job.run.id)
            assert session.tags == {
                "repository": "octo/repo",
                "ref": "refs/heads/main",
                "workflow": "octo/repo/.github/workflows/stand-in.yml",
                "event": "push",
                "actor": "mona",
                "run_id": run,
                "run_attempt": "1",
                "team": "web",
            }
            assert session.session == f"{run}-1-octo-repo"
            assert (session.duration, session.source_identity) == (900, "mona")
            (event,) = life.find_events("role.assigned")
            assert (event["rule"], event["proof"]) == ("deploy", "runner")
            assert 0 < event["job_role_ms"] < 1000 * (time.monotonic() - began)
            assert life.find_events("job.admitted")[0]["repository"] == "octo/repo"
            (served,) = life.find_events("relay.answered")
            assert (served["role"], served["rule"]) == (DEPLOY, "deploy")
            assert served["job"] == f"octo/repo run {run} attempt 1 job build"

    run_side_by_side(life_of_a_job())


def test_each_trap_leads_to_the_role_of_the_rule_or_to_none(aws):
    """What a workflow's author can write decides nothing; who must be named gets nothing else."""
    evil = {"env": {"GITHUB_REPOSITORY": "octo/other", "GITHUB_REF": "refs/heads/main"}}
    fork = {"pull_request": 7, "head_repository": "mallory/repo"}
    own = {"pull_request": 7, "head_repository": "octo/repo", "event": "pull_request"}
    target = {"event": "pull_request_target", **fork}
    run_side_by_side(
        play(aws, denied("octo/repo", "push"), OTHERS, **evil),
        play(aws, got(BUILD), head_branch="dev", **evil),
        play(aws, got(DEPLOY), RULES.replace("octo", "OCTO")),
        play(aws, got(BUILD), ref="refs/tags/main"),
        play(aws, got(BUILD), **own),
        play(
            aws,
            denied("octo/repo", "refs/pull/7/merge", "pull_request of a fork"),
            event="pull_request",
            **fork,
        ),
        play(
            aws, denied("pull_request of a fork"), event="pull_request", head_deleted=True, **fork
        ),
    )
    run_side_by_side(
        play(aws, denied("refs/heads/main", "pull_request_target of a fork"), **target),
        play(aws, denied("workflow_run"), event="workflow_run"),
        play(aws, denied("event pull_request"), knobs={"event_file": "link"}, **own),
    )


def test_a_ref_that_sts_does_not_take_is_no_tag(aws):
    """It is left out, not written in another form; what STS takes is sent as it is."""
    odd, long = "refs/heads/a#b", "refs/heads/" + "x" * 240
    letters = "refs/heads/bücher"

    def left_out(job, life, asked):
        got(BUILD)(job, life, asked)
        assert "ref" not in read_session(asked).tags
        (event,) = life.find_events("role.tags_left_out")
        assert "ref" in event["tags"]

    def sent(ref):
        def check(job, life, asked):
            got(BUILD)(job, life, asked)
            assert asked.assumed[0].tags["ref"] == ref
            assert not life.find_events("role.tags_left_out")

        return check

    run_side_by_side(
        play(aws, left_out, ref=odd),
        play(aws, sent(letters), ref=letters),
        play(aws, sent(long), ref=long),
    )


def test_the_first_message_counts(aws):
    """A job that sends another one gets nothing by it."""
    forge = (
        'cd "$RUNNER_TEMP/../../.sidecar" && for fifo in ask; do printf '
        "'GITHUB_REPOSITORY=octo/repo\\0GITHUB_REF=refs/heads/main\\0GITHUB_EVENT_NAME=push\\0\\0'"
        " 1<>$fifo || :; done; sleep 0.3"
    )
    run_side_by_side(play(aws, got(BUILD), RULES, forge, ASK, head_branch="dev"))


REQUIRED = RULES.replace('duration = "15m"', "required = true")


def test_a_role_that_cannot_be_assumed_is_no_other_role(aws):
    """The job goes on without, or fails where the role is required; both say why."""

    async def without():
        async with open_roles(aws) as (stage, asked, env):
            del asked.roles[DEPLOY]
            job = stage.job(ASK)
            async with stage.life(env=env) as life:
                await stage.check_end(life, 0)
            assert "got: 503" in read_output(job)
            assert "access denied (needs sts:AssumeRole and sts:TagSession" in job.log()
            assert life.find_events("role.delayed")

    async def required():
        async with open_roles(aws, REQUIRED) as (stage, asked, env):
            del asked.roles[DEPLOY]
            job = stage.job('echo "in"side')
            async with stage.life(env=env) as life:
                await stage.check_end(life, 25)
            assert job.result == "failed"
            assert "inside" not in read_output(job)
            assert "its role is required: cannot get credentials" in job.log()

    run_side_by_side(without(), required())


def test_sts_that_is_throttled_or_down_for_a_moment_delays_the_job_alone(aws):
    """It is asked again within the hook."""

    def throttle(asked):
        asked.faults += [(400, "Throttling"), (503, "ServiceUnavailable")]

    def check(job, life, asked):
        got(DEPLOY)(job, life, asked)
        assert asked.asked >= 3
        assert asked.faults == []

    run_side_by_side(play(aws, check, prepare=throttle))


def test_sts_that_is_down_gives_the_role_later(aws):
    """The hook does not wait longer than it may; the job gets 503 until the role is there."""

    async def life_of_a_job():
        async with open_roles(aws) as (stage, asked, env):
            asked.faults += [(503, "ServiceUnavailable")] * 1000
            gate, open_gate = stage.make_gate()
            again = f"until {{ {ASK.strip()}\n}} | grep role/; do sleep 0.2; done"
            job = stage.job(ASK, gate, again)
            async with stage.life(env=env) as life:
                await stage.wait_for_output(job, "at the gate")
                assert "got: 503" in read_output(job)
                assert "::warning title=AWS credentials::cannot get credentials" in job.log()
                asked.faults.clear()
                open_gate()
                await stage.check_end(life, 0)
            assert f"got: {DEPLOY}" in read_output(job)
            assert life.find_events("role.delayed")

    run_side_by_side(life_of_a_job())


async def stop_in_hook(stage, life):
    """Let the agent stand still until the hook of a job waits for its answer; gives the job."""
    await life.wait_for_event("phase.entered", phase="idle")
    os.kill(life.pid, signal.SIGSTOP)
    job = stage.job('echo "in"side')
    await wait_until(lambda: find_waiting_hook(stage), "a hook that waits")
    return job


def test_without_an_answer_a_job_goes_on_without_credentials(aws):
    """Its log says so; where some rule's role is required it fails instead."""

    async def unanswered(rules, result):
        async with open_roles(aws, rules) as (stage, asked, env):
            async with stage.life(env=env) as life:
                job = await stop_in_hook(stage, life)
                life.signal(signal.SIGKILL)
                await stage.wait_for(lambda: job.state == "completed", "the job's end")
                await life.wait_for_end()
                stage.kill_processes()
            assert job.result == result
            assert ("inside" in read_output(job)) is (result == "succeeded")
            assert "the agent did not answer within 10 s" in job.log()
            assert asked.assumed == []

    run_side_by_side(unanswered(RULES, "succeeded"), unanswered(REQUIRED, "failed"))


def test_a_hook_that_is_killed_gives_no_other_role(aws):
    """Its message was sent already, or never is: the job has its own role then, or none."""

    async def life_of_a_job():
        async with open_roles(aws) as (stage, asked, env):
            async with stage.life(env=env) as life:
                await life.wait_for_event("phase.entered", phase="idle")
                os.kill(life.pid, signal.SIGSTOP)
                steps = [{"run": ASK, "if": "always()"}]
                job = stage.queue_job({"name": "build", "steps": steps, "head_branch": "dev"})
                await wait_until(lambda: find_waiting_hook(stage), "a hook that waits")
                for pid, words in stage.find_processes().items():
                    if "job-started" in words or ".sidecar/answer" in words:
                        os.kill(pid, signal.SIGKILL)
                life.signal(signal.SIGCONT)
                await stage.check_end(life, 0)
            output = read_output(job)
            assert f"got: {BUILD}" in output or "got: 503" in output
            assert {one.role for one in asked.assumed} <= {BUILD}

    run_side_by_side(life_of_a_job())


def test_sts_that_is_slow_does_not_hold_up_the_job(aws):
    """The hook waits for ten seconds at most; the job then goes on without, and says so."""

    def slow(asked):
        asked.slowness = 60.0

    def check(job, life, asked):
        assert "got: 503" in read_output(job)
        assert "no answer from STS within 3 s" in job.log()
        assert asked.assumed == []

    run_side_by_side(play(aws, check, prepare=slow))


def test_the_user_s_own_hook_runs_after_the_role_is_there(aws):
    """It may use the role."""

    async def life_of_a_job():
        async with open_roles(aws) as (stage, _, env):
            hook = stage.folder / "hook.sh"
            hook.write_text(ASK)
            job = stage.job("true")
            own = {"ACTIONS_RUNNER_HOOK_JOB_STARTED": str(hook)}
            async with stage.life(env={**env, **own}) as life:
                await stage.check_end(life, 0)
            assert f"got: {DEPLOY}" in job.log()

    run_side_by_side(life_of_a_job())


def test_the_rules_may_stand_in_parameters(aws):
    """Their mistakes end the life before anything is registered, with exit code 11."""

    async def life_of_a_job(rules, code):
        async with open_roles(aws) as (stage, asked, env):
            names = [f"/roles/{stage.mark}/{number}" for number in (1, 2)]
            head, _, rest = rules.partition("\n\n")
            for name, text in zip(names, (head, rest), strict=True):
                await stage.call_ssm("PutParameter", Name=name, Value=text, Type="String")
            job = stage.job(ASK)
            env["SIDECAR_ROLES"] = f"ssm:{'+'.join(names)}"
            async with stage.life(env=env) as life:
                await stage.check_end(life, code)
            if code == 0:
                got(DEPLOY)(job, life, asked)
            else:
                (event,) = life.find_events("life.failed")
                assert "SIDECAR_ROLES: job 'build': evnt: is no key here" in event["reason"]

    run_side_by_side(life_of_a_job(RULES, 0), life_of_a_job(RULES.replace("event =", "evnt ="), 11))


def test_the_default_may_be_the_task_s_role(aws):
    """Only where the rules say so, and for the usual events of the repository's own commits."""
    rules = '[default]\nrole = "task"\n'
    fork = {"event": "pull_request", "pull_request": 7, "head_repository": "mallory/repo"}

    def check(job, life, asked):
        assert f"got: {json.loads(json.dumps(aws_role))}" in read_output(job)
        assert life.find_events("role.assigned")[0]["rule"] == "default"
        assert asked.asked == 0

    aws_role = "arn:aws:iam::"
    run_side_by_side(play(aws, check, rules), play(aws, denied("pull_request"), rules, **fork))


BY_TOKEN = f"""
[[job]]
name = "production"
environment = "production"
role = "{DEPLOY}"
proof = "oidc"
duration = "2h"

[[job]]
name = "build"
role = "{BUILD}"
"""


def test_github_s_own_token_proves_a_job(aws):
    """AWS sees the token, the log never does; the job's steps cannot change whose it is."""

    async def life_of_a_job(environment, role):
        async with oidc.serving() as issuer, open_roles(aws, BY_TOKEN) as (stage, asked, env):
            claims = {"repository": "octo/repo", "environment": environment}
            asked.roles[DEPLOY].claims = claims
            asked.roles[DEPLOY].longest = 7200
            url = issuer.admit_job(
                **claims, repository_id=number_of("octo/repo"), run_id=None, run_attempt=None
            )
            job = stage.job(ASK, id_token_url=url, env={"ACTIONS_ID_TOKEN_REQUEST_URL": "x"})
            async with stage.life(env=env) as life:
                await stage.check_end(life, 0)
            got(role)(job, life, asked)
            (session,) = asked.assumed
            if role == DEPLOY:
                assert session.claims["environment"] == "production"
                assert (session.tags, session.duration) == ({}, 7200)
            else:
                assert session.claims == {}
            assert url not in life.text
            assert "eyJ" not in life.text

    async def without_permission():
        async with open_roles(aws, BY_TOKEN.replace('environment = "production"\n', "")) as (
            stage,
            asked,
            env,
        ):
            job = stage.job(ASK)
            async with stage.life(env=env) as life:
                await stage.check_end(life, 0)
            denied("permissions: id-token: write")(job, life, asked)

    run_side_by_side(
        life_of_a_job("production", DEPLOY),
        life_of_a_job("staging", BUILD),
        without_permission(),
    )
