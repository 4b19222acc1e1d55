"""A table for each test."""

from contextlib import closing

import boto3
import pytest

from sidecar.aws import calls
from tests.unit.launcher.work.scene import TABLE


@pytest.fixture(autouse=True)
def table(aws, monkeypatch):
    """Make an empty table; return the endpoint."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIALOCAL")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "local")
    growing = calls.growing
    monkeypatch.setattr(
        calls, "growing", lambda kinds, **_: growing(kinds, first=0.01, longest=0.02)
    )
    with closing(boto3.client("dynamodb", endpoint_url=aws)) as client:
        client.create_table(
            TableName=TABLE,
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", aws)
    return aws
