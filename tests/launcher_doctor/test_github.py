"""What can be wrong between a launcher and GitHub."""

import asyncio

import pytest

from local import aws as local_aws
from local.faults import Rule
from local.github.apps import fresh_key
from local.github.runners import Runner
from local.github.scope import Scope
from tests.launcher_doctor.plays import check_first
from tests.launcher_doctor.scene import open_scene
from tests.lives.stage import run_side_by_side


def limit_app(scene):
    """Let the App only read the administration, in its settings and where it is installed."""
    scene.app.permissions["administration"] = "read"
    scene.installation.permissions["administration"] = "read"


def forget_event(scene):
    """Unsubscribe from the jobs."""
    scene.app.events.clear()


def suspend(scene):
    """Let an owner suspend the installation."""
    scene.installation.suspended_at = 1.0


def forget_permission(scene):
    """Let an owner not accept what the App asks for."""
    del scene.installation.permissions["administration"]


def uninstall(scene):
    """Remove the App from every account."""
    scene.app.installations.clear()


def use_another_key(scene):
    """Give the launcher the key of another App."""
    scene.key = fresh_key()[0]


def remove_secret(scene):
    """Take the webhook's secret away."""
    scene.hook.secret = ""


WRONG_APPS = {
    "wrong-app-key": use_another_key,
    "app-without-permission": limit_app,
    "app-without-event": forget_event,
    "installation-suspended": suspend,
    "permissions-not-accepted": forget_permission,
    "not-installed": uninstall,
    "webhook-without-secret": remove_secret,
}


@pytest.mark.parametrize("name", WRONG_APPS)
def test_a_wrong_app(aws, name):
    """The first line that fails says what its owner has to change; its key is never shown."""

    async def play():
        async with open_scene(aws) as scene:
            WRONG_APPS[name](scene)
            check_first(await scene.examine(), name)

    run_side_by_side(play())


async def deliver(scene, status):
    """Have GitHub send again what it has sent, to a webhook that answers so."""
    scene.status = status
    hooks = scene.github.world.hooks
    hooks.redeliver(hooks.deliveries[0])
    await scene.wait_for_deliveries()


@pytest.mark.parametrize(
    ("name", "answers"),
    [
        ("wrong-webhook-secret", [401]),
        ("nobody-at-the-payload-url", [502]),
        ("some-deliveries-failed", [503, 202]),
    ],
)
def test_deliveries_that_were_not_taken(aws, name, answers):
    """The line says what the answer of whoever took the last one means."""

    async def play():
        async with open_scene(aws) as scene:
            for status in answers:
                await deliver(scene, status)
            check_first(await scene.examine(), name)

    run_side_by_side(play())


def test_a_key_that_kms_does_not_decrypt(aws):
    """The App's key is in SSM, and its KMS key is forbidden to the launcher."""

    async def play():
        async with open_scene(aws) as scene:
            await asyncio.to_thread(local_aws.put, aws, "/launcher/key", scene.key)
            scene.front.add(Rule("status", target="GetParameter", error="KmsAccessDenied"))
            env = {"LAUNCHER_GITHUB_APP_KEY": "ssm:/launcher/key"}
            check_first(await scene.examine(env), "key-forbidden")

    run_side_by_side(play())


def test_a_group_that_the_repository_may_not_use(aws):
    """The group is there, and GitHub gives its runners no job of this repository."""

    async def play():
        async with open_scene(aws) as scene:
            settings = scene.github.world.settings
            settings.runner_groups.append("linux")
            settings.group_repositories["linux"] = ["other"]
            scene.pool["runner_group"] = '"linux"'
            env = {"LAUNCHER_SCOPE": "organization"}
            check_first(await scene.examine(env), "group-not-visible")
            settings.group_repositories["linux"] = ["repo"]
            assert "may use" in (await scene.examine(env)).find("group", "ok")[0]

    run_side_by_side(play())


def test_a_group_that_is_not_there(aws):
    """Nobody has made it, or its name is misspelt."""

    async def play():
        async with open_scene(aws) as scene:
            scene.pool["runner_group"] = '"linux"'
            check_first(await scene.examine({"LAUNCHER_SCOPE": "organization"}), "no-such-group")

    run_side_by_side(play())


def test_a_name_that_is_taken(aws):
    """The task definition names all of its runners alike, and one of them is there."""

    async def play():
        async with open_scene(aws) as scene:
            scene.pool["token"] = '"registration"'
            scene.change_definition(environment={"SIDECAR_NAME": "one"})
            scope = Scope("repos", "octo", "repo")
            held = Runner(0, "one", scope, [], ephemeral=True, visible_at=0.0, modulus=1)
            scene.github.world.runners.add(held)
            check_first(await scene.examine(), "name-taken")

    run_side_by_side(play())
