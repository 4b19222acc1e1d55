"""The stand-in of GitHub, as a REST client sees it."""

import asyncio
import time
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest

from local import github
from local.github.scope import NoScopeError, Scope

PAT = {"Authorization": "Bearer ghp_local"}
RUNNERS = "/repos/octo/demo/actions/runners"


def life(story, **settings):
    """Run `story(client, github)` against a GitHub of its own."""

    async def run():
        async with (
            github.serving(settings=github.Settings(**settings), control_path="/_local") as served,
            aiohttp.ClientSession(base_url=served.url) as client,
        ):
            await story(client, served)

    asyncio.run(run())


async def ask(client, method, path, body=None, headers=PAT):
    """Give status, body and headers of an answer."""
    async with client.request(method, path, json=body, headers=headers) as reply:
        text = await reply.text()
        return reply.status, (await reply.json() if text else None), reply.headers


async def jit(client, name, base=RUNNERS):
    """Register a runner the short way; gives its id."""
    wanted = {"name": name, "runner_group_id": 1, "labels": ["small"]}
    status, body, _ = await ask(client, "POST", f"{base}/generate-jitconfig", wanted)
    assert status == 201
    return body["runner"]["id"]


@pytest.mark.parametrize("prefix", ["", "/api/v3"])
@pytest.mark.parametrize("scope", ["/repos/octo/demo", "/orgs/octo", "/enterprises/big"])
def test_tokens_are_given_for_every_scope_under_both_bases(prefix, scope):
    """Both kinds of token come with the time they expire at, an hour ahead."""

    async def story(client, _served):
        for kind in ("registration", "remove"):
            path = f"{prefix}{scope}/actions/runners/{kind}-token"
            status, body, _ = await ask(client, "POST", path)
            expires = datetime.fromisoformat(body["expires_at"])
            assert status == 201
            assert len(body["token"]) == 29
            assert timedelta(minutes=59) < expires - datetime.now(UTC) < timedelta(minutes=61)

    life(story)


def test_expires_at_may_have_an_offset():
    """A client that expects a Z is found out."""

    async def story(client, _served):
        _, body, _ = await ask(client, "POST", f"{RUNNERS}/registration-token")
        assert body["expires_at"].endswith("-08:00")
        assert datetime.fromisoformat(body["expires_at"]) > datetime.now(UTC)

    life(story, utc_offset_minutes=-480)


def test_a_stranger_is_refused_as_github_refuses():
    """401 without or with bad credentials, 404 where a token does not reach, 403 for reading."""

    async def story(client, _served):
        async def status(headers, method="POST", path=f"{RUNNERS}/registration-token"):
            return (await ask(client, method, path, None, headers))[0]

        assert await status({}) == 401
        assert await status({"Authorization": "Bearer wrong"}) == 401
        _, other, _ = await ask(client, "POST", "/_local/tokens", {"scope": "/orgs/else"})
        assert await status({"Authorization": f"token {other['token']}"}) == 404
        _, reader, _ = await ask(client, "POST", "/_local/tokens", {"permission": "read"})
        reads = {"Authorization": f"Bearer {reader['token']}"}
        assert await status(reads) == 403
        assert await status(reads, "GET", RUNNERS) == 200

    life(story)


def test_an_expired_token_is_a_bad_one():
    """Tokens end when they say they do."""

    async def story(client, served):
        now = time.time()
        served.world.now = lambda: now
        _, short, _ = await ask(client, "POST", "/_local/tokens", {"expires_in": 10})
        headers = {"Authorization": f"Bearer {short['token']}"}
        assert (await ask(client, "GET", RUNNERS, None, headers))[0] == 200
        now += 10
        assert (await ask(client, "GET", RUNNERS, None, headers))[0] == 401

    life(story)


def test_runners_are_listed_by_page_and_by_name():
    """`name`, `per_page` and `page` do what they say; the total counts them all."""

    async def story(client, served):
        for number in range(5):
            await jit(client, f"r{number}")
        await jit(client, "r1", "/orgs/octo/actions/runners")
        _, body, _ = await ask(client, "GET", f"{RUNNERS}?per_page=2&page=3")
        assert [each["name"] for each in body["runners"]] == ["r4"]
        assert body["total_count"] == 5
        _, body, _ = await ask(client, "GET", f"{RUNNERS}?name=R3")
        assert [each["name"] for each in body["runners"]] == ["r3"]
        served.world.settings.ignore_name_filter = True
        _, body, _ = await ask(client, "GET", f"{RUNNERS}?name=r3")
        assert body["total_count"] == 5

    life(story)


def test_a_name_is_taken_before_it_shows():
    """A runner that list and get do not show yet already refuses its name with 409."""

    async def story(client, served):
        now = time.time()
        served.world.now = lambda: now
        number = await jit(client, "late")
        assert (await ask(client, "GET", f"{RUNNERS}/{number}"))[0] == 404
        wanted = {"name": "late", "runner_group_id": 1, "labels": ["x"]}
        assert (await ask(client, "POST", f"{RUNNERS}/generate-jitconfig", wanted))[0] == 409
        now += 5
        status, body, _ = await ask(client, "GET", f"{RUNNERS}/{number}")
        assert (status, body["status"], body["busy"]) == (200, "offline", False)

    life(story, visible_after=5.0)


def test_delete_is_refused_while_busy_and_gone_is_gone():
    """DELETE: 422 while a job runs, 204 once, 404 for ever after."""

    async def story(client, served):
        number = await jit(client, "one")
        served.world.runners.get(number).job_id = 1
        status, body, _ = await ask(client, "DELETE", f"{RUNNERS}/{number}")
        assert status == 422
        assert "is still running a job" in body["message"]
        served.world.runners.get(number).job_id = 0
        assert (await ask(client, "DELETE", f"{RUNNERS}/{number}"))[0] == 204
        assert (await ask(client, "DELETE", f"{RUNNERS}/{number}"))[0] == 404
        _, state, _ = await ask(client, "GET", "/_local/state")
        assert state["removed"] == [{"id": number, "name": "one", "by": "rest"}]
        assert state["calls"]["delete-runner"] == 3

    life(story)


def test_the_rate_limit_is_told_and_kept():
    """Every answer counts down; at nothing left it is a 403 that says when to come back."""

    async def story(client, _served):
        status, _, headers = await ask(client, "GET", RUNNERS)
        assert (status, headers["x-ratelimit-remaining"]) == (200, "0")
        status, body, headers = await ask(client, "GET", RUNNERS)
        assert status == 403
        assert "rate limit exceeded" in body["message"]
        assert int(headers["x-ratelimit-reset"]) > time.time()

    life(story, rate_remaining=1)


def test_faults_spoil_the_calls_they_name():
    """An ordered fault hits the next such call only, and never the control plane."""

    async def story(client, _served):
        fault = {"call": "*", "status": 429, "headers": {"retry-after": "1"}}
        assert (await ask(client, "POST", "/_local/faults", fault))[0] == 201
        assert (await ask(client, "GET", "/_local/state"))[0] == 200
        status, _, headers = await ask(client, "GET", RUNNERS)
        assert (status, headers["retry-after"]) == (429, "1")
        assert (await ask(client, "GET", RUNNERS))[0] == 200
        await ask(client, "POST", "/_local/faults", {"call": "registration-token", "drop": True})
        with pytest.raises(aiohttp.ClientConnectionError):
            await ask(client, "POST", f"{RUNNERS}/registration-token")

    life(story)


def test_an_effect_may_stand_though_its_answer_is_lost():
    """`after`: the runner is registered, and the client learns of it only by a 409."""

    async def story(client, _served):
        lost = {"call": "generate-jitconfig", "status": 502, "after": True}
        await ask(client, "POST", "/_local/faults", lost)
        wanted = {"name": "twice", "runner_group_id": 1, "labels": ["x"]}
        assert (await ask(client, "POST", f"{RUNNERS}/generate-jitconfig", wanted))[0] == 502
        assert (await ask(client, "POST", f"{RUNNERS}/generate-jitconfig", wanted))[0] == 409

    life(story)


def test_a_wrong_wish_is_refused_by_name():
    """The control plane says what it does not understand."""

    async def story(client, _served):
        status, body, _ = await ask(client, "PATCH", "/_local/settings", {"ghost": 1})
        assert (status, "no setting 'ghost'" in body["message"]) == (400, True)
        status, body, _ = await ask(client, "PATCH", "/_local/settings", {"ghosts": "1"})
        assert (status, "ghosts must be int" in body["message"]) == (400, True)
        assert (await ask(client, "POST", "/_local/jobs", {"steps": [{}]}))[0] == 400
        assert (await ask(client, "POST", "/_local/faults", {"status": 500}))[0] == 400
        wrong = {"scope": "octo"}
        assert (await ask(client, "POST", "/_local/registration-tokens", wrong))[0] == 400

    life(story)


def test_an_app_s_token_may_do_what_its_installation_may():
    """Enterprises are 403 to installations; so is an account's scope without the permission."""

    async def story(client, served):
        app = served.world.apps.add("runners", 3)
        installed = served.world.apps.install(app, "octo", repositories=["demo"])
        token = served.world.mint("installation", None)
        token.installation_id, token.permissions = installed.id, {"administration": "write"}
        headers = {"Authorization": f"Bearer {token.value}"}
        for scope, wanted in {
            "/repos/octo/demo": 201,
            "/repos/octo/else": 404,
            "/orgs/octo": 403,
            "/enterprises/octo": 403,
        }.items():
            path = f"{scope}/actions/runners/registration-token"
            assert (await ask(client, "POST", path, None, headers))[0] == wanted, scope

    life(story)


def test_a_scope_is_read_from_paths_and_urls():
    """The three kinds of scope, and nothing else."""
    assert Scope.of_url("http://h/octo/Demo").key == "/repos/octo/demo"
    assert Scope.of_url("http://h/octo").path == "/orgs/octo"
    assert Scope.of_url("http://h/enterprises/big") == Scope.of_path("/enterprises/big")
    for wrong in ("http://h", "http://h/a/b/c"):
        with pytest.raises(NoScopeError):
            Scope.of_url(wrong)


def test_it_runs_alone(started):
    """`python -m local.github` says where it is, and takes settings."""
    url = started("-m", "local.github", "--set", "token_lifetime=60", "--pat", "ghp_other")

    async def story():
        async with aiohttp.ClientSession(base_url=url) as client:
            headers = {"Authorization": "Bearer ghp_other"}
            path = f"{RUNNERS}/registration-token"
            status, body, _ = await ask(client, "POST", path, None, headers)
            left = datetime.fromisoformat(body["expires_at"]) - datetime.now(UTC)
            assert (status, left < timedelta(seconds=61)) == (201, True)

    asyncio.run(story())
