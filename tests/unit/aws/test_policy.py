"""What a role's policies say, asked without doing it."""

import asyncio

import pytest
from aiobotocore.session import AioSession

from local import aws as local_aws
from local import iam
from sidecar.aws.calls import AccessDenied
from sidecar.aws.policy import Decision, simulate

ROLE = f"{local_aws.TASK_ROLE}"
PARAMETER = "arn:aws:ssm:eu-central-1:123456789012:parameter/tokens/1"
TASK = "arn:aws:ecs:eu-central-1:123456789012:task/runners/1"
WANTED = [
    ("ssm:GetParameter", PARAMETER),
    ("ssm:DeleteParameter", PARAMETER),
    ("ecs:UpdateTaskProtection", TASK),
]


def ask(monkeypatch, **facts):
    """Ask an IAM of these facts; return its decisions, and what it was asked."""

    def make_session():
        session = AioSession()
        session.set_credentials("key", "secret")
        return session

    async def play():
        async with iam.serving() as served:
            for name, value in facts.items():
                setattr(served, name, value)
            monkeypatch.setenv("AWS_ENDPOINT_URL_IAM", served.url)
            found = await simulate(ROLE, WANTED, local_aws.REGION, make_session, 30.0)
            return found, served.asked

    return asyncio.run(play())


def test_each_action_is_judged_on_its_own_resource(monkeypatch):
    """What is refused, and what only a condition refuses."""
    found, asked = ask(
        monkeypatch, denied={"ssm:DeleteParameter"}, conditional={"ecs:UpdateTaskProtection"}
    )
    assert found == [
        Decision("ssm:GetParameter", PARAMETER, allowed=True),
        Decision("ssm:DeleteParameter", PARAMETER, allowed=False),
        Decision("ecs:UpdateTaskProtection", TASK, allowed=False, uncertain=True),
    ]
    assert asked == WANTED


def test_a_role_that_may_not_ask(monkeypatch):
    """The error names the permission for it."""
    with pytest.raises(AccessDenied, match="needs iam:SimulatePrincipalPolicy"):
        ask(monkeypatch, closed=True)
