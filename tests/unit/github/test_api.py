"""GitHub's API for runners, against the stand-in that Prism judges."""

import asyncio
import random
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest

from local import github as hub
from local.github import apps
from local.github.runners import Label
from local.github.runners import Runner as Registered
from local.github.scope import Scope as HubScope
from sidecar.errors import TokenError
from sidecar.github import (
    AddressRefused,
    App,
    Connection,
    GitHubError,
    NameTaken,
    Pat,
    PermissionDenied,
    RateLimited,
    RunnerBusy,
    TransientError,
    answers,
    api,
    refusals,
)
from sidecar.github.scope import Scope
from tests.support.loops import on_both, run
from tests.support.servers import serving

SCOPES = ("octo/demo", "octo", "enterprises/big")


pytestmark = pytest.mark.usefixtures("short_github_pauses")


@asynccontextmanager
async def asked(credential=None, at="octo/demo"):
    """Yield the stand-in's state and the calls of one scope, made with `credential`."""
    async with hub.serving() as served:

        async def be():
            return credential or Pat("ghp_local")

        async with Connection(be) as connection:
            connection.url = f"{served.url}/{at}"
            yield served.world, await connection.runners()


def registered(world, name, *, job_id=0, labels=1):
    """Add a runner that has no listener."""
    made = [Label(number, f"{name}-{number:0>200}") for number in range(labels)]
    scope = HubScope.of_path("/repos/octo/demo")
    return world.runners.add(Registered(0, name, scope, made, True, 0.0, "s", job_id=job_id))


def installed(world, account="octo", now=None, **more):
    """Make an App and install it; return the credential and the App as GitHub knows it."""
    pem, modulus, exponent = KEY
    known = world.apps.add("runners", modulus, exponent)
    if account:
        world.apps.install(known, account, **more)
    return App(str(known.id), pem, *([now] if now else [])), known


KEY = apps.fresh_key()


# --- where ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "base", "path"),
    [
        ("https://github.com/o/r", "https://api.github.com", "/repos/o/r"),
        ("https://www.github.com/o", "https://api.github.com", "/orgs/o"),
        ("https://github.com/enterprises/e", "https://api.github.com", "/enterprises/e"),
        ("https://octo.ghe.com/o/r", "https://api.octo.ghe.com", "/repos/o/r"),
        ("https://git.example:8443/o", "https://git.example:8443/api/v3", "/orgs/o"),
    ],
)
def test_the_api_is_where_each_kind_of_github_has_it(url, base, path):
    """github.com, GHE.com with data residency, and a GitHub Enterprise Server."""
    assert Scope.from_url(url) == Scope(base, path)


def test_only_repositories_and_organizations_have_an_installation():
    """Apps are not installed in enterprises; more than two names are no scope."""
    assert Scope("", "/repos/o/r").installation == "/repos/o/r/installation"
    assert Scope("", "/orgs/o").installation == "/orgs/o/installation"
    assert Scope("", "/enterprises/e").installation is None
    with pytest.raises(ValueError, match="no scope"):
        Scope.from_url("https://github.com/a/b/c")


# --- what is asked for ----------------------------------------------------------------------------


@on_both
@pytest.mark.parametrize("at", SCOPES)
@pytest.mark.parametrize("offset", [0, -480])
def test_a_registration_token_is_created(loop, at, offset):
    """In every kind of scope; its end is read in any time zone."""

    async def play():
        async with asked(at=at) as (world, runners):
            world.settings.utc_offset_minutes = offset
            token = await runners.create_registration_token()
            left = token.expires_at - datetime.now(UTC)
            assert timedelta(minutes=59) < left <= timedelta(hours=1)
            assert token.secret in [each.value for each in world.tokens]
            assert token.secret not in repr(token)

    run(loop, play())


@on_both
def test_a_runner_is_registered_just_in_time_looked_up_and_deleted(loop):
    """By REST alone; a runner that is gone already is no error."""

    async def play():
        async with asked() as (_world, runners):
            made = await runners.create_jit_config("build-1", ("self-hosted",), 1, "_work")
            assert made.name == "build-1"
            assert made.blob not in repr(made)
            with pytest.raises(NameTaken, match="409"):
                await runners.create_jit_config("build-1", ("self-hosted",), 1, "_work")
            assert (await runners.find("build-1")).id == made.runner_id
            found = await runners.get(made.runner_id)
            assert (found.name, found.busy, found.online) == ("build-1", False, False)
            assert await runners.delete(made.runner_id)
            assert not await runners.delete(made.runner_id)
            assert await runners.get(made.runner_id) is None
            assert await runners.find("build-1") is None
            with pytest.raises(PermissionDenied, match="404"):
                await runners.create_jit_config("build-1", ("self-hosted",), 9, "_work")

    run(loop, play())


def test_a_busy_runner_stays():
    """422 is an error of its own: a job runs."""

    async def play():
        async with asked() as (world, runners):
            found = registered(world, "busy", job_id=1)
            with pytest.raises(RunnerBusy, match="still running a job"):
                await runners.delete(found.id)
            assert (await runners.get(found.id)).busy

    run("asyncio", play())


@on_both
@pytest.mark.parametrize("ignored", [False, True])
def test_a_runner_is_found_among_many(loop, ignored):
    """An old Enterprise Server ignores the name: then every page is read."""

    async def play():
        async with asked() as (world, runners):
            world.settings.ignore_name_filter = ignored
            for number in range(150):
                registered(world, f"other-{number}", labels=5)
            wanted = registered(world, "wanted")
            assert (await runners.find("wanted")).id == wanted.id
            assert world.calls["list-runners"] == 1 + ignored
            assert await runners.find("nobody") is None

    run(loop, play())


def test_the_search_has_an_end(monkeypatch):
    """A list without end is not read for ever."""
    monkeypatch.setattr("sidecar.github.runners.PAGES", 2)
    monkeypatch.setattr("sidecar.github.runners.PAGE", 1)

    async def play():
        async with asked() as (world, runners):
            world.settings.ignore_name_filter = True
            for number in range(3):
                registered(world, f"other-{number}")
            assert await runners.find("wanted") is None
            assert world.calls["list-runners"] == 2

    run("asyncio", play())


# --- credentials ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("permission", "status"), [("read", 403), ("none", 404), ("unknown", 401)])
def test_a_missing_permission_is_final(permission, status):
    """401, 403, and the 404 that hides what exists: one call, and an error with the status."""

    async def play():
        async with asked(Pat("ghp_weak")) as (world, runners):
            if permission != "unknown":
                world.add_pat("ghp_weak").permission = permission
            with pytest.raises(PermissionDenied, match=str(status)) as denied:
                await runners.create_registration_token()
            assert denied.value.status == status
            assert world.calls["registration-token"] == 1
            assert "ghp_weak" not in str(denied.value)

    run("asyncio", play())


def test_a_personal_token_is_not_in_its_repr():
    """So no traceback shows it."""
    assert "ghp_x" not in repr(Pat("ghp_x"))


@asynccontextmanager
async def as_app(at="octo/demo", account="octo", now=None, by_client_id=False, **more):
    """Yield the stand-in's state, the calls of a new App's installation, and that App."""
    async with hub.serving() as served:
        credential, known = installed(served.world, account, now, **more)
        if by_client_id:
            credential = App(known.client_id, KEY[0])

        async def be():
            return credential

        async with Connection(be) as connection:
            connection.url = f"{served.url}/{at}"
            yield served.world, await connection.runners(), known


@on_both
@pytest.mark.parametrize("at", SCOPES[:2])
@pytest.mark.parametrize("by_client_id", [False, True])
def test_an_app_finds_its_installation_and_keeps_its_token(loop, at, by_client_id):
    """By id or client id; one look-up and one token are enough for all calls of an hour."""

    async def play():
        async with as_app(at, by_client_id=by_client_id) as (world, runners, _):
            for _ in range(3):
                assert (await runners.create_registration_token()).secret
            assert world.calls["installation"] == 1
            assert world.calls["access-token"] == 1

    run(loop, play())


def test_a_new_token_is_created_before_the_old_one_ends():
    """A job of six hours outlives five installation tokens: the last call has a fresh one."""

    async def play():
        clock = datetime.now(UTC).timestamp()
        async with as_app(now=lambda: clock) as (world, runners, _):
            world.now = lambda: clock
            await runners.create_registration_token()
            clock += 54 * 60
            await runners.create_registration_token()
            assert world.calls["access-token"] == 1
            clock += 6 * 3600
            await runners.create_registration_token()
            assert world.calls["access-token"] == 2

    run("asyncio", play())


def test_after_a_refused_token_one_new_token_is_created():
    """It was revoked, or clocks differ; a second refusal is final."""

    async def play():
        async with as_app() as (world, runners, _):
            await runners.create_registration_token()
            for token in world.tokens:
                if token.kind == "installation":
                    token.expires_at = 0
            await runners.create_registration_token()
            assert world.calls["access-token"] == 2
            world.faults.add({"call": "registration-token", "count": -1, "status": 401})
            with pytest.raises(PermissionDenied, match="401"):
                await runners.create_registration_token()
            assert world.calls["access-token"] == 3
            assert world.calls["registration-token"] == 5

    run("asyncio", play())


def test_an_app_that_was_installed_again_is_looked_up_again():
    """The old installation's number is a 404; the new one is found, without an error."""

    async def play():
        clock = datetime.now(UTC).timestamp()
        async with as_app(now=lambda: clock) as (world, runners, known):
            world.now = lambda: clock
            await runners.create_registration_token()
            known.installations.clear()
            world.apps.install(known, "octo")
            clock += 3600
            await runners.create_registration_token()
            assert world.calls["installation"] == 2

    run("asyncio", play())


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"account": ""}, r"App \d+ is not installed for /repos/octo/demo \(SIDECAR_GITHUB_APP_ID"),
        ({"repositories": ["other"]}, "is not installed for /repos/octo/demo"),
        ({"at": "enterprises/big"}, r"cannot register runners of an enterprise \(SIDECAR_GITHUB_P"),
    ],
    ids=["not-installed", "another-repository", "enterprise"],
)
def test_an_app_without_an_installation_for_the_scope_is_an_error(more, why):
    """The error names the setting to change."""

    async def play():
        async with as_app(**more) as (_, runners, _known):
            with pytest.raises(PermissionDenied, match=why):
                await runners.create_registration_token()

    run("asyncio", play())


def test_an_installation_that_vanishes_twice_is_an_error():
    """It is looked up twice at most."""

    async def play():
        async with as_app() as (world, runners, _):
            world.faults.add({"call": "access-token", "count": -1, "status": 404})
            with pytest.raises(PermissionDenied, match=r"has no installation for /repos/octo/demo"):
                await runners.create_registration_token()
            assert world.calls["installation"] == 2

    run("asyncio", play())


def test_an_app_of_another_key_is_refused():
    """GitHub does not know the signature: 401, with GitHub's own words."""

    async def play():
        async with as_app() as (_world, runners, known):
            known.modulus = apps.fresh_key()[1]
            with pytest.raises(
                PermissionDenied, match="401: A JSON web token could not be decoded"
            ):
                await runners.create_registration_token()

    run("asyncio", play())


@pytest.mark.parametrize("key", ["", "SECRET", "-----BEGIN RSA PRIVATE KEY-----\nSECRET\n"])
def test_a_broken_key_is_an_error_that_does_not_show_it(key):
    """The error names the setting."""
    with pytest.raises(PermissionDenied, match="SIDECAR_GITHUB_APP_KEY holds no RSA") as denied:
        App("1", key).jwt()
    assert "SECRET" not in str(denied.value)
    assert denied.value.__cause__ is None


# --- trouble --------------------------------------------------------------------------------------

TROUBLE = {
    "500": {"status": 500},
    "502 with a web page": {"status": 502, "body": "<html>"},
    "408": {"status": 408},
    "reset": {"drop": True},
    "answer lost": {"drop": True, "after": True},
    "hangs": {"hang": True},
    "throttled": {"status": 429, "headers": {"retry-after": "1"}},
    "throttled, by another status": {"status": 403, "headers": {"retry-after": "1"}},
    "throttled, by words": {"status": 403, "body": {"message": "a secondary rate limit"}},
    "no token in it": {"status": 201, "body": {}},
    "a list": {"status": 201, "body": []},
    "no moment": {"status": 201, "body": {"token": "T", "expires_at": "soon"}},
}
AT_ONCE = {"no token in it", "a list", "no moment"}


def set_deadline(monkeypatch, seconds):
    """Let each try take so long at most."""
    monkeypatch.setattr(api, "CALL", api.aiohttp.ClientTimeout(total=seconds))


@on_both
@pytest.mark.parametrize("kind", [kind for kind in TROUBLE if kind not in AT_ONCE])
def test_transient_errors_are_retried(loop, kind, monkeypatch):
    """Two failures, then success."""
    set_deadline(monkeypatch, 0.5 if kind == "hangs" else 60)

    async def play():
        async with asked() as (world, runners), asyncio.TaskGroup() as group:
            world.faults.add({"call": "registration-token", "count": 2} | TROUBLE[kind])
            asking = group.create_task(runners.create_registration_token())
            while kind == "hangs" and world.calls["registration-token"] < 2:
                await asyncio.wait([asking], timeout=0.01)
            set_deadline(monkeypatch, 60)
            assert (await asking).secret
            assert world.calls["registration-token"] == 3

    run(loop, play())


@pytest.mark.parametrize("kind", TROUBLE)
def test_the_tries_have_an_end(kind, monkeypatch):
    """The error of the last try is raised."""
    set_deadline(monkeypatch, 0.2 if kind == "hangs" else 60)
    tries = 1 if kind in AT_ONCE else 3

    async def play():
        async with asked() as (world, runners):
            world.faults.add({"call": "registration-token", "count": -1} | TROUBLE[kind])
            with pytest.raises(TransientError) as failed:
                await runners.create_registration_token(tries=3)
            if kind == "hangs":  # GitHub may not see a try of a busy machine before it ends
                assert failed.value.tries == tries
            else:
                assert world.calls["registration-token"] == tries

    run("asyncio", play())


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        {"runners": None},
        {"runners": [None]},
        {"runners": [{"id": "x", "name": "wanted", "busy": False, "status": "online"}]},
        {"runners": [{"id": 1, "name": "wanted", "status": "online"}]},
    ],
)
def test_an_answer_of_another_shape_is_an_error_of_its_own(body):
    """A proxy that answers in place of GitHub does not look like a bug of the agent."""

    async def play():
        async with asked() as (world, runners):
            fault = {"call": "list-runners", "status": 200, "body": body}
            # The stand-in takes a body of None for "its own words": an empty one is sent instead.
            world.faults.add(fault if body is not None else fault | {"body": ""})
            with pytest.raises(TransientError, match="holds no"):
                await runners.find("wanted")

    run("asyncio", play())


@pytest.mark.parametrize(
    ("call", "body"),
    [
        ("installation", {"id": "x"}),
        ("access-token", {"expires_at": "2030-01-01T00:00:00Z"}),
        ("access-token", {"token": "t", "expires_at": None}),
    ],
)
def test_an_app_retries_answers_of_another_shape(call, body):
    """They are transient, as any other failure."""

    async def play():
        async with as_app() as (world, runners, _):
            status = {"installation": 200, "access-token": 201}[call]
            world.faults.add({"call": call, "status": status, "body": body})
            assert (await runners.create_registration_token()).secret
            assert world.calls["access-token"] == (1 if call == "installation" else 2)

    run("asyncio", play())


def test_a_moment_without_a_zone_is_read_as_utc():
    """In another zone a valid token would look expired, or an expired one valid."""
    found = answers.read_moment({"at": "2026-01-22T12:13:35"}, "at")
    assert found == datetime(2026, 1, 22, 12, 13, 35, tzinfo=UTC)


def test_a_redirection_to_another_place_is_not_followed():
    """After a rename, too: the credential goes only where the setting says."""

    async def play():
        async with asked() as (world, runners):
            headers = {"location": "http://127.0.0.1:9/"}
            world.faults.add({"call": "registration-token", "status": 307, "headers": headers})
            with pytest.raises(GitHubError, match=r"redirects it to 127\.0\.0\.1:9"):
                await runners.create_registration_token()

    run("asyncio", play())


def test_json_that_is_nested_too_deeply_is_no_json():
    """Such an answer is asked for again; as an error its text is shown in part."""
    nested = b"[" * 100_000
    with pytest.raises(ValueError, match="no JSON"):
        answers.decode(nested, 200)
    assert answers.decode(nested, 500) == {"message": "[" * answers.LONGEST_TEXT}


def test_a_netrc_changes_nothing(monkeypatch, tmp_path):
    """A job of the agent's own user could write one: it would make every call fail."""
    (tmp_path / ".netrc").write_text("default login job password secret\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))

    async def play():
        async with asked() as (world, runners):
            # The attack works on a client that trusts its environment.
            async with aiohttp.ClientSession(trust_env=True) as trusting:
                with pytest.raises(ValueError, match="Cannot combine AUTHORIZATION header"):
                    await trusting.get(runners._api._scope.api, headers={"Authorization": "x"})
            assert await runners.find("nobody") is None
            assert world.calls["list-runners"] == 1

    run("asyncio", play())


def test_the_environments_proxy_is_used(monkeypatch):
    """GitHub is outside of the VPC; hosts of NO_PROXY are asked directly."""

    async def play():
        lines = []

        async def serve(reader, writer):
            lines.append((await reader.readuntil(b"\r\n")).decode().strip())
            writer.write(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()
            writer.close()
            await writer.wait_closed()

        async def be():
            return Pat("x")

        async with serving(serve) as server, Connection(be) as connection:
            host, port = server.sockets[0].getsockname()
            monkeypatch.setenv("http_proxy", f"http://{host}:{port}")
            monkeypatch.delenv("no_proxy", raising=False)
            monkeypatch.delenv("NO_PROXY", raising=False)
            connection.url = "http://git.example/o"
            with pytest.raises(PermissionDenied):
                await (await connection.runners()).create_registration_token()
        return lines

    (line,) = run("asyncio", play())
    assert line.startswith("POST http://git.example/api/v3/orgs/o/actions/runners/")


def test_an_answer_of_no_json_is_shown_in_part():
    """The page of a proxy says more than its status."""

    async def play():
        async def page(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            body = b"Forbidden by the firewall" + b"." * 10_000
            head = f"HTTP/1.1 403 No\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            writer.write(head.encode() + body)
            await writer.drain()
            writer.close()
            await writer.wait_closed()

        async def be():
            return Pat("x")

        async with serving(page) as server, Connection(be) as connection:
            host, port = server.sockets[0].getsockname()
            connection.url = f"http://{host}:{port}/o"
            with pytest.raises(PermissionDenied, match="Forbidden by the firewall") as denied:
                await (await connection.runners()).create_registration_token()
            assert len(str(denied.value)) < 400

    run("asyncio", play())


def test_the_primary_rate_limit_is_obeyed():
    """403 with no request left: the pause lasts until the reset that the headers say."""
    seen = []

    async def play():
        async with asked() as (world, runners):
            world.settings.rate_remaining = 0
            world.settings.rate_reset_in = 100.0
            with pytest.raises(RateLimited) as limited:
                await runners.create_registration_token(tries=1)
            seen.append(limited.value.seconds)

    run("asyncio", play())
    assert 90 < seen[0] <= 100


# --- how long it waits ----------------------------------------------------------------------------


@pytest.fixture
def pause(monkeypatch):
    """Return the real pauses, without their jitter."""
    monkeypatch.undo()
    monkeypatch.setattr(random, "uniform", lambda _low, high: high)
    return api.backoff()


def test_pauses_grow_up_to_a_ceiling(pause):
    """At most a quarter of a minute."""
    assert [pause(TransientError("x")) for _ in range(6)] == [1, 2, 4, 8, 15, 15]


def test_a_limit_is_obeyed(pause):
    """The pause is as long as GitHub says, or one minute, then two, then four."""
    assert pause(RateLimited("x", 429, 7.0)) == 8.0
    assert [pause(RateLimited("x", 403, None)) for _ in range(3)] == [65, 130, 260]


def test_a_refusal_is_final(pause):
    """And so is an error of another kind."""
    assert pause(PermissionDenied("x", 404)) is False
    assert pause(ValueError()) is False


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "12"}, 12.0),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "-3"}, None),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1030"}, 30.0),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "900"}, 0.0),
        ({"x-ratelimit-remaining": "0"}, None),
        ({"x-ratelimit-remaining": "5", "x-ratelimit-reset": "1030"}, None),
        ({}, None),
    ],
)
def test_how_long_is_read_from_the_headers(headers, seconds):
    """`retry-after` counts first, else the reset of a used-up limit; a broken value is ignored."""
    assert refusals.read_pause(headers, 1000.0) == seconds


ALLOW_LIST = (
    "Although you appear to have the correct authorization credentials, the `octo` organization "
    "has an IP allow list enabled, and your IP address is not permitted to access this resource."
)


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (403, ALLOW_LIST, AddressRefused),
        (403, "Resource not accessible by integration", PermissionDenied),
        (403, "API rate limit exceeded for installation", RateLimited),
    ],
)
def test_what_a_403_means_is_read_from_its_text(status, message, kind):
    """An address that is not allowed looks like a missing permission, and so does a limit."""
    assert type(refusals.make_error("text", status, message, {}, 0.0)) is kind


# --- the connection -------------------------------------------------------------------------------


def test_a_connection_needs_a_url():
    """The token parameter may hold it; until then no call is possible."""

    async def play():
        async def be():
            raise AssertionError

        async with Connection(be) as connection:
            with pytest.raises(GitHubError, match="SIDECAR_GITHUB_URL is not set"):
                await connection.runners()

    run("asyncio", play())


def test_the_credential_is_read_once_and_late():
    """If it cannot be read, that is an error of its own, and it is read again the next time."""
    had = []

    async def be():
        had.append(1)
        if len(had) == 1:
            raise TokenError("not yet")
        return Pat("x")

    async def play():
        async with Connection(be) as connection:
            connection.url = "https://github.com/o"
            with pytest.raises(TokenError):
                await connection.runners()
            assert await connection.runners() is await connection.runners()

    run("asyncio", play())
    assert len(had) == 2
