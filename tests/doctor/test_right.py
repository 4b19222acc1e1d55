"""A set-up in which all is right, and what the doctor leaves as it was."""

import os
import subprocess

import pytest

from local.agent import base_environment
from sidecar.doctor.all_checks import CHECKS
from tests.doctor.scene import DOCTOR, open_scene
from tests.lives.stage import IS_ROOT, run_side_by_side


def look(folder):
    """Return all that can be seen of a folder: names, modes, times, owners."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        found[path] = (status.st_mode, status.st_uid, status.st_mtime_ns, status.st_size)
    return found


def test_a_task_in_which_all_is_right(aws):
    """Every check has its line, none of them is a warning, and the exit code is 0.

    Nothing was changed: the token is where it was, GitHub and AWS were only asked, and no file of
    the runner's is another one.
    """

    async def play():
        async with open_scene(aws) as scene:
            before = look(scene.runner_folder)
            examined = await scene.examine()
            assert examined.code == 0, examined.output
            assert {line["check"] for line in examined.lines} >= CHECKS.keys() - {
                "container",  # there is no docker here
                "credential",  # the token alone registers
                "job role",
            }
            wrong = [line for line in examined.lines if line["level"] != "ok"]
            assert not [line for line in wrong if IS_ROOT or line["check"] != "users"], wrong
            assert look(scene.runner_folder) == before
            assert await scene.read_parameter() == scene.token
            assert {seen.target for seen in scene.ssm.seen()} <= {
                None,  # what everybody may ask, for the server's time
                "GetCallerIdentity",
                "GetParameter",
            }
            assert {name for name, _ in scene.plane.requests} == {"DescribeTaskDefinition"}
            assert not list(scene.world.runners)
            methods = {(call.method, call.path.partition("?")[0]) for call in scene.world.log}
            assert {path for method, path in methods if method != "GET"} == {
                "/api/v3/actions/runner-registration"  # the token is exchanged, nothing registered
            }

    run_side_by_side(play())


def test_what_is_right_is_told(aws):
    """The lines name the identity, the task, the token's age, the runner's version, the role."""

    async def play():
        async with open_scene(aws) as scene:
            examined = await scene.examine()
            for check, words in {
                "place": scene.ecs.task.arn,
                "identity": scene.ecs.task.identity,
                "token": f"{scene.parameter} holds a registration token",
                "policy": "allow ecs:UpdateTaskProtection, ssm:DeleteParameter, ssm:GetParameter",
                "github": scene.github.api,
                "registration": "GitHub takes the token",
                "runner": "actions/runner 2.338.0",
                "relay": "local",
                "roles": f"the ECS agent: {scene.ecs.task.identity}",
                "stop": "the container's stopTimeout 30 s",
                "clock": "right",
            }.items():
                assert any(words in text for text in examined.find(check)), (check, words)
            arn = f"arn:aws:ssm:eu-central-1:123456789012:parameter{scene.parameter}"
            assert ("ssm:DeleteParameter", arn) in scene.iam.asked

    run_side_by_side(play())


def test_the_text_has_a_line_for_each_finding(aws):
    """Level, check, what is so; the same lines as the JSON."""

    async def play():
        async with open_scene(aws) as scene:
            examined = await scene.examine({"SIDECAR_RUNNER_DIR": "/nowhere"}, argv=DOCTOR)
            assert examined.code == 1
            first, *others = examined.output.splitlines()
            assert first.startswith("failed  settings     SIDECAR_RUNNER_DIR holds no ")
            assert ". Change: " in first
            assert {line.split()[0] for line in others} <= {"ok", "warning", "failed", "unknown"}
            assert examined.errors == ""

    run_side_by_side(play())


def test_some_checks_alone(aws):
    """Those that are named, and nothing else is asked."""

    async def play():
        async with open_scene(aws) as scene:
            examined = await scene.examine(None, "--only", "settings,runner")
            assert [line["check"] for line in examined.lines] == ["settings", "runner"]
            assert scene.ssm.requests == []

    run_side_by_side(play())


@pytest.mark.parametrize(
    "env",
    [
        {},
        {
            "SIDECAR_TOKEN_PARAMETER": "/runners/{task}",
            "SIDECAR_GITHUB_URL": "http://127.0.0.1:9/o/r",
        },
    ],
    ids=["nothing", "some"],
)
def test_on_a_laptop(env):
    """Outside AWS, with few settings or none: every line is there, and none is a traceback."""
    done = subprocess.run(
        [*DOCTOR, "--seconds", "60"],
        env={**base_environment(), **env, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert (done.returncode, done.stderr) == (1, "")
    checks = {line.split()[1] for line in done.stdout.splitlines()}
    assert {"settings", "place", "github", "hosts", "runner", "users", "docker"} <= checks
    assert "neither a task of ECS nor a machine of EC2" in done.stdout
    if env:
        assert "which is not known here" in done.stdout


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--nonsense",), "--nonsense"),
        (("--seconds", "0"), "--seconds must be"),
        (("--only", "nonsense"), "--only names no check: nonsense"),
        (("--github-pat=ghp_secret0",), "SIDECAR_GITHUB_PAT is a variable only"),
    ],
)
def test_a_wrong_option_is_exit_11(options, reason):
    """One line on standard error says which; nothing is asked."""
    done = subprocess.run(
        [*DOCTOR, *options],
        env={"PATH": os.defpath, "AWS_EC2_METADATA_DISABLED": "true"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (11, "")
    (line,) = done.stderr.splitlines()
    assert reason in line
