"""Run whole lives with exactly the variables that each known launcher sets.

Names and meanings are those of the projects' own code; what GitHub then sees is what is held.
"""

from __future__ import annotations

import json
import re
import sys

import pytest

from local.github import apps
from local.github.scope import Scope
from tests.lives.stage import ON_UVLOOP, open_stage, run_side_by_side

OURS = {"SIDECAR_TOKEN_PARAMETER": None, "SIDECAR_GITHUB_URL": None}
"""Removes what the stage sets and no launcher does."""


def override_api(stage):
    """Return the setting for the stage's GitHub, for launchers that name no server."""
    return OURS | {"SIDECAR_GITHUB_SERVER": stage.github.url}


def mint_token_for(stage, path):
    """Have GitHub issue a registration token for a scope."""
    stage.token = stage.world.mint("registration", Scope.of_path(path), 3600).value
    return stage.token


async def wait_for_runner(stage, life):
    """Wait for GitHub's only runner; returns it and the names of its labels."""
    await stage.wait_for(lambda: list(stage.world.runners), "the runner")
    (runner,) = stage.world.runners
    assert runner.ephemeral
    return runner, {label.name for label in runner.labels}


async def run_life(stage, env, contract, *, labels=(), argv=ON_UVLOOP):
    """Run a life with a job; returns the runner, its labels and what the job saw of `env`."""
    step, let_go = stage.make_gate()
    async with stage.life(argv, env=env) as life:
        runner, its_labels = await wait_for_runner(stage, life)
        job = stage.job("env > seen; sed 's/^/SEEN /' seen", step, labels=list(labels))
        await stage.wait_for_output(job, "at the gate")
        let_go()
        await stage.check_end(life, 0)
    (event,) = life.find_events("launcher.recognised")
    assert event["contract"] == contract
    assert set(event["by"]) <= set(env)
    assert job.result == "succeeded"
    seen = set(re.findall(r"SEEN (\w+)=", job.log()))
    assert "PATH" in seen
    return runner, its_labels, seen, job, life


def fargate(stage, *, whole):
    """Return what its task definition and webhook set: for the organization, or a repository."""
    return {
        "RUNNER_TOKEN_PATH": stage.parameter,
        "ORGANIZATION": "octo",
        "REPO": "repo",
        "LABELS": "self-hosted,ecs,large",
        "USE_ORG": "true" if whole else "false",
        "RUNNER_GROUP": "builders" if whole else "",
    }


@pytest.mark.parametrize("whole", [True, False], ids=["organization", "repository"])
def test_fargate(aws, whole):
    """The task's token in SSM and the parts of a URL are used; then the parameter is gone."""

    async def play():
        async with open_stage(aws) as stage:
            stage.world.settings.runner_groups.append("builders")
            await stage.put(mint_token_for(stage, "/orgs/octo" if whole else "/repos/octo/repo"))
            env = fargate(stage, whole=whole)
            runner, labels, seen, _, life = await run_life(
                stage, override_api(stage) | env, "fargate", labels=["large"]
            )
            assert runner.scope == Scope.of_path("/orgs/octo" if whole else "/repos/octo/repo")
            assert {"ecs", "large"} <= labels
            assert runner.group_id == (2 if whole else 1)
            assert not seen & set(env)
            assert life.find_events("token.deleted")

    run_side_by_side(play())


def passeidireto(repository):
    """Return what its action overrides."""
    return {
        "GITHUB_PERSONAL_TOKEN": "ghp_local",
        "GITHUB_OWNER": "octo",
        "GITHUB_REPOSITORY": repository,
        "RUNNER_NAME": "build_and_test",
        "RUNNER_LABELS": "ecs,build_and_test",
        "ACTIONS_RUNNER_PRINT_LOG_TO_STDOUT": "1",
    }


@pytest.mark.parametrize("repository", ["repo", "octo/repo", ""])
def test_passeidireto(aws, repository):
    """A PAT, a repository's name (or none, for the organization) and the job's name are used."""

    async def play():
        async with open_stage(aws) as stage:
            env = passeidireto(repository)
            runner, labels, _, job, life = await run_life(
                stage, override_api(stage) | env, "passeidireto"
            )
            path = "/repos/octo/repo" if repository else "/orgs/octo"
            assert runner.scope == Scope.of_path(path)
            assert re.fullmatch("build_and_test_[0-9a-f]{12}-[0-9a-f]{6}", runner.name)
            assert {"ecs", "build_and_test"} <= labels
            assert stage.world.calls["registration-token"] == 1
            assert [event["rung"] for event in life.find_events("runner.deregistered")] == [
                "github"
            ]
            # GITHUB_REPOSITORY is the runner's own there, and means something else.
            assert "ghp_local" not in job.log() + life.text
            assert "SEEN GITHUB_OWNER=" not in job.log()

    run_side_by_side(play())


def myoung34(stage):
    """Return what its users write into a task definition, by the start of its README."""
    return {
        "ACCESS_TOKEN": "ghp_local",
        "REPO_URL": stage.github_url,
        "RUNNER_NAME_PREFIX": "builder",
        "EPHEMERAL": "1",
        "DISABLE_AUTO_UPDATE": "1",
        "RUNNER_SCOPE": "repo",
    }


def test_myoung34_with_a_personal_access_token(aws):
    """REPO_URL, a PAT, a name prefix and the label `default` are used."""

    async def play():
        async with open_stage(aws) as stage:
            env = myoung34(stage)
            runner, labels, seen, job, life = await run_life(stage, OURS | env, "myoung34")
            assert runner.scope == Scope.of_path("/repos/octo/repo")
            assert re.fullmatch("builder-[0-9a-f]{12}-[0-9a-f]{6}", runner.name)
            assert "default" in labels
            assert not seen & set(env)
            assert "ghp_local" not in job.log() + life.text
            assert life.find_events("launcher.recognised")[0]["unheeded"] == []

    run_side_by_side(play())


def test_myoung34_with_a_registration_token_for_an_organization(aws):
    """ORG_RUNNER, GITHUB_HOST, name, labels and group are used; the log says what differs."""

    async def play():
        async with open_stage(aws) as stage:
            stage.world.settings.runner_groups.append("builders")
            env = {
                "RUNNER_TOKEN": mint_token_for(stage, "/orgs/octo"),
                "ORG_RUNNER": "true",
                "ORG_NAME": "octo",
                "RUNNER_NAME": "builder-7",
                "LABELS": "ecs,large",
                "RUNNER_GROUP": "builders",
                "NO_DEFAULT_LABELS": "1",
                "RUNNER_WORKDIR": str(stage.runner_folder / "elsewhere"),
                "DISABLE_AUTOMATIC_DEREGISTRATION": "true",
            }
            runner, labels, seen, job, life = await run_life(
                stage, override_api(stage) | env, "myoung34"
            )
            assert (runner.name, runner.group_id) == ("builder-7", 2)
            assert runner.scope == Scope.of_path("/orgs/octo")
            assert labels == {"ecs", "large"}
            assert "elsewhere" in job.log()
            assert not seen & (set(env) - {"RUNNER_NAME"})  # the runner sets that itself
            (event,) = life.find_events("launcher.recognised")
            assert [text.split()[0].strip(":") for text in event["unheeded"]] == [
                "EPHEMERAL",
                "DISABLE_AUTOMATIC_DEREGISTRATION",
            ]

    run_side_by_side(play())


def test_myoung34_with_an_app(aws):
    """With APP_ID, APP_PRIVATE_KEY and APP_LOGIN the App registers and removes the runner."""

    async def play():
        async with open_stage(aws) as stage:
            pem, modulus, exponent = apps.fresh_key()
            known = stage.world.apps.add("runners", modulus, exponent)
            stage.world.apps.install(known, "octo")
            env = {
                "APP_ID": str(known.id),
                "APP_PRIVATE_KEY": pem.replace("\n", "\\n"),
                "APP_LOGIN": "octo",
                "RUNNER_SCOPE": "org",
                "ORG_NAME": "octo",
                "EPHEMERAL": "true",
            }
            runner, _, seen, job, life = await run_life(
                stage, override_api(stage) | env, "myoung34"
            )
            assert runner.scope == Scope.of_path("/orgs/octo")
            assert not seen & set(env)
            for line in pem.splitlines()[1:-1]:
                assert line not in job.log() + life.text
            assert [event["rung"] for event in life.find_events("runner.deregistered")] == [
                "github"
            ]

    run_side_by_side(play())


def cdk(stage):
    """Return what its state machine overrides, and the image's RUNNER_VERSION."""
    return {
        "RUNNER_TOKEN": mint_token_for(stage, "/repos/octo/repo"),
        "RUNNER_NAME": "repo-0f3a",
        "RUNNER_LABEL": "ecs,linux",
        "RUNNER_GROUP1": "",
        "RUNNER_GROUP2": "",
        "DEFAULT_LABELS": "",
        "GITHUB_DOMAIN": "github.com",
        "OWNER": "octo",
        "REPO": "repo",
        "REGISTRATION_URL": stage.github_url,
        "RUNNER_VERSION": "latest",
    }


def test_cdk_without_its_command(aws):
    """Without its command, its variables are all that the agent needs."""

    async def play():
        async with open_stage(aws) as stage:
            env = cdk(stage)
            runner, labels, seen, job, _ = await run_life(stage, OURS | env, "cdk")
            assert runner.name == "repo-0f3a"
            assert {"ecs", "linux"} <= labels
            assert not seen & (set(env) - {"RUNNER_NAME"})
            assert stage.token not in job.log()

    run_side_by_side(play())


COMMAND = """
cd "$WHERE" && ./config.sh --unattended --ephemeral --disableupdate --url "$REGISTRATION_URL" \\
  --token "$RUNNER_TOKEN" --name "$RUNNER_NAME" --labels "$RUNNER_LABEL" &&
./run.sh && echo "CDKGHA JOB DONE $RUNNER_LABEL $(ls _diag | grep -c Worker)"
"""
"""A command like that of cdk's task definition: register, run, print the result."""


def supervise(stage, **more):
    """Return the settings for a command that registers by itself, here as root."""
    env = OURS | cdk(stage) | {"WHERE": str(stage.runner_folder), "RUNNER_ALLOW_RUNASROOT": "1"}
    return env | {"SIDECAR_RUNNER_USER": None} | more


def test_cdk_with_its_command(aws):
    """The command registers; its last line and exit code are kept; jobs find the relay."""

    async def play():
        async with open_stage(aws) as stage:
            job = stage.job('echo "URI $RUNNER_SIDECAR_RELAY_URI"', labels=["ecs"])
            argv = (*ON_UVLOOP, "--", "sh", "-c", COMMAND)
            async with stage.life(argv, env=supervise(stage)) as life:
                assert await life.wait_for_end() == 0
                await stage.check_no_processes()
            assert "CDKGHA JOB DONE ecs,linux 1\n" in life.text
            assert not re.search("^{", life.text, re.MULTILINE), "the log is beside the output"
            assert job.result == "succeeded"
            assert "URI http://127.0.0.1:" in job.log()
            (event,) = life.find_events("launcher.recognised")
            assert (event["contract"], event["supervised"]) == ("cdk", True)
            assert life.find_events("life.ended")[0]["outcome"] == "command-ended"

    run_side_by_side(play())


def test_cdk_s_command_when_the_task_is_stopped(aws):
    """Only the listener gets the signal: its job is cancelled, the last line is written."""

    async def play():
        async with open_stage(aws) as stage:
            step, _ = stage.make_gate()
            job = stage.job(step, labels=["ecs"])
            argv = (*ON_UVLOOP, "--", "sh", "-c", COMMAND)
            async with stage.life(argv, env=supervise(stage)) as life:
                await stage.wait_for_output(job, "at the gate")
                life.signal()
                assert await life.wait_for_end() == 0
                await stage.check_no_processes()
            assert "CDKGHA JOB DONE ecs,linux 1\n" in life.text
            assert job.result == "failed"
            assert life.find_events("command.signalled", listeners=1)

    run_side_by_side(play())


# --- a given command ---------------------------------------------------------------------------


def command(*argv):
    """Return the agent's argv that supervises a command."""
    return (*ON_UVLOOP, "--", *argv)


def test_a_command_s_exit_code_is_its_own(aws):
    """The agent ends as the command does, by itself or by a signal, without any setting."""

    async def play(script, code):
        async with open_stage(aws) as stage:
            env = OURS | {"SIDECAR_RUNNER_DIR": None, "SIDECAR_RUNNER_USER": None}
            async with stage.life(command("sh", "-c", script), env=env) as life:
                assert await life.wait_for_end() == code
                await stage.check_no_processes()
            assert life.text == "said\n"
            assert not stage.world.calls
            assert not stage.ssm.requests

    run_side_by_side(
        play("echo said", 0),
        play("echo said; exit 7", 7),
        play("echo said; kill -9 $$", 137),
        play("echo said; sleep 600 & exit 3", 3),
    )


@pytest.mark.alone
def test_a_command_gets_signals_and_the_stop_budget(aws):
    """A shell's child gets them, too; what ignores them is killed before the budget ends."""

    async def play(script, code):
        async with open_stage(aws) as stage:
            env = OURS | {"SIDECAR_STOP_TIMEOUT": "10", "SIDECAR_RUNNER_USER": None}
            async with stage.life(command("sh", "-c", script), env=env) as life:
                await life.wait_for_text("ready")
                life.signal()
                assert await life.wait_for_end() == code
                await stage.check_no_processes()
            assert life.stop_seconds < 10
            return life

    # Not by a handler: one that prints while "ready" is being printed would fail.
    child = f"{sys.executable} -c 'import signal, sys; "
    child += "signal.pthread_sigmask(signal.SIG_BLOCK, [15]); "
    child += 'print("ready", flush=True); signal.sigwait([15]); '
    child += 'print("heard", flush=True); sys.exit(4)\''

    async def whole():
        life = await play(f"{child}; exit $?", 143)
        assert "heard\n" in life.text
        await play("trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done", 9)
        await play("trap '' TERM INT; echo ready; while :; do sleep 0.05; done", 137)

    run_side_by_side(whole())


def test_a_third_signal_kills_a_command(aws):
    """The first two are passed on; the third kills without waiting for the budget."""

    async def play():
        async with open_stage(aws) as stage:
            env = OURS | {"SIDECAR_STOP_TIMEOUT": "600", "SIDECAR_RUNNER_USER": None}
            script = "trap '' TERM INT; echo ready; while :; do sleep 0.05; done"
            async with stage.life(command("sh", "-c", script), env=env) as life:
                await life.wait_for_text("ready")
                life.signal()
                await life.wait_for_event("command.signalled")
                life.signal()
                await life.wait_for_event("command.signalled", count=2)
                life.signal()
                assert await life.wait_for_end() == 137
                await stage.check_no_processes()

    run_side_by_side(play())


def test_a_stop_before_the_command(aws):
    """It is not started; the exit code is that of a command that the signal ended."""

    async def play():
        async with open_stage(aws) as stage:
            stage.ecs.credentials.name = "hang"
            env = OURS | {"SIDECAR_RUNNER_USER": None}
            async with stage.life(command("echo", "never"), env=env) as life:
                await life.wait_for_event("relay.started")
                life.signal()
                assert await life.wait_for_end() == 143
            assert life.text == ""

    run_side_by_side(play())


def test_a_command_that_cannot_be_started(aws):
    """Exit 15, and the reason names it; a missing command is a mistake of the settings."""

    async def play():
        async with open_stage(aws) as stage:
            env = {"SIDECAR_RUNNER_USER": None}
            async with stage.life(command("/no/such/thing"), env=OURS | env) as life:
                assert await life.wait_for_end() == 15
            assert "/no/such/thing" in life.find_events("life.failed")[0]["reason"]
            async with stage.life(command(), env=OURS | env) as life:
                assert await life.wait_for_end() == 11

    run_side_by_side(play())


# --- settings that contradict ------------------------------------------------------------------

FARGATE = {"RUNNER_TOKEN_PATH": "/t", "ORGANIZATION": "octo", "USE_ORG": "true"}
MYOUNG34 = {"ACCESS_TOKEN": "ghp_local", "REPO_URL": "https://github.com/octo/repo"}
CDK = {"RUNNER_TOKEN": "AAAAAAAAAA", "REGISTRATION_URL": "https://github.com/octo/repo"}


@pytest.mark.parametrize(
    ("env", "named"),
    [
        (FARGATE | MYOUNG34, ["RUNNER_TOKEN_PATH", "ACCESS_TOKEN, REPO_URL"]),
        (CDK | {"REPO_URL": "https://github.com/octo/repo"}, ["REPO_URL", "REGISTRATION_URL"]),
        (MYOUNG34 | {"APP_ID": "1"}, ["APP_ID", "ACCESS_TOKEN"]),
        (FARGATE | {"SIDECAR_TOKEN_PARAMETER": "/u"}, ["RUNNER_TOKEN_PATH", "SIDECAR_TOKEN_PARA"]),
        ({"RUNNER_TOKEN_PATH": "/t", "ORGANIZATION": "octo"}, ["REPO is missing"]),
        (MYOUNG34 | {"REPO_URL": "ftp://x"}, ["REPO_URL must begin with https://"]),
        ({"SIDECAR_LAUNCHER": "cdk"}, ["SIDECAR_LAUNCHER", "RUNNER_TOKEN", "REGISTRATION_URL"]),
    ],
)
def test_settings_that_contradict_are_refused_by_name(aws, env, named):
    """Exit 11, a line for each mistake, and nothing was contacted."""

    async def play():
        async with open_stage(aws) as stage:
            async with stage.life(env=OURS | env) as life:
                assert await life.wait_for_end() == 11
            (line,) = life.errors.splitlines()
            for name in named:
                assert name in line
            assert "ghp_local" not in line
            assert "(example: " in line
            assert not stage.world.calls
            assert not stage.ssm.requests

    run_side_by_side(play())


def test_a_native_setting_wins_over_a_launcher_s(aws):
    """The user may change name, labels and URL; the launcher sets the rest."""

    async def play():
        async with open_stage(aws) as stage:
            env = {
                "ACCESS_TOKEN": "ghp_local",
                "REPO_URL": "https://github.com/other/place",
                "SIDECAR_GITHUB_URL": stage.github_url,
                "SIDECAR_NAME": "mine",
                "SIDECAR_LABELS": "mine",
            }
            runner, labels, *_ = await run_life(
                stage, {"SIDECAR_TOKEN_PARAMETER": None} | env, "myoung34"
            )
            assert runner.name == "mine"
            assert "mine" in labels
            assert "default" not in labels

    run_side_by_side(play())


def test_native_leaves_a_launcher_s_variables_alone(aws):
    """With SIDECAR_LAUNCHER=native they reach the job, as any other variable does."""

    async def play():
        async with open_stage(aws) as stage:
            await stage.put()
            job = stage.job("echo $REPO_URL")
            async with stage.life(env=MYOUNG34 | {"SIDECAR_LAUNCHER": "native"}) as life:
                await stage.check_end(life, 0)
            assert "https://github.com/octo/repo" in job.log()
            assert not life.find_events("launcher.recognised")

    run_side_by_side(play())


def test_a_token_by_itself(aws):
    """SIDECAR_TOKEN holds a registration token or JSON; it is never in the log."""

    async def play(wrapped):
        async with open_stage(aws) as stage:
            token = mint_token_for(stage, "/repos/octo/repo")
            text = json.dumps({"token": token, "url": stage.github_url}) if wrapped else token
            job = stage.job("env | grep -c SIDECAR_TOKEN || true")
            env = {"SIDECAR_TOKEN_PARAMETER": None, "SIDECAR_TOKEN": text}
            if wrapped:
                env["SIDECAR_GITHUB_URL"] = None
            async with stage.life(env=env) as life:
                await stage.check_end(life, 0)
            assert job.result == "succeeded"
            assert not stage.ssm.requests

    run_side_by_side(play(wrapped=False), play(wrapped=True))
