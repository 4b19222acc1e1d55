"""The stop budget against the time that ECS gives a container for its end."""

import pytest

from sidecar.examination.finding import Level
from sidecar.examination.stop import judge_budget


@pytest.mark.parametrize(
    ("budget", "granted", "fargate", "level", "words"),
    [
        (None, None, False, Level.OK, "(ECS's default)"),
        (30.0, 30, True, Level.OK, "stopTimeout 30 s"),
        (120.0, 30, True, Level.FAILED, "ECS kills the agent"),
        (120.0, None, False, Level.FAILED, "stopTimeout 30 s (ECS's default): ECS kills"),
        (None, 120, False, Level.WARNING, "jobs have less time"),
        (300.0, 300, True, Level.FAILED, "Fargate grants 120 s"),
        (300.0, 300, False, Level.OK, "SIDECAR_STOP_TIMEOUT is 300 s"),
    ],
)
def test_a_budget_is_judged_by_what_is_granted(budget, granted, fargate, level, words):
    """What is not set on either side has its default."""
    finding = judge_budget(budget, granted, fargate=fargate)
    assert finding.level is level
    assert words in finding.text
