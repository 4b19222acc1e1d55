"""A launcher with which all is right, and what the doctor leaves as it was."""

import subprocess

import pytest

from launcher.doctor.all_checks import CHECKS
from local.agent import base_environment
from tests.launcher_doctor.scene import DOCTOR, EXECUTION, open_scene
from tests.lives.stage import run_side_by_side

QUIET = {"group", "machines"}
"""Checks without a line where no pool has such a thing."""


def test_a_launcher_with_which_all_is_right(aws):
    """Every check has its line, none of them is a warning, and the exit code is 0.

    GitHub and AWS were only asked: nothing was made, changed or started there.
    """

    async def play():
        async with open_scene(aws) as scene:
            examined = await scene.examine()
            assert examined.code == 0, examined.output
            assert {line["check"] for line in examined.lines} == CHECKS.keys() - QUIET
            assert not [line for line in examined.lines if line["level"] != "ok"], examined.output
            assert {call.method for call in scene.github.world.log} == {"GET"}
            asked = {name for name, _ in scene.plane.requests}
            assert asked == {"DescribeClusters", "DescribeTaskDefinition"}
            words = {
                "app": "administration: write, actions: read and the event workflow_job",
                "webhook": "the last 1 deliveries of App 1001 were taken",
                "cluster": "the cluster runners is active",
                "rights": "iam:PassRole",
                "image": "is there",
                "stop": "the container's stopTimeout 30 s",
            }
            for check, text in words.items():
                assert any(text in line for line in examined.find(check, "ok")), check
            assert ("iam:PassRole", EXECUTION) in scene.iam.asked

    run_side_by_side(play())


def test_the_text_has_a_line_for_each_finding(aws):
    """Level, check, what is so, and what to change."""

    async def play():
        async with open_scene(aws) as scene:
            scene.change_definition(status="INACTIVE")
            options = ("--only", "cluster,definition")
            examined = await scene.examine(None, *options, json_=False)
            first, second = examined.output.splitlines()
            assert first.startswith("ok      cluster      the cluster runners is active")
            assert second.startswith("failed  definition   pool build: ")
            assert ". Change: register it anew" in second
            assert (examined.code, examined.errors) == (1, "")

    run_side_by_side(play())


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--nonsense",), "--nonsense"),
        (("--seconds", "0"), "--seconds must be"),
        (("--only", "nonsense"), "--only names no check: nonsense"),
    ],
)
def test_a_wrong_option_is_exit_11(options, reason):
    """One line on standard error says which; nothing is asked."""
    done = subprocess.run(
        [*DOCTOR, *options],
        env=base_environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (11, "")
    (line,) = done.stderr.splitlines()
    assert reason in line
