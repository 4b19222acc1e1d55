"""Callers' own accounts: an external id, session tags, a duration, and credentials of their own."""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from launcher.api.accounts import MOST, SPARE, Accounts, Guest
from launcher.pools.callers import Account
from local import sts
from local.listening import listening
from sidecar.aws.calls import AccessDenied
from tests.unit.launcher.work.scene import open_scene

ROLE = "arn:aws:iam::210987654321:role/runners"
TAGS = (("Caller", "octo"), ("Repository", "octo/app"))
TASK = "arn:aws:ecs:eu-west-2:210987654321:task/runners/0123456789abcdef0123456789abcdef"


def make_guest(external_id="an-external-id", tags=TAGS, caller="octo", session=900):
    """Make who has tasks started in another account."""
    return Guest(Account("210987654321", ROLE, external_id, session), caller, "eu-west-2", tags)


@pytest.fixture
def play(monkeypatch):
    """Give what runs a story with accounts, an STS and an ECS that notes who calls."""

    @asynccontextmanager
    async def open_all():
        called = []

        async def answer(request):
            kind = request.headers["X-Amz-Target"].rpartition(".")[2]
            key = request.headers["Authorization"].partition("Credential=")[2].partition("/")[0]
            called.append((kind, key, request.headers.get("X-Amz-Security-Token")))
            body = json.dumps({"tasks": [{"taskArn": TASK}], "failures": []}).encode()
            return web.Response(body=body, content_type="application/x-amz-json-1.1")

        scene = open_scene()
        async with sts.serving() as roles, listening(answer) as url:
            monkeypatch.setenv("AWS_ENDPOINT_URL_STS", roles.url)
            monkeypatch.setenv("AWS_ENDPOINT_URL_ECS", url)
            monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAOWN")
            monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
            roles.add(ROLE, "an-external-id")
            async with Accounts(scene.make_resources(), "eu-central-1") as accounts:
                yield scene, roles, accounts, called

    def run(story):
        async def life():
            async with open_all() as parts:
                await story(*parts)

        asyncio.run(asyncio.wait_for(life(), 60))

    return run


async def start(resources):
    """Start a task."""
    request = {"cluster": "runners", "taskDefinition": "runner", "count": 1, "clientToken": "x"}
    return await resources.ecs("runners", "runner").start(request)


def test_a_task_is_started_by_the_assumed_role(play):
    """With its external id, its duration and the tags that say for whom it is."""

    async def story(scene, roles, accounts, called):
        async with accounts.open(make_guest()) as resources:
            await start(resources)
            await start(resources)
        (begun,) = roles.assumed
        assert (begun.role, begun.duration, begun.tags) == (ROLE, 900, dict(TAGS))
        assert begun.session == "runner-launcher-octo"
        assert called == [("RunTask", begun.key, begun.token)] * 2

    play(story)


def test_a_wrong_external_id_opens_nothing(play):
    """The stand-in refuses it as a trust policy does; the error names what to change."""

    async def story(scene, roles, accounts, called):
        with pytest.raises(AccessDenied, match="with the external_id of octo"):
            async with accounts.open(make_guest("another")):
                pytest.fail("it is open")
        assert roles.assumed == []

    play(story)


def test_a_role_that_allows_no_tags_is_assumed_without(play):
    """As GARO's roles are: with tags it would be refused."""

    async def story(scene, roles, accounts, called):
        roles.add(ROLE, "an-external-id", tags_allowed=False)
        with pytest.raises(AccessDenied):
            async with accounts.open(make_guest()):
                pytest.fail("it is open")
        async with accounts.open(make_guest(tags=())):
            pass
        assert roles.assumed[0].tags == {}

    play(story)


def test_a_session_is_used_again_until_shortly_before_its_end(play):
    """One AssumeRole for many starts; then a new one."""

    async def story(scene, roles, accounts, called):
        for seconds, count in ((0, 1), (900 - SPARE - 1, 1), (2, 2)):
            scene.clock[0] += seconds
            async with accounts.open(make_guest()) as resources:
                await start(resources)
            assert len(roles.assumed) == count
        assert called[-1][1] == roles.assumed[-1].key

    play(story)


def test_a_session_in_use_is_not_closed_under_its_user(play):
    """Though it has become too old meanwhile, or others have pushed it out."""

    async def story(scene, roles, accounts, called):
        async with accounts.open(make_guest()) as resources:
            await start(resources)
            scene.clock[0] += 900
            async with accounts.open(make_guest()):
                pass
            await start(resources)
        assert {key for _, key, _ in called} == {roles.assumed[0].key}

    play(story)


def test_the_sessions_that_are_kept_are_bounded(play):
    """However many repositories call."""

    async def story(scene, roles, accounts, called):
        for number in range(MOST + 20):
            async with accounts.open(make_guest(caller=f"c{number}")):
                pass
        assert len(accounts._sessions) == MOST

    play(story)
