"""What can be wrong between a task and GitHub."""

import pytest

from local import faults
from local.faults import Rule
from local.github import apps
from local.github.scope import Scope
from local.stage import PAT as OWN_PAT
from tests.doctor.plays import check, check_first
from tests.doctor.scene import HASTY, open_scene
from tests.lives.stage import run_side_by_side

PAT = "ghp_" + "aB3" * 12
ALONE = {"SIDECAR_TOKEN_PARAMETER": None}
"""Without a token: the agent asks GitHub for one."""


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("github-is-silent", Rule("hang", method="GET")),
        ("github-is-down", Rule("status", method="GET", status=503)),
    ],
)
def test_a_github_that_does_not_answer(aws, name, rule):
    """The line says how it does not."""

    async def play():
        async with open_scene(aws) as scene, faults.serving(scene.github.url) as github:
            github.add(rule)
            env = {"SIDECAR_GITHUB_URL": f"{github.url}/octo/repo"}
            check(
                await scene.examine(env, *((*HASTY, "github") if rule.kind == "hang" else ())), name
            )

    run_side_by_side(play())


def test_no_way_to_github(aws):
    """Nothing lets the task out."""

    async def play():
        async with open_scene(aws) as scene:
            env = {"SIDECAR_GITHUB_URL": "http://127.0.0.1:9/octo/repo"}
            check_first(await scene.examine(env), "no-way-to-github")

    run_side_by_side(play())


def test_nothing_says_where_to_register(aws):
    """It is no failure: the token's parameter may say it, once it is written."""

    async def play():
        async with open_scene(aws) as scene:
            scene.ssm.add(Rule("status", target="GetParameter", error="ParameterNotFound"))
            examined = await scene.examine({"SIDECAR_GITHUB_URL": None})
            check(examined, "no-url")
            assert examined.code == 0

    run_side_by_side(play())


def test_a_token_of_another_repository(aws):
    """GitHub says 404, the line says why."""

    async def play():
        async with open_scene(aws) as scene:
            scope = Scope.of_path("/repos/octo/other")
            await scene.put(scene.world.mint("registration", scope, None).value)
            check_first(await scene.examine(), "token-of-another-repository")

    run_side_by_side(play())


async def put_jit(scene):
    """Do what a launcher does that registers just in time; return the runner."""
    url = f"{scene.github.api}/repos/octo/repo/actions/runners/generate-jitconfig"
    wanted = {"name": "one", "runner_group_id": 1, "labels": ["a"], "work_folder": "_work"}
    headers = {"Authorization": f"Bearer {OWN_PAT}"}
    async with scene.http.post(url, json=wanted, headers=headers) as answer:
        found = await answer.json()
    await scene.put(found["encoded_jit_config"])
    (runner,) = scene.world.runners
    return runner


@pytest.mark.parametrize("gone", [False, True], ids=["known", "gone"])
def test_a_runner_that_is_registered_just_in_time(aws, gone):
    """GitHub is asked with the runner's own key; nothing of it is shown, and it stays."""

    async def play():
        async with open_scene(aws) as scene:
            runner = await put_jit(scene)
            if gone:
                scene.world.runners.remove(runner, "test")
            examined = await scene.examine()
            if gone:
                check_first(examined, "runner-is-gone")
            else:
                assert examined.code == 0, examined.output
                assert "GitHub knows the runner" in examined.find("registration", "ok")[0]
                assert list(scene.world.runners) == [runner]
            assert "a just-in-time configuration" in examined.find("token", "ok")[0]

    run_side_by_side(play())


# --- an access token ------------------------------------------------------------------------------


def add_pat(scene, scope):
    """Make an access token of a repository; return its value."""
    return scene.world.mint("pat", Scope.of_path(scope), 3600).value


@pytest.mark.parametrize(
    ("name", "arrange"),
    [
        ("wrong-pat", lambda _: PAT),
        ("pat-of-another-repository", lambda scene: add_pat(scene, "/repos/octo/other")),
        ("secret-is-missing", lambda _: "ssm:/not/there"),
    ],
)
def test_a_wrong_access_token(aws, name, arrange):
    """The line says what GitHub, or SSM, says to it."""

    async def play():
        async with open_scene(aws) as scene:
            pat = arrange(scene)
            secrets = [] if pat.startswith("ssm:") else [pat]
            examined = await scene.examine({**ALONE, "SIDECAR_GITHUB_PAT": pat}, secrets=secrets)
            (check_first if examined.code else check)(examined, name)

    run_side_by_side(play())


def test_a_good_access_token(aws):
    """It may list the runners; nothing is created with it."""

    async def play():
        async with open_scene(aws) as scene:
            pat = add_pat(scene, "/repos/octo/repo")
            examined = await scene.examine({**ALONE, "SIDECAR_GITHUB_PAT": pat}, secrets=[pat])
            assert examined.code == 0, examined.output
            assert "may list the runners of /repos/octo/repo" in examined.find("credential")[0]
            assert not [call for call in scene.world.log if call.method == "POST"]

    run_side_by_side(play())


# --- an App ---------------------------------------------------------------------------------------


class AnApp:
    """An App of the stand-in, its key and its installation."""

    def __init__(self, scene, account="octo"):
        self.key, *numbers = apps.fresh_key()
        self.app = scene.world.apps.add("runners", *numbers)
        self.installation = scene.world.apps.install(self.app, account)

    @property
    def env(self):
        """The variables of an agent that is this App."""
        return {
            **ALONE,
            "SIDECAR_GITHUB_APP_ID": self.app.client_id,
            "SIDECAR_GITHUB_APP_KEY": self.key.replace("\n", "\\n"),
        }


def use_another_key(scene, app):
    """Give the App the key of another one."""
    app.key = AnApp(scene).key


def limit(_, app):
    """Let the App only read the administration."""
    app.installation.permissions["administration"] = "read"


def suspend(_, app):
    """Suspend the installation."""
    app.installation.suspended_at = 1.0


def close_to_address(scene, _):
    """Let GitHub answer as for an address that is not on the list."""
    message = "the organization has an IP allow list enabled, and your IP address is not permitted"
    fault = {"call": "installation", "status": 403, "body": {"message": message}, "count": -1}
    scene.world.faults.add(fault)


WRONG_APPS = {
    "app-not-installed": lambda _, app: setattr(app.installation, "account", "others"),
    "app-suspended": suspend,
    "app-without-permission": limit,
    "key-of-another-app": use_another_key,
    "address-not-allowed": close_to_address,
}


@pytest.mark.parametrize("name", WRONG_APPS)
def test_a_wrong_app(aws, name):
    """The line says what its owner has to change; its key is never shown."""

    async def play():
        async with open_scene(aws) as scene:
            app = AnApp(scene)
            WRONG_APPS[name](scene, app)
            examined = await scene.examine(app.env, secrets=app.key.splitlines()[1:-1])
            check_first(examined, name)

    run_side_by_side(play())


@pytest.mark.parametrize(
    ("name", "key"),
    [("key-file-is-missing", "file:/nowhere/app.pem"), ("key-is-none", "no key at all")],
)
def test_an_app_without_a_key(aws, name, key):
    """The file is not there, or what is given is no key."""

    async def play():
        async with open_scene(aws) as scene:
            check_first(
                await scene.examine({**AnApp(scene).env, "SIDECAR_GITHUB_APP_KEY": key}), name
            )

    run_side_by_side(play())


def test_a_good_app(aws):
    """Its permission is read from the installation; no token is created."""

    async def play():
        async with open_scene(aws) as scene:
            app = AnApp(scene)
            examined = await scene.examine(app.env, secrets=app.key.splitlines()[1:-1])
            assert examined.code == 0, examined.output
            assert "with administration: write" in examined.find("credential")[0]
            assert not [call for call in scene.world.log if call.method == "POST"]

    run_side_by_side(play())
