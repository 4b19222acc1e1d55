"""What is registered: settings and token put together."""

import re
from types import SimpleNamespace

import pytest

from sidecar.aws.task_metadata import TaskFacts
from sidecar.errors import TokenError
from sidecar.lifecycle import registration_request
from sidecar.tokens.value import RegistrationToken
from sidecar.values import NAME_LENGTH, name_prefix

TASK = TaskFacts(arn="arn:aws:ecs:eu-central-1:123456789012:task/cluster/0123456789abcdef0123")


def decide(right, task=TASK, **said):
    """Decide with these settings."""
    given = {
        "github_url": None,
        "token_parameter": "/t",
        "name": None,
        "name_prefix": "ecs-",
        "labels": (),
        "no_default_labels": False,
        "runner_group": None,
        "work_dir": "_work",
    }
    return registration_request.decide(SimpleNamespace(**given | said), right, task)


def test_what_came_with_the_token_wins():
    """It was made for this one task; the settings for all of them."""
    right = RegistrationToken("t", url="https://github.com/mine", name="mine", labels=("a", "both"))
    decided = decide(
        right, github_url="https://github.com/o", name="theirs", labels=("both", "b"), work_dir="/w"
    )
    assert (decided.url, decided.name, decided.token) == ("https://github.com/mine", "mine", "t")
    assert decided.labels == ("both", "b", "a")
    assert decided.work_dir == "/w"


def test_settings_fill_what_the_token_left_open():
    """A bare token is enough."""
    decided = decide(
        RegistrationToken("t"),
        github_url="https://github.com/o",
        name="theirs",
        no_default_labels=True,
        labels=("x",),
        runner_group="g",
    )
    assert (decided.url, decided.name) == ("https://github.com/o", "theirs")
    assert (decided.labels, decided.no_default_labels, decided.group) == (("x",), True, "g")


def test_nobody_said_where():
    """The error names the setting and the parameter, and shows an example."""
    with pytest.raises(TokenError, match="neither SIDECAR_GITHUB_URL nor /t says where"):
        decide(RegistrationToken("t"))


def test_the_runner_bears_its_task_s_id():
    """A person finds the task from the runner, and the runner from the task."""
    name = decide(RegistrationToken("t", url="https://github.com/o")).name
    assert re.fullmatch(r"ecs-0123456789ab-[0-9a-f]{6}", name)


def test_two_runners_of_one_task_share_no_name():
    """A registration whose answer was lost is taken over by its name: it has to be one's own."""
    longest = name_prefix("p" * (NAME_LENGTH - 24))
    names = {registration_request.generated(longest, TASK) for _ in range(20)}
    assert len(names) == 20
    assert all(len(name) <= NAME_LENGTH for name in names)


def test_outside_ecs_the_name_is_random():
    """Two runners never share it, and the longest prefix still fits."""
    longest = name_prefix("p" * (NAME_LENGTH - 24))
    names = {registration_request.generated(longest, TaskFacts()) for _ in range(20)}
    assert len(names) == 20
    assert all(len(name) == len(longest) + 12 <= NAME_LENGTH for name in names)


def test_a_just_in_time_configuration_needs_no_url():
    """It holds all that its listener needs; nobody has to say where it belongs."""
    decided = decide(RegistrationToken(jit={".runner": b"{}"}, name="made-before"))
    assert (decided.url, decided.name, decided.token) == ("", "made-before", None)


def test_what_config_sh_was_to_be_told_wins():
    """Group, work folder and the wish for no default labels come with the arguments."""
    right = RegistrationToken("t", url="https://github.com/o", group="two words", work_dir="w")
    decided = decide(right, runner_group="g")
    assert (decided.group, decided.work_dir, decided.no_default_labels) == ("two words", "w", False)
    assert decide(
        RegistrationToken("t", url="https://github.com/o", no_default_labels=True)
    ).no_default_labels
