"""What is asked about is recognised by how it looks."""

import pytest

from launcher.errors import SettingsError
from launcher.explain.target import Kind, Target, parse_target

TASK = "0123456789abcdef" * 2
ARN = f"arn:aws:ecs:eu-central-1:123456789012:task/runners/{TASK}"


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("17", Target(Kind.JOB, "17")),
        (
            "https://github.com/o/r.x/actions/runs/5/job/17?pr=3#step:2:1",
            Target(Kind.JOB, "17", "o/r.x", run="5"),
        ),
        ("https://ghe.example/o/r/actions/runs/5", Target(Kind.RUN, "5", "o/r")),
        ("https://api.github.com/repos/o/r/actions/jobs/17", Target(Kind.JOB, "17", "o/r")),
        ("https://ghe.example/api/v3/repos/o/r/actions/runs/5", Target(Kind.RUN, "5", "o/r")),
        (ARN, Target(Kind.TASK, TASK, cluster="runners")),
        (TASK, Target(Kind.TASK, TASK)),
        (
            f"https://eu-1.console.aws.amazon.com/ecs/v2/clusters/runners/tasks/{TASK}/logs",
            Target(Kind.TASK, TASK, cluster="runners"),
        ),
        ("i-0123456789abcdef0", Target(Kind.MACHINE, "i-0123456789abcdef0")),
        (f"ecs-{TASK}-2", Target(Kind.RUNNER, f"ecs-{TASK}-2", place=TASK)),
        ("my-own-runner", Target(Kind.RUNNER, "my-own-runner")),
    ],
)
def test_each_kind_is_recognised(text, target):
    """Numbers, ids, names, and URLs of GitHub and of AWS's console."""
    assert parse_target(f" {text} ", "ecs-") == target


def test_a_job_s_number_may_come_with_its_repository():
    """A number alone says nothing to GitHub."""
    assert parse_target("17", "ecs-", "o/r").repository == "o/r"


@pytest.mark.parametrize("text", ["", "a b", "https://github.com/o/r/pull/3", "ftp://x"])
def test_what_is_nothing_known_is_refused(text):
    """The line says what may be given."""
    with pytest.raises(SettingsError, match="cannot explain"):
        parse_target(text, "ecs-")
