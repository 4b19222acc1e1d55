"""Pools of machines of EC2: every key, and one line for every mistake."""

import pytest

from launcher.places.boot import AgentSource
from tests.unit.launcher.pools.test_pools import SMALL, parse, problems

MACHINE = """
[[pool]]
name = "machine"
place = "ec2"
labels = ["machine"]
launch_template = "lt-0123456789abcdef0"
"""
WHOLE_MACHINE = """
[[pool]]
name = "whole"
place = "ec2"
os = "windows"
labels = ["machine"]
launch_template = "runner"
launch_template_version = "7"
capacities = ["spot", "on-demand"]
instance_types = ["c7i.large", "u-6tb1.112xlarge"]
subnets = ["subnet-0123456789abcdef0"]
security_groups = ["sg-01234567"]
image = "ami-0123456789abcdef0"
instance_profile = "arn:aws:iam::123456789012:instance-profile/runners/small"
agent_requirements = "https://example.test/requirements.txt"
agent_requirements_sha256 = "{}"
tags = {{ "team:a" = "b c" }}
""".format("0f" * 32)


def test_a_pool_of_machines_needs_a_launch_template_alone():
    """On demand, its default version, the agent of the image; a task's keys are none of it."""
    (pool,) = parse(MACHINE)
    machine = pool.machine
    assert (machine.launch_template, machine.version) == ("lt-0123456789abcdef0", "$Default")
    assert (machine.instance_types, machine.image, machine.instance_profile) == ((), None, None)
    assert machine.agent == AgentSource("image")
    assert pool.capacities == ("on-demand",)
    assert (pool.task_definition, pool.clocks.boot) == ("", 300)
    (tasks,) = parse(SMALL)
    assert tasks.machine is None


def test_every_key_of_a_pool_of_machines_is_read():
    """A document with all of them gives all of them."""
    (pool,) = parse(WHOLE_MACHINE)
    machine = pool.machine
    assert (machine.launch_template, machine.version) == ("runner", "7")
    assert pool.capacities == ("spot", "on-demand")
    assert machine.instance_types == ("c7i.large", "u-6tb1.112xlarge")
    assert pool.network.subnets == ("subnet-0123456789abcdef0",)
    assert pool.network.security_groups == ("sg-01234567",)
    assert machine.image == "ami-0123456789abcdef0"
    assert machine.instance_profile.endswith("/small")
    source = AgentSource("wheel", "https://example.test/requirements.txt", "0f" * 32)
    assert machine.agent == source
    assert (dict(pool.tags), pool.clocks.boot) == ({"team:a": "b c"}, 720)
    assert pool.without_spot().capacities == ("on-demand",)
    (docker,) = parse(f'{MACHINE}agent_image = "1.dkr.ecr.eu-central-1.amazonaws.com/r:1"\n')
    assert docker.machine.agent.kind == "docker"
    (own,) = parse(f'{MACHINE}user_data = "template"\n')
    assert own.machine.agent is None


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ('place = "eks"', "place: must be ecs or ec2"),
        ('task_definition = "r"', "task_definition: is no key here"),
        ("cpu = 1024", "cpu: is no key here"),
        ('capacities = ["FARGATE"]', "must be spot or on-demand"),
        ('launch_template_version = "$Newest"', "must be a number, $Default or $Latest"),
        ('instance_types = ["large"]', "must be an instance type"),
        ('image = "ubuntu"', "must be the id of an image"),
        ('instance_profile = "a b"', "must be the name or ARN of an instance profile"),
        ('agent_image = "Runner; reboot"', "agent_image: must be the name of an image"),
        ('agent_requirements = "http://x.test/r"', "must be an address with https:// or s3://"),
        (
            'agent_requirements = "https://x.test/r"',
            "agent_requirements_sha256: is required where agent_requirements is set",
        ),
        (
            f'agent_requirements_sha256 = "{"0f" * 32}"',
            "agent_requirements: is required where agent_requirements_sha256 is set",
        ),
        ('agent_requirements_sha256 = "0F"', "must be a SHA-256 sum"),
        (
            'user_data = "template"\nagent_image = "r"',
            "agent_image: must be left out where user_data is template",
        ),
        (
            'user_data = "template"\nsecurity_groups = ["sg-01234567"]',
            "security_groups: must be the launch template's",
        ),
        ('tags = { "cost center" = "1" }', "'cost center' must be letters, digits and"),
    ],
)
def test_a_wrong_key_of_a_pool_of_machines_is_named(keys, words):
    """One line each; what a task has, a machine has not."""
    text = MACHINE if "place" not in keys else MACHINE.replace('place = "ec2"\n', "")
    (line,) = [line for line in problems(f"{text}{keys}\n") if words in line]
    assert line.startswith("pool 'machine': ")


def test_a_launch_template_is_required():
    """And one of a wrong name is named."""
    (line,) = problems(MACHINE.replace("launch_template", "#"))
    assert line == "pool 'machine': launch_template: is required"
    (line,) = problems(MACHINE.replace("lt-0123456789abcdef0", "a b"))
    assert "must be the id or the name of a launch template" in line


def test_windows_takes_its_list_by_https():
    """It has no command for S3."""
    text = WHOLE_MACHINE.replace("https://", "s3://")
    (line,) = problems(text)
    assert "must be an address with https:// on Windows" in line
