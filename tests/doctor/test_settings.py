"""Wrong settings, and wrong places."""

import pytest

from tests.doctor.plays import check
from tests.doctor.scene import open_scene
from tests.lives.stage import run_side_by_side

TOKEN = "A" + "BCDEFGH" * 4
WRONG = {
    "nothing-is-set": {"SIDECAR_TOKEN_PARAMETER": None},
    "unknown-setting": {"SIDECAR_LABEL": "large"},
    "token-in-place-of-a-name": {"SIDECAR_TOKEN_PARAMETER": TOKEN},
    "two-launchers": {
        "SIDECAR_TOKEN_PARAMETER": None,
        "RUNNER_NAME": "one",
        "REPO_URL": "https://github.com/octo/repo",
        "RUNNER_TOKEN": TOKEN,
        "SIDECAR_LAUNCH_CONFIG": "/pool/config",
    },
    "no-task-metadata": {"ECS_CONTAINER_METADATA_URI_V4": "http://127.0.0.1:9/v4/none"},
    "no-such-user": {"SIDECAR_RUNNER_USER": "nobody-has-this-name"},
    "no-runner": {"SIDECAR_RUNNER_DIR": "/usr"},
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_setting(aws, name):
    """Its line names the variable and an example; what else can be looked at is looked at."""

    async def play():
        async with open_scene(aws) as scene:
            secrets = [TOKEN] if TOKEN in WRONG[name].values() else []
            examined = await scene.examine(WRONG[name], secrets=secrets)
            check(examined, name)
            assert examined.find("github")
            assert examined.find("runner")

    run_side_by_side(play())
