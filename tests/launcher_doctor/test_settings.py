"""What can be wrong with a launcher's settings, and with the way to the servers."""

import asyncio
from email.utils import formatdate
from time import time
from urllib.parse import urlsplit

import pytest

from local import forward_proxy
from local.agent import base_environment
from local.faults import Rule
from tests.doctor.scene import HASTY
from tests.launcher_doctor.plays import check, check_first
from tests.launcher_doctor.scene import DOCTOR, open_scene
from tests.lives.stage import ROOT, run_side_by_side
from tests.support.namespace import in_namespace

NO_CREDENTIALS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
)


@pytest.mark.parametrize(
    ("name", "env"),
    [
        ("nothing-named", {"LAUNCHER_POOLS": None}),
        (
            "no-credential",
            {"LAUNCHER_GITHUB_APP_ID": None, "LAUNCHER_GITHUB_APP_KEY": None},
        ),
        ("no-aws-credentials", dict.fromkeys(NO_CREDENTIALS)),
    ],
)
def test_what_is_not_set(aws, name, env):
    """The line names the setting, or what gives credentials."""

    async def play():
        async with open_scene(aws) as scene:
            check_first(await scene.examine(env), name)

    run_side_by_side(play())


def test_a_clock_that_is_off(aws):
    """All servers say another time: so it is this clock."""

    async def play():
        async with open_scene(aws) as scene:
            date = {"Date": formatdate(time() - 600, usegmt=True)}
            for each in (scene.hub, scene.front):
                each.add(Rule("status", method="GET", status=404, headers=date))
            env = {"AWS_ENDPOINT_URL_ECS": scene.front.url}
            check_first(await scene.examine(env, "--only", "dns,proxy,clock"), "clock-is-off")

    run_side_by_side(play())


def test_a_proxy_that_swallows(aws):
    """The line names the proxy, and never its password."""

    async def play():
        async with open_scene(aws) as scene:
            parts = urlsplit(scene.github.url)
            async with forward_proxy.serving((parts.hostname, parts.port)) as proxy:
                proxy.mode = "swallow"
                env = {
                    "HTTPS_PROXY": proxy.url.replace("//", "//me:proxy-password@"),
                    "LAUNCHER_GITHUB_URL": "https://github.com",
                }
                examined = await scene.examine(env, *HASTY, "proxy")
                check_first(examined, "proxy-swallows")
                assert "proxy-password" not in examined.output

    run_side_by_side(play())


@pytest.mark.root
def test_a_name_service_that_does_not_answer():
    """In a namespace without a way out no name has an address."""

    async def play():
        env = {
            **base_environment(),
            "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
            "LAUNCHER_GITHUB_URL": "https://ghes.example.com",
            "LAUNCHER_GITHUB_PAT": "file:/nowhere",
        }
        process = await asyncio.create_subprocess_exec(
            *DOCTOR, "--only", "dns", env=env, cwd=ROOT, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
        assert process.returncode == 1
        assert b"cannot look up ghes.example.com" in output  # "no-name-service"

    in_namespace(play())


def test_a_warning_is_no_failure(aws):
    """A variable that is misspelt is told, and the exit code stays 0."""

    async def play():
        async with open_scene(aws) as scene:
            env = {"LAUNCHER_POOL": "x", "LAUNCHER_POOLS": None}
            examined = await scene.examine(env)
            check(examined, "nothing-named")
            assert "did you mean LAUNCHER_POOLS?" in examined.find("settings", "warning")[0]

    run_side_by_side(play())
