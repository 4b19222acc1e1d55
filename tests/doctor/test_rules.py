"""What can be wrong with the rules for roles, and what the agent's own role must be allowed."""

import pytest

from local import aws as local_aws
from tests.doctor import engine
from tests.doctor.plays import check, check_first
from tests.doctor.scene import open_scene
from tests.lives.stage import run_side_by_side

NO_ROLE = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": None}
SHOP = f"arn:aws:iam::{local_aws.ACCOUNT}:role/shop"
DATABASE = f"arn:aws:iam::{local_aws.ACCOUNT}:role/shop-db"
FAR = "arn:aws:iam::444455556666:role/site"
BY_RUNNER = f"""
[[job]]
name = "shop"
repository = "octo/shop"
role = "{SHOP}"
source_identity = "actor"
container_roles = ["{DATABASE}"]
[[job]]
repository = "octo/site"
role = "{FAR}"
[[container]]
service = "db"
role = "{DATABASE}"
"""
BY_TOKEN = f'[[job]]\nname = "shop"\nproof = "oidc"\nrole = "{SHOP}"'
MISTAKEN = '[[job]]\nname = "shop"\nrole = "shop"'


def give(rules):
    """Return the variables with these rules."""
    return {"SIDECAR_ROLES": rules}


async def put(scene, *texts):
    """Put the rules into parameters; return the variables that name them."""
    names = [f"{scene.parameter}-rules-{number}" for number in range(len(texts))]
    for name, text in zip(names, texts, strict=True):
        await scene.call_ssm("PutParameter", Name=name, Value=text, Type="String")
    return give(f"ssm:{'+'.join(names)}"), names


def asked_of_roles(scene):
    """Return which calls of STS the doctor has asked IAM about."""
    return sorted(one for one in scene.iam.asked if one[0].startswith("sts:"))


def test_rules_that_fit(aws):
    """Nothing fails; every role of a rule is asked about, with its tags, and none is assumed."""

    async def play():
        async with open_scene(aws) as scene:
            examined = await scene.examine(give(BY_RUNNER))
            assert examined.code == 0, examined.output
            count, named = examined.find("job role", "ok")
            assert "2 rules for jobs, 1 for containers" in count
            assert f"the task role assumes {SHOP}, {DATABASE}, {FAR} (sts:AssumeRole" in named
            usual = ("sts:AssumeRole", "sts:TagSession")
            wanted = [(action, role) for action in usual for role in (SHOP, DATABASE, FAR)]
            wanted += [("sts:SetSourceIdentity", role) for role in (SHOP, DATABASE)]
            assert asked_of_roles(scene) == sorted(wanted)
            assert scene.ssm.seen(target="AssumeRole") == []

    run_side_by_side(play())


def test_github_s_token_needs_no_right(aws):
    """The task role may be allowed nothing; it need not even be there."""

    async def play():
        async with open_scene(aws) as scene:
            env = give(BY_TOKEN) | {"SIDECAR_TOKEN_PARAMETER": None, "SIDECAR_TOKEN": scene.token}
            examined = await scene.examine(env)
            assert examined.code == 0, examined.output
            assert "the task role needs no right" in examined.find("job role", "ok")[1]
            assert asked_of_roles(scene) == []
            examined = await scene.examine(env | NO_ROLE)
            assert examined.code == 0, examined.output
            assert examined.find("identity", "ok")

    run_side_by_side(play())


def test_rules_in_parameters(aws):
    """They are read and put together; the right to read each is asked about."""

    async def play():
        async with open_scene(aws) as scene:
            env, names = await put(scene, BY_RUNNER, "[[job]]\nrole = 'none'")
            examined = await scene.examine(env)
            assert examined.code == 0, examined.output
            assert "3 rules for jobs" in examined.find("job role", "ok")[0]
            for name in names:
                arn = f"arn:aws:ssm:eu-central-1:{local_aws.ACCOUNT}:parameter{name}"
                assert ("ssm:GetParameter", arn) in scene.iam.asked

    run_side_by_side(play())


def test_rules_with_a_mistake(aws):
    """The line names table and key, wherever the rules are."""

    async def play():
        async with open_scene(aws) as scene:
            check_first(await scene.examine(give(MISTAKEN)), "rules-with-a-mistake")
            env, _ = await put(scene, MISTAKEN)
            check_first(await scene.examine(env), "rules-in-ssm-with-a-mistake")

    run_side_by_side(play())


def test_no_rules_in_the_parameter(aws):
    """A life would end: the line names the parameter."""

    async def play():
        async with open_scene(aws) as scene:
            examined = await scene.examine(give("ssm:/not/there"))
            check_first(examined, "no-rules-in-ssm")
            assert "/not/there: there is no such parameter" in examined.find("job role")[0]

    run_side_by_side(play())


@pytest.mark.parametrize(
    ("name", "role"), [("rule-s-role-may-not-be-assumed", FAR), ("rule-s-role-needs-trust", SHOP)]
)
def test_a_role_that_may_not_be_assumed(aws, name, role):
    """In one account its trust policy may be enough; in another one both policies are needed."""

    async def play():
        async with open_scene(aws) as scene:
            scene.iam.denied_on.add(("sts:TagSession", role))
            examined = await scene.examine(give(BY_RUNNER))
            (check_first if examined.code else check)(examined, name)
            assert examined.code == (1 if role == FAR else 0)

    run_side_by_side(play())


def test_policies_that_may_not_be_asked(aws):
    """The line names each call that nobody tried, with its role."""

    async def play():
        async with open_scene(aws) as scene:
            scene.iam.closed = True
            examined = await scene.examine(give(BY_RUNNER))
            assert examined.code == 0, examined.output
            (text,) = examined.find("policy", "unknown")
            assert f"sts:AssumeRole on {FAR}, sts:TagSession on {FAR}" in text

    run_side_by_side(play())


def test_jobs_with_docker_beside_the_task_role_s_word(aws):
    """Whoever has docker may have the task role: GitHub's token is the better proof."""

    async def play():
        async with (
            open_scene(aws) as scene,
            engine.serving(scene.folder / "engine.sock", engine.HERE, 0o600) as docker,
        ):
            env = {"DOCKER_HOST": docker.host}
            name = "rules-by-the-task-role-beside-docker"
            check(await scene.examine(env | give(BY_RUNNER)), name)
            examined = await scene.examine(env | give(BY_TOKEN))
            assert examined.find("job role", "warning") == []

    run_side_by_side(play())
