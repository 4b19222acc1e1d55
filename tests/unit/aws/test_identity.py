"""Whose credentials these are, by the ARN that STS tells."""

import asyncio

import pytest
from aiobotocore.session import AioSession

from local import aws as local_aws
from sidecar.aws.calls import TransientError
from sidecar.aws.identity import Identity, read_identity


@pytest.mark.parametrize(
    ("arn", "role"),
    [
        (
            "arn:aws:sts::123456789012:assumed-role/runner-task/0f3a",
            "arn:aws:iam::123456789012:role/runner-task",
        ),
        (
            "arn:aws-cn:sts::123456789012:assumed-role/runner/i-1",
            "arn:aws-cn:iam::123456789012:role/runner",
        ),
        ("arn:aws:iam::123456789012:user/me", None),
    ],
)
def test_the_role_of_a_session(arn, role):
    """In its own partition and account; a user has none."""
    assert Identity(arn).role_arn == role


def test_nobody_who_answers():
    """It may be there in a moment."""

    def make_session():
        session = AioSession()
        session.set_credentials("key", "secret")
        return session

    with pytest.raises(TransientError, match="cannot ask who this is: no network path to STS"):
        asyncio.run(read_identity(local_aws.REGION, make_session))
