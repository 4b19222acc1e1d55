"""Pools in TOML: read whole, checked whole, one line for every mistake."""

import random
from datetime import UTC, datetime

import pytest

from launcher.pools.document import ADVANCED_PARAMETER, STANDARD_PARAMETER, Problems, parse_pools
from launcher.pools.labels import Pattern
from launcher.pools.pool import Pools

SMALL = """
[[pool]]
name = "small"
labels = ["Small", "docker"]
task_definition = "gh-runner:7"
"""
WHOLE = """
[[pool]]
name = "whole"
os = "Linux"
architecture = "ARM64"
labels = ["big"]
patterns = ["run-*"]
exact = true
cluster = "arn:aws:ecs:eu-central-1:123456789012:cluster/runners"
task_definition = "arn:aws:ecs:eu-central-1:123456789012:task-definition/gh-runner:7"
container = "gh"
capacities = ["FARGATE_SPOT", "FARGATE"]
cpu = 1024
memory = 2048
ephemeral_storage = 40
subnets = ["subnet-0123456789abcdef0", "subnet-01234567"]
security_groups = ["sg-01234567"]
public_ip = true
boot_limit = "4m"
provisioning_limit = 400
idle_limit = "90s"
life_limit = "2h"
maximum = 20
min = 1
runner_group = "Production"
token = "registration"
tags = { team = "a", "cost center" = "12" }

[pool.access]
repositories = ["acme/*"]
owners = ["octo"]
events = ["push"]
forks = true
refs = ["refs/heads/main"]

[[pool.schedules]]
min = 4
days = "mon-fri"
from = 08:00:00
to = "18:00"
time_zone = "Europe/Berlin"
"""


def parse(text, **more):
    """Parse a document that must be good."""
    found = parse_pools(text, **more)
    assert isinstance(found, Pools), found
    return found


def problems(text, **more):
    """Parse a document that must be bad; return its lines."""
    found = parse_pools(text, **more)
    assert isinstance(found, Problems)
    return list(found.lines)


def change(**keys):
    """Return the small pool with other keys, in TOML."""
    return SMALL + "".join(f"{key} = {value}\n" for key, value in keys.items())


def test_a_pool_of_three_keys_has_safe_defaults():
    """Nobody's fork, ten at most, no warm runner, the task definition's own size."""
    (pool,) = parse(SMALL)
    assert pool.offer.labels == {"small", "docker"}
    assert (pool.offer.system, pool.offer.architecture) == ("linux", "x64")
    assert (pool.cluster, pool.container, pool.task_definition) == (
        "default",
        "runner",
        "gh-runner:7",
    )
    assert (pool.launch_type, pool.capacities, pool.cpu) == (None, (), None)
    assert (pool.maximum, pool.minimum, pool.token) == (10, 0, "just-in-time")
    assert pool.access.forks is False
    assert (pool.clocks.boot, pool.clocks.idle, pool.clocks.life) == (300, 300, 43_200)


def test_every_key_is_read():
    """A document with all of them gives all of them."""
    (pool,) = parse(WHOLE)
    assert (pool.offer.system, pool.offer.architecture, pool.offer.exact) == (
        "linux",
        "arm64",
        True,
    )
    assert pool.offer.patterns == (Pattern("run-", ""),)
    assert pool.capacities == ("FARGATE_SPOT", "FARGATE")
    assert (pool.cpu, pool.memory, pool.ephemeral_storage) == (1024, 2048, 40)
    assert pool.network.subnets == ("subnet-0123456789abcdef0", "subnet-01234567")
    assert (pool.network.security_groups, pool.network.public_ip) == (("sg-01234567",), True)
    clocks = pool.clocks
    assert (clocks.boot, clocks.provisioning, clocks.idle, clocks.life) == (240, 400, 90, 7200)
    assert (pool.maximum, pool.minimum, len(pool.schedules)) == (20, 1, 1)
    assert (pool.runner_group, pool.token) == ("Production", "registration")
    assert dict(pool.tags) == {"team": "a", "cost center": "12"}
    assert pool.access.refs == ("refs/heads/main",)
    assert pool.minimum_at(datetime(2026, 11, 26, 7, 30, tzinfo=UTC)) == 4  # a Thursday
    assert pool.minimum_at(datetime(2026, 11, 26, 20, 0, tzinfo=UTC)) == 1


def test_windows_boots_longer():
    """Its image alone takes minutes."""
    (pool,) = parse(change(os='"windows"'))
    assert pool.clocks.boot == 720


def test_a_template_becomes_a_pool_for_each_size():
    """A size's own keys win, and its name goes wherever {size} stands."""
    pools = parse("""
[[template]]
name = "linux-{size}"
labels = ["{size}", "linux-any"]
task_definition = "runner-{size}"
launch_type = "FARGATE"
subnets = ["subnet-01234567"]
tags = { size = "{size}" }
[template.sizes]
small = { cpu = 256, memory = 512 }
large = { cpu = 4096, memory = 8192, maximum = 2 }
""")
    assert list(pools.by_name) == ["linux-small", "linux-large"]
    large = pools.by_name["linux-large"]
    assert large.offer.labels == {"large", "linux-any"}
    assert (large.cpu, large.maximum, large.task_definition) == (4096, 2, "runner-large")
    assert dict(large.tags) == {"size": "large"}
    assert [pool.name for pool, _ in pools.rank(["large"])] == ["linux-large"]


def test_a_mistake_of_a_template_is_told_once():
    """Not once for each size; a size's own mistake names the size."""
    text = """
[[template]]
name = "linux-{size}"
labels = ["{size}"]
task_definition = "r"
bootlimit = 3
[template.sizes]
a = { maximum = 0 }
b = { exact = 0 }
c = { }
"""
    assert problems(text) == [
        "template 'linux-{size}', size 'a': maximum: must be a whole number from 1 to 10000, not 0",
        "template 'linux-{size}': bootlimit: is no key here; did you mean boot_limit?",
        "template 'linux-{size}', size 'b': exact: must be true or false, not 0",
    ]


def test_all_mistakes_are_told_at_once():
    """One line for each, which names the pool and the key."""
    text = """
[[pool]]
name = "Bad Name"
labels = "gpu"
maximum = true
min = -1

[[pool]]
name = "other"
labels = ["linux"]
task_definition = "r"
idle = "5m"
tags = { "aws:x" = "y" }
[pool.access]
owner = ["a"]
repositories = ["acme"]
[[pool.schedules]]
days = "mon-fry"
from = "25:00"
time_zone = "Mars/Base"

[[pools]]
"""
    lines = problems(text)
    assert [line.split(": must")[0].split(" must")[0].split(": is")[0] for line in lines] == [
        "pools",
        "pool 'Bad Name': name",
        "pool 'Bad Name': labels",
        "pool 'Bad Name': maximum",
        "pool 'Bad Name': min",
        "pool 'Bad Name': task_definition",
        "pool 'other': labels: 'linux' is the system's own label; set os and architecture instead",
        "pool 'other': schedules[1]: min",
        "pool 'other': schedules[1]: days",
        "pool 'other': schedules[1]: from",
        "pool 'other': schedules[1]: time_zone",
        "pool 'other': access: repositories: 'acme'",
        "pool 'other': access: owner",
        "pool 'other': tags: 'aws:x'",
        "pool 'other': idle",
    ]


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ({"launch_type": '"EC2"', "capacities": '["x"]'}, "capacities: must be left out where"),
        ({"launch_type": '"FARGATE"'}, "subnets: is required on Fargate"),
        ({"capacities": '["aws-own"]'}, "capacities: 'aws-own' must be FARGATE, FARGATE_SPOT or"),
        ({"security_groups": '["sg-01234567"]'}, "security_groups: needs subnets"),
        ({"maximum": "3", "min": "4"}, "min: keeps 4 runners warm, and maximum is 3"),
        ({"life_limit": '"10m"'}, "life_limit: must be more than 600 s"),
        ({"boot_limit": '"5 years"'}, "boot_limit: must be a time such as 90s, 5m or 12h"),
        ({"token": '"registration"', "labels": '["a,b"]'}, "labels: must have no ','"),
        ({"patterns": '["smal*"]'}, "patterns: 'smal*' matches 'small', a label of small"),
        ({"patterns": '["*"]'}, "patterns: '*' must have 3 characters or more"),
        ({"labels": '["a*"]'}, "labels: 'a*' has a '*'; put it into patterns"),
        ({"labels": '["-a"]'}, "labels: '-a' must be printable, without spaces"),
        ({"tags": '{ a = "é<" }'}, "tags: 'a' must have 256 characters at most"),
        ({"tags": "{ a = 1 }"}, "tags: must be a table of text"),
        ({"access": "3"}, "access: must be a table, not 3"),
        ({"schedules": "[1]"}, "schedules: must be tables"),
        ({"exact": '"yes"'}, "exact: must be true or false, not 'yes'"),
        ({"os": '"macos"'}, "os: must be linux or windows, not 'macos'"),
    ],
)
def test_each_mistake_has_its_line(keys, line):
    """It says what must be, and what was found."""
    text = "".join(
        row
        for row in SMALL.splitlines(keepends=True)
        if row.split(" ")[0] not in keys  # TOML takes no key twice
    ) + "".join(f"{key} = {value}\n" for key, value in keys.items())
    (found,) = problems(text)
    assert found.startswith(f"pool 'small': {line}")


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ({"cpu": 1024}, "memory: is required where cpu is set"),
        ({"memory": 1024}, "cpu: is required where memory is set"),
        ({"cpu": 1000, "memory": 2048}, "cpu: must be one of 256, 512"),
        ({"cpu": 256, "memory": 4096}, "memory: must be 512 to 2048 where cpu is 256"),
        ({"cpu": 8192, "memory": 17408}, "memory: must be 16384 to 61440 in steps of 4096"),
        ({"os": '"windows"', "cpu": 512, "memory": 1024}, "cpu: must be one of 1024, 2048, 4096"),
        ({"os": '"windows"', "architecture": '"arm64"'}, "architecture: must be x64"),
        ({"os": '"windows"', "ephemeral_storage": 30}, "ephemeral_storage: must be left out"),
    ],
)
def test_what_fargate_refuses_is_refused_here(more, line):
    """RunTask would refuse it too, but only when a job waits for it."""
    text = change(launch_type='"FARGATE"', subnets='["subnet-01234567"]', **more)
    (found,) = problems(text)
    assert found.startswith(f"pool 'small': {line}")
    if "os" not in more:  # elsewhere it is the task definition's and the machine's matter
        parse(change(**more))


def test_a_name_is_used_once():
    """Two pools of one name would share a counter."""
    assert problems(SMALL + SMALL) == ["pool 'small': name: is used twice: small"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "the document has neither [[pool]] nor [[template]]"),
        ("pool = 3", "pool: must be tables: write [[pool]]"),
        ("[pool]\nname = 'x'", "pool: must be tables: write [[pool]]"),
        ("[[pool]", "the pools are not TOML: "),
        ("x = " + "[" * 100_000, "the pools are not TOML: "),
        ("\ud800", "the pools are not TOML: "),
    ],
)
def test_what_is_no_document_says_so(text, line):
    """Each in one line, and nothing is raised."""
    (found,) = problems(text)
    assert found.startswith(line)


def test_a_template_without_sizes_or_size_is_refused():
    """Else it would be one pool with braces in its name, or several of one name."""
    assert problems("[[template]]\nname = 'a-{size}'")[0].startswith("template 'a-{size}': sizes:")
    sizes = "[template.sizes]\nx = { cpu = 256 }\ny = 3"
    assert problems(f"[[template]]\nname = 'a'\n{sizes}")[0].startswith("template 'a': name:")
    text = f"[[template]]\nname = 'a-{{size}}'\nlabels=[]\ntask_definition='r'\n{sizes}"
    assert problems(text) == ["template 'a-{size}': sizes: y must be a table: { cpu = 1024, ... }"]


@pytest.mark.parametrize("room", [STANDARD_PARAMETER, ADVANCED_PARAMETER])
def test_a_document_must_fit_where_it_is_kept(room):
    """SSM counts bytes; the line says the size and what holds more."""
    parse(SMALL + "#" * (room - len(SMALL)), room=room)
    (found,) = problems(SMALL + "#" * (room - len(SMALL) - 1) + "ü", room=room)
    assert found.startswith(f"the pools have {room + 1} bytes, and {room} is the limit: ")


def test_two_hundred_pools_are_the_limit():
    """A document that was made by a mistaken program must not fill the memory."""
    sizes = "\n".join(f"s{number} = {{ }}" for number in range(201))
    text = "[[template]]\nname='{size}'\nlabels=[]\ntask_definition='r'\n[template.sizes]\n"
    assert problems(text + sizes) == ["the document has 201 pools, and 200 is the limit"]


def test_no_damage_to_a_document_raises():
    """2,000 seeded mutations of a good document: pools or problems, nothing else."""
    chance = random.Random(13)  # noqa: S311  seeded, not secret
    found = {Pools: 0, Problems: 0}
    for _ in range(2000):
        text = list(WHOLE)
        for _ in range(chance.randrange(1, 4)):
            place = chance.randrange(len(text))
            text[place : place + chance.randrange(3)] = chance.choice(
                ["", '"', "[", "]", "=", "9", "\n", "x", "{", "\x00", "-", "true", "é"]
            )
        result = parse_pools("".join(text))
        found[type(result)] += 1
        if isinstance(result, Problems):
            assert all(line and "\n" not in line for line in result.lines)
    assert all(found.values())
