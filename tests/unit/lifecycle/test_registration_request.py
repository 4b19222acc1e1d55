"""The registration request: the settings, and what came with the token."""

import re
from types import SimpleNamespace

import pytest

from sidecar.aws.instance_facts import InstanceFacts
from sidecar.aws.task_metadata import TaskFacts
from sidecar.errors import TokenError
from sidecar.lifecycle import registration_request
from sidecar.tokens.value import RegistrationToken
from sidecar.values import NAME_LENGTH, check_name_prefix

TASK = TaskFacts(arn="arn:aws:ecs:eu-central-1:123456789012:task/cluster/0123456789abcdef0123")


def make_request(token, task=TASK, **given):
    """Make the request from these settings."""
    defaults = {
        "github_url": None,
        "token_parameter": "/t",
        "name": None,
        "name_prefix": "ecs-",
        "labels": (),
        "no_default_labels": False,
        "disable_update": True,
        "runner_group": None,
        "work_dir": "_work",
    }
    return registration_request.make_request(SimpleNamespace(**defaults | given), token, task)


def test_what_came_with_the_token_wins():
    """It was made for this task; the settings are for all of them."""
    token = RegistrationToken("t", url="https://github.com/mine", name="mine", labels=("a", "both"))
    request = make_request(
        token, github_url="https://github.com/o", name="theirs", labels=("both", "b"), work_dir="/w"
    )
    assert (request.url, request.name, request.token) == ("https://github.com/mine", "mine", "t")
    assert request.labels == ("both", "b", "a")
    assert request.work_dir == "/w"


def test_settings_fill_what_the_token_left_open():
    """A token alone is enough."""
    request = make_request(
        RegistrationToken("t"),
        github_url="https://github.com/o",
        name="theirs",
        no_default_labels=True,
        labels=("x",),
        runner_group="g",
    )
    assert (request.url, request.name) == ("https://github.com/o", "theirs")
    assert (request.labels, request.no_default_labels, request.group) == (("x",), True, "g")


def test_without_a_url_nothing_can_be_registered():
    """The error names the setting and the parameter, and shows an example."""
    with pytest.raises(TokenError, match="neither SIDECAR_GITHUB_URL nor /t says where"):
        make_request(RegistrationToken("t"))


def test_the_runner_s_name_holds_the_task_s_id():
    """A person finds the task from the runner, and the runner from the task."""
    name = make_request(RegistrationToken("t", url="https://github.com/o")).name
    assert re.fullmatch(r"ecs-0123456789ab-[0-9a-f]{6}", name)


def test_a_machine_s_runner_has_its_whole_id():
    """Launchers look for a machine by it; a prefix that is set wins over the machine's own."""
    machine = InstanceFacts("i-0123456789abcdef0")
    for given, prefix in (
        ({"model_fields_set": set()}, "ec2-"),
        ({"name_prefix": "build-", "model_fields_set": {"name_prefix"}}, "build-"),
    ):
        name = make_request(
            RegistrationToken("t", url="https://github.com/o"), machine, **given
        ).name
        assert re.fullmatch(rf"{prefix}i-0123456789abcdef0-[0-9a-f]{{6}}", name)


def test_the_longest_prefix_leaves_the_end_of_a_machine_s_id():
    """GitHub would refuse a longer name."""
    machine = InstanceFacts("i-0123456789abcdef0")
    prefix = check_name_prefix("p" * (NAME_LENGTH - 24))
    name = registration_request.make_name(prefix, machine)
    assert len(name) == NAME_LENGTH
    assert "0123456789abcdef0-" in name


def test_two_runners_of_one_task_have_different_names():
    """After a lost answer a registration is taken over by its name: it must be this life's own."""
    longest = check_name_prefix("p" * (NAME_LENGTH - 24))
    names = {registration_request.make_name(longest, TASK) for _ in range(20)}
    assert len(names) == 20
    assert all(len(name) <= NAME_LENGTH for name in names)


def test_outside_ecs_the_name_is_random():
    """No two runners share it, and the longest prefix still fits."""
    longest = check_name_prefix("p" * (NAME_LENGTH - 24))
    names = {registration_request.make_name(longest, TaskFacts()) for _ in range(20)}
    assert len(names) == 20
    assert all(len(name) == len(longest) + 12 <= NAME_LENGTH for name in names)


def test_a_just_in_time_configuration_needs_no_url():
    """It holds all that the listener needs."""
    request = make_request(RegistrationToken(jit={".runner": b"{}"}, name="made-before"))
    assert (request.url, request.name, request.token) == ("", "made-before", None)


def test_arguments_of_config_sh_win():
    """Group, work folder and no default labels come with them."""
    token = RegistrationToken("t", url="https://github.com/o", group="two words", work_dir="w")
    request = make_request(token, runner_group="g")
    assert (request.group, request.work_dir, request.no_default_labels) == ("two words", "w", False)
    assert make_request(
        RegistrationToken("t", url="https://github.com/o", labels=("a",), no_default_labels=True)
    ).no_default_labels
