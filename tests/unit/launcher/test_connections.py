"""Connections to GitHub: installations that move, tokens that are kept, secrets that rotate."""

import asyncio
import json
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import jwt
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from launcher import secret
from launcher.connections import REUSED, Connections
from launcher.demand.delivery import Demand
from launcher.secret import Secret
from sidecar import github
from sidecar.github.scope import Scope


def make_pem(key):
    """Return a private key as text."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


KEY, NEWER_KEY = (rsa.generate_private_key(65537, 2048) for _ in range(2))
PEM = make_pem(KEY)


class Clock:
    """A clock that a test moves."""

    time = 0.0

    def __call__(self):
        """Return the time."""
        return self.time


class GitHub:
    """A GitHub with installations of one App, and one personal access token."""

    def __init__(self):
        self.installations = {"acme": 1, "other": 2}
        self.second = {}
        """Installations of the App 8, whose key is the newer one."""
        self.suspended = set()
        self.pat = "ghp_first"
        self.calls = []
        self.tokens = {}
        self.key = KEY.public_key()

    def application(self):
        """Return what answers its API."""
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self.answer)
        return application

    async def answer(self, request):
        """Answer one call."""
        path = request.path.removeprefix("/api/v3")
        bearer = request.headers["Authorization"].removeprefix("Bearer ")
        self.calls.append(f"{request.method} {path}")
        if path.endswith("/installation"):
            number = self.of_app(bearer).get(path.split("/")[2])
            return say(200, id=number) if number else say(404, message="Not Found")
        if path.startswith("/app/installations/"):
            return self.mint(int(path.split("/")[3]), bearer)
        if bearer != self.pat and bearer not in self.tokens:
            return say(401, message="Bad credentials")
        if path.endswith("registration-token"):
            return say(201, token=f"AREG{len(self.calls)}", expires_at=later())
        return say(200, runners=[], total_count=0)

    def of_app(self, bearer):
        """Return the installations of the App that asks."""
        asks = jwt.decode(bearer, options={"verify_signature": False})["iss"]
        return self.second if asks == "8" else self.installations

    def mint(self, number, bearer):
        """Answer with an installation's token."""
        second = self.of_app(bearer) is self.second
        try:
            key = NEWER_KEY.public_key() if second else self.key
            jwt.decode(bearer, key, algorithms=["RS256"], options={"verify_iat": False})
        except jwt.PyJWTError:
            return say(401, message="A JSON web token could not be decoded")
        if number in self.suspended:
            return say(403, message="This installation has been suspended")
        if number not in self.of_app(bearer).values():
            return say(404, message="Not Found")
        token = f"ghs_{number}_{len(self.calls)}"
        self.tokens[token] = number
        return say(201, token=token, expires_at=later())


def say(status, **body):
    """Make an answer."""
    return web.Response(status=status, text=json.dumps(body), content_type="application/json")


def later():
    """Return an hour from now."""
    return (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")


@asynccontextmanager
async def connected(scope="organization", *, token=None, key=None, clock=None, more=()):
    """Yield a GitHub, and the connections to it: by a token's secret, or by an App."""
    fake = GitHub()
    async with TestServer(fake.application()) as server:
        url = str(server.make_url("/")).rstrip("/")
        key = key or Secret(PEM, "LAUNCHER_GITHUB_APP_KEY", None)
        apps = [("7", key)] if token is None else []
        made = Connections(url, scope, token=token, apps=[*apps, *more], clock=clock or Clock())
        async with made as connections:
            yield fake, connections


def run(coroutine):
    """Run a test's coroutine, for 120 s at most."""
    return asyncio.run(asyncio.wait_for(coroutine, 120))


async def list_runners(connection):
    """Make one call."""
    return await (await connection.runners()).find("a")


MINT = "POST /app/installations/{}/access_tokens"


def test_each_owner_has_its_installation_and_one_token():
    """Of the webhook's number, without a look-up; all scopes of an owner share it."""

    async def life():
        async with connected("repository") as (fake, connections):
            for repository, number in (("acme/a", 1), ("acme/b", 1), ("other/c", 2)):
                await list_runners(connections.connect(repository, number))
            return fake.calls

    calls = run(life())
    assert [call for call in calls if "/app/" in call] == [MINT.format(1), MINT.format(2)]
    assert not [call for call in calls if call.endswith("/installation")]


@pytest.mark.parametrize("told", [None, 99])
def test_an_installation_that_is_not_known_or_has_moved_is_found(told):
    """For the owner; many at once find it once."""

    async def life():
        async with connected() as (fake, connections):
            connection = connections.connect("acme/a", told)
            await asyncio.gather(*[list_runners(connection) for _ in range(5)])
            return fake.calls

    calls = run(life())
    assert calls.count("GET /orgs/acme/installation") == 1
    assert calls.count(MINT.format(1)) == 1


def test_an_app_that_was_installed_anew_is_found_again():
    """GitHub refuses the old token; the next call finds the new installation."""

    async def life():
        async with connected() as (fake, connections):
            connection = connections.connect("acme/a", 1)
            await list_runners(connection)
            fake.installations["acme"] = 5
            fake.tokens.clear()
            await list_runners(connection)
            return fake.calls

    assert run(life())[-3:] == [
        "GET /orgs/acme/installation",
        MINT.format(5),
        "GET /orgs/acme/actions/runners",
    ]


@pytest.mark.parametrize(
    ("owner", "words"),
    [("acme", "403: This installation has been suspended"), ("nobody", "is not installed for")],
)
def test_a_suspended_or_missing_installation_is_named(owner, words):
    """By an error that keeps the job's message in the queue; afterwards it works again."""

    async def life():
        async with connected() as (fake, connections):
            fake.suspended.add(1)
            connection = connections.connect(f"{owner}/a")
            with pytest.raises(github.PermissionDenied, match=words):
                await list_runners(connection)
            fake.suspended.clear()
            fake.installations["nobody"] = 3
            await list_runners(connection)

    run(life())


def test_a_registration_token_is_made_once_for_many_runners():
    """Each scope has its own, for half an hour."""

    async def life():
        clock = Clock()
        async with connected("repository", clock=clock) as (_, connections):

            async def ask(repository):
                runners = await connections.connect(repository).runners()
                return (await runners.create_registration_token()).secret

            same = await asyncio.gather(*[ask("acme/a") for _ in range(5)])
            other = await ask("acme/b")
            clock.time += REUSED + 1
            return {*same}, other, await ask("acme/a")

    same, other, newer = run(life())
    assert len(same) == 1
    assert len({*same, other, newer}) == 3


def test_a_refused_token_is_read_again(tmp_path):
    """A personal access token was replaced: nobody has to restart anything."""
    path = tmp_path / "pat"
    path.write_text("ghp_first")

    async def life():
        clock = Clock()
        token = Secret(f"file:{path}", "LAUNCHER_GITHUB_PAT", None, clock)
        async with connected(token=token) as (fake, connections):
            connection = connections.connect("acme/a")
            await list_runners(connection)
            fake.pat = "ghp_second"
            path.write_text("ghp_second")
            with pytest.raises(github.PermissionDenied):  # it was read just now
                await list_runners(connection)
            clock.time += secret.READ_AGAIN + 1
            await list_runners(connection)

    run(life())


def test_an_app_s_new_key_is_read(tmp_path):
    """The old one was deleted at GitHub."""
    path = tmp_path / "pem"
    path.write_text(PEM)

    async def life():
        clock = Clock()
        key = Secret(f"file:{path}", "LAUNCHER_GITHUB_APP_KEY", None, clock)
        async with connected(key=key) as (fake, connections):
            connection = connections.connect("acme/a", 1)
            await list_runners(connection)
            fake.key = NEWER_KEY.public_key()
            fake.tokens.clear()
            path.write_text(make_pem(NEWER_KEY))
            with pytest.raises(github.PermissionDenied):  # it was read just now
                await list_runners(connection)
            clock.time += secret.READ_AGAIN + 1
            with pytest.raises(github.PermissionDenied):
                await list_runners(connection)
            await list_runners(connection)

    run(life())


def test_a_secret_that_cannot_be_read_again_is_kept(tmp_path):
    """Until it can."""
    path = tmp_path / "pat"
    path.write_text("first")

    async def life():
        clock = Clock()
        held = Secret(f"file:{path}", "LAUNCHER_GITHUB_PAT", None, clock)
        seen = [await held.get()]
        path.write_text("second")
        seen.append(await held.get())
        path.unlink()
        clock.time += secret.KEPT
        seen.append(await held.get())
        path.write_text("second")
        clock.time += secret.KEPT
        return [*seen, await held.get()]

    assert run(life()) == ["first", "first", "first", "second"]


@pytest.mark.parametrize(
    ("server", "scope", "url", "api"),
    [
        ("https://github.com", "repository", "https://github.com/acme/app", "api.github.com"),
        ("https://github.com", "organization", "https://github.com/acme", "api.github.com"),
        ("https://acme.ghe.com", "organization", "https://acme.ghe.com/acme", "api.acme.ghe.com"),
        ("https://ghes.example", "repository", "https://ghes.example/acme/app", "ghes.example"),
        (
            "https://github.com",
            "enterprise:big",
            "https://github.com/enterprises/big",
            "api.github.com",
        ),
        ("https://github.com/acme", "repository", "https://github.com/acme", "api.github.com"),
    ],
)
def test_the_scope_of_a_job_is_found(server, scope, url, api):
    """For each kind of GitHub, and each scope; a URL with a path is the one scope."""
    token = Secret("ghp_x", "LAUNCHER_GITHUB_PAT", None)
    connections = Connections(server, scope, token=token)
    assert connections.find_url("acme/app") == url
    assert Scope.from_url(url).api.split("/")[2] == api


def test_a_demand_names_its_scope():
    """The same connection for the same scope."""

    async def life():
        async with connected() as (_, connections):
            demand = Demand("queued", "", "acme/app", 1, None, None, 1, 2, 3, 1, ("a",))
            first = connections.for_demand(demand)
            assert first is connections.connect("ACME/other")
            assert (await first.api()) is (await first.api())

    run(life())


# --- several Apps ---------------------------------------------------------------------------------


def with_second(play, **installed):
    """Play among two Apps; return the calls and what `play` returned."""
    second = ("8", Secret(make_pem(NEWER_KEY), "LAUNCHER_GITHUB_APP_KEY", None))

    async def life():
        async with connected("repository", more=[second]) as (fake, connections):
            fake.second = installed
            found = await play(fake, connections)
            return fake.calls, found

    return run(life())


def test_the_app_that_sent_the_webhook_is_asked_first():
    """With the installation that it told: nothing is looked up."""

    async def play(_fake, connections):
        await list_runners(connections.connect("acme/a", 5, "8"))

    calls, _ = with_second(play, acme=5)
    assert [call for call in calls if "/app/" in call] == [MINT.format(5)]
    assert not [call for call in calls if call.endswith("/installation")]


def test_an_owner_that_only_one_of_them_serves_gets_that_one():
    """Nobody told which: each is asked once, and then the one that worked."""

    async def play(_fake, connections):
        await list_runners(connections.connect("third/a"))
        await list_runners(connections.connect("third/b"))

    calls, _ = with_second(play, third=6)
    looked_up = [call for call in calls if call.endswith("/installation")]
    assert looked_up == ["GET /repos/third/a/installation"] * 2
    assert [call for call in calls if "/app/" in call] == [MINT.format(6)]


def test_a_suspended_app_is_replaced_by_its_successor():
    """No job waits while one App takes over from another."""

    async def play(fake, connections):
        fake.suspended.add(1)
        await list_runners(connections.connect("acme/a", 1, "7"))

    calls, _ = with_second(play, acme=5)
    assert calls[-2:] == [MINT.format(5), calls[-1]]


def test_where_no_app_serves_an_owner_the_first_one_is_named():
    """The first is the one of the webhook, or of the setting."""

    async def play(_fake, connections):
        with pytest.raises(github.PermissionDenied, match="App 7 is not installed"):
            await list_runners(connections.connect("nobody/a"))

    with_second(play)
