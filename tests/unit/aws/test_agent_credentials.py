"""The agent's own credentials, alone or in the AWS library's order."""

from __future__ import annotations

import asyncio

import pytest
from botocore.exceptions import CredentialRetrievalError

from sidecar.aws.agent_credentials import AgentCredentials


@pytest.fixture(autouse=True)
def _no_files(monkeypatch):
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/dev/null")


async def key(own: AgentCredentials) -> str:
    """Return the id of the key that a client would sign with."""
    return (await (await own.session.get_credentials()).get_frozen_credentials()).access_key


@pytest.mark.parametrize("alone", [True, False])
def test_they_come_from_the_endpoint(run, upstream, say, alone):
    """In the library's chain, or as its only provider."""

    async def play():
        async with upstream(say.good()) as served:
            own = AgentCredentials(served.endpoint, alone=alone)
            assert await key(own) == "ASIATESTKEY00001"
            assert own.session is own.session
            assert own.role_arn.endswith("role/task")

    run(play())


@pytest.mark.parametrize(
    ("alone", "expected"), [(True, "ASIATESTKEY00001"), (False, "AKIAOFTHEENVIRONMENT")]
)
def test_the_environment_comes_first_unless_the_endpoint_is_alone(
    run, upstream, say, monkeypatch, alone, expected
):
    """That is the library's order."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAOFTHEENVIRONMENT")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "SECRET")

    async def play():
        async with upstream(say.good()) as served:
            assert await key(AgentCredentials(served.endpoint, alone=alone)) == expected

    run(play())


def test_they_do_not_fall_through_to_the_instance(upstream, say):
    """An endpoint that rejects ends the search."""

    async def play():
        async with upstream(say.answer(400, b'{"code":"InvalidIdInRequest"}')) as served:
            await key(AgentCredentials(served.endpoint, alone=False))

    with pytest.raises(CredentialRetrievalError, match="InvalidIdInRequest"):
        asyncio.run(asyncio.wait_for(play(), 30))
