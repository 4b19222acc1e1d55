"""The credentials of a machine's role, from its metadata service."""

from __future__ import annotations

import json
import time

import pytest

from local import imds
from sidecar.aws import instance_metadata
from sidecar.aws.agent_credentials import AgentCredentials
from sidecar.aws.container_credentials import RejectedError, UnavailableError
from sidecar.aws.instance_role import InstanceRole
from tests.support.loops import on_both, run


@pytest.fixture(autouse=True)
def _patient(monkeypatch):
    """Wait for an answer that comes, however busy the machine is."""
    monkeypatch.setattr(instance_metadata, "CALL_SECONDS", 60.0)


def serve(**facts):
    """Serve an instance of these facts."""
    return imds.serving(instance=imds.Instance(**{"token_required": True} | facts))


async def fetch(served):
    """Fetch once."""
    async with InstanceRole(served.url).connected() as fetch:
        return await fetch(time.time(), 60.0)


@on_both
def test_the_role_is_fetched(loop):
    """Its ARN has the account of the instance's profile; the body is what every SDK reads."""

    async def play():
        async with serve() as served:
            return await fetch(served), served.held

    found, held = run(loop, play())
    assert found.role_arn == imds.INSTANCE_ROLE
    body = json.loads(found.body)
    assert {name: body[name] for name in ("AccessKeyId", "SecretAccessKey", "Token")} == {
        name: held[name] for name in ("AccessKeyId", "SecretAccessKey", "Token")
    }
    assert found.expires_at > time.time() + 3600


def test_the_agent_s_own_credentials_are_these():
    """As a provider of the AWS library's."""

    async def play():
        async with serve() as served:
            own = AgentCredentials(InstanceRole(served.url))
            credentials = await own.load()
            frozen = await credentials.get_frozen_credentials()
            assert frozen.access_key == served.held["AccessKeyId"]
            assert own.role_arn == imds.INSTANCE_ROLE

    run("asyncio", play())


def test_a_machine_without_a_profile_has_no_role():
    """Final until somebody gives it one."""

    async def play():
        async with serve(has_role=False) as served:
            with pytest.raises(RejectedError, match="the instance has no profile"):
                await fetch(served)

    run("asyncio", play())


@pytest.mark.parametrize(
    ("fault", "kind"),
    [("throttled", UnavailableError), ("silent", UnavailableError), ("v1", RejectedError)],
)
def test_a_service_that_does_not_answer(fault, kind, monkeypatch):
    """What may pass is tried again by whoever asks."""
    if fault == "silent":
        monkeypatch.setattr(instance_metadata, "CALL_SECONDS", 0.2)

    async def play():
        async with serve() as served:
            served.fault = fault
            with pytest.raises(kind):
                await fetch(served)

    run("asyncio", play())


def test_credentials_that_are_not_there_yet():
    """IMDS says so by its code, with status 200."""

    async def play():
        async with serve() as served:
            served.held = {"Code": "AssumeRoleUnauthorizedAccess"}
            with pytest.raises(UnavailableError, match="AssumeRoleUnauthorizedAccess"):
                await fetch(served)

    run("asyncio", play())
