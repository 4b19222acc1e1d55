"""What can be wrong between a task and AWS."""

import json
import time

import pytest

from local.faults import Rule
from sidecar.aws import sealing
from tests.doctor.plays import check, check_first
from tests.doctor.scene import HASTY, open_scene
from tests.lives.stage import run_side_by_side

NO_ROLE = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": None}


def refuse(scene, target, error):
    """Let AWS answer a call with an error."""
    scene.ssm.add(Rule("status", target=target, error=error))


def answer(scene, **parameter):
    """Let SSM answer GetParameter so."""
    found = {"Name": scene.parameter, "Type": "SecureString", "Version": 1, "Value": scene.token}
    found |= {"LastModifiedDate": time.time()} | parameter
    body = json.dumps({"Parameter": found})
    scene.ssm.add(Rule("status", target="GetParameter", status=200, body=body))


ARRANGED = {
    "no-token-yet": lambda scene: refuse(scene, "GetParameter", "ParameterNotFound"),
    "token-may-not-be-read": lambda scene: refuse(scene, "GetParameter", "AccessDeniedException"),
    "key-may-not-be-used": lambda scene: refuse(scene, "GetParameter", "KmsAccessDenied"),
    "something-else-than-ssm": lambda scene: scene.ssm.add(Rule("not-json", target="GetParameter")),
    "no-token-in-it": lambda scene: answer(scene, Value="<html>Please log in</html>"),
    "old-token": lambda scene: answer(scene, LastModifiedDate=time.time() - 7200),
    "sealed-without-a-key": lambda scene: answer(
        scene, Value=sealing.seal(scene.token, sealing.make_key(), scene.parameter)
    ),
    "token-may-not-be-deleted": lambda scene: scene.iam.denied.add("ssm:DeleteParameter"),
    "policy-has-a-condition": lambda scene: scene.iam.conditional.add("ssm:DeleteParameter"),
    "policy-may-not-be-asked": lambda scene: setattr(scene.iam, "closed", True),
}


@pytest.mark.parametrize("name", ARRANGED)
def test_a_call_that_is_refused(aws, name):
    """The line says what is refused, and what to change; no other line fails before it."""

    async def play():
        async with open_scene(aws) as scene:
            ARRANGED[name](scene)
            examined = await scene.examine()
            (check_first if examined.code else check)(examined, name)

    run_side_by_side(play())


@pytest.mark.parametrize(
    ("name", "env"),
    [
        ("no-aws-credentials", NO_ROLE),
        ("no-region", {"AWS_REGION": None}),
        ("no-way-to-ssm", {"AWS_ENDPOINT_URL_SSM": "http://127.0.0.1:9"}),
    ],
)
def test_variables_that_do_not_lead_to_aws(aws, name, env):
    """No credentials, no region, no way."""

    async def play():
        async with open_scene(aws) as scene:
            check_first(await scene.examine(env), name)

    run_side_by_side(play())


def test_ssm_that_never_answers(aws):
    """The check ends by itself, and the others are not kept."""

    async def play():
        async with open_scene(aws) as scene:
            scene.ssm.add(Rule("hang", target="GetParameter"))
            examined = await scene.examine(None, *HASTY, "place,token")
            assert examined.find("place", "ok")
            check(examined, "ssm-is-silent")

    run_side_by_side(play())


def test_a_denial_names_the_policy_that_denies(aws):
    """A service control policy is not the role's: whoever reads the line looks at the right one."""

    async def play():
        async with open_scene(aws) as scene:
            message = "with an explicit deny in a service control policy"
            body = json.dumps({"__type": "AccessDeniedException", "message": message})
            scene.ssm.add(Rule("status", target="GetParameter", status=400, body=body))
            (text,) = (await scene.examine()).find("token", "failed")
            assert "access denied by a service control policy" in text

    run_side_by_side(play())


def test_no_setting_needs_aws(aws):
    """With a token in a variable nothing of AWS is missed."""

    async def play():
        async with open_scene(aws) as scene:
            env = {"SIDECAR_TOKEN_PARAMETER": None, "SIDECAR_TOKEN": scene.token, **NO_ROLE}
            examined = await scene.examine(env)
            assert examined.code == 0, examined.output
            assert examined.find("identity", "ok")
            assert "SIDECAR_TOKEN holds a registration token" in examined.find("token", "ok")[0]

    run_side_by_side(play())


def test_a_private_subnet_without_sts(aws):
    """A life does without STS: it is a warning, and the ECS agent names the role."""

    async def play():
        async with open_scene(aws) as scene:
            examined = await scene.examine({"AWS_ENDPOINT_URL_STS": "http://127.0.0.1:9"})
            assert examined.code == 0, examined.output
            assert examined.find("identity", "warning")
            assert any(scene.ecs.task.role in text for text in examined.find("roles", "ok"))

    run_side_by_side(play())
