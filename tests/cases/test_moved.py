"""A repository with a new name, which GitHub redirects, and a clock that is wrong."""

from contextlib import asynccontextmanager
from email.utils import formatdate

import aiohttp
import pytest
from aiohttp import web
from botocore.exceptions import ClientError
from structlog.testing import capture_logs

from launcher.errors import describe_refusal
from local.github.apps import fresh_key
from sidecar import github
from sidecar.aws.calls import SSM, AccessDenied, AwsError, Call
from sidecar.errors import TokenError
from sidecar.github import App, Connection, Pat, api
from sidecar.github.api import Api
from sidecar.github.scope import Scope
from sidecar.net.clock import find_clock_error
from sidecar.tokens import MintedToken
from tests.support.loops import on_both, run
from tests.unit.conftest import short_github_pauses  # noqa: F401  a fixture

pytestmark = pytest.mark.usefixtures("short_github_pauses")

OLD, NEW, NUMBER = "/api/v3/repos/octo/old", "/api/v3/repos/octo/new", "/api/v3/repositories/42"
TOKEN = {"token": "AABBCCDD", "expires_at": "2030-01-01T00:00:00Z"}
RUNNER = {"id": 7, "name": "n", "busy": False, "status": "offline"}
NOW = 1_800_000_000.0


class Hub:
    """GitHub after a repository got a new name: the old one is redirected to its number."""

    def __init__(self, status=307):
        self.status = status
        self.location = ""
        self.seen = []
        self.url = ""
        self.date = None
        self.tells = True

    async def answer(self, request):
        """Answer one request."""
        body = await request.text()
        self.seen.append((request.method, request.path, body, request.headers["Authorization"]))
        headers = {"Date": formatdate(self.date, usegmt=True)} if self.date else {}
        if self.date:
            text = "'Issued at' claim ('iat') must be an Integer"
            return web.json_response({"message": text}, status=401, headers=headers)
        if request.path.startswith(OLD):
            target = self.location or f"{self.url}{NUMBER}{request.path.removeprefix(OLD)}"
            headers = {"Location": target}
            return web.json_response({"message": "Moved"}, status=self.status, headers=headers)
        match request.path.removeprefix(NUMBER):
            case "" if self.tells:
                return web.json_response({"html_url": f"{self.url}/octo/new"})
            case "/actions/runners/registration-token":
                return web.json_response(TOKEN, status=201)
            case "/actions/runners/generate-jitconfig":
                made = {"runner": RUNNER, "encoded_jit_config": "blob"}
                return web.json_response(made, status=201)
        return web.json_response({"message": "Not Found"}, status=404)


@asynccontextmanager
async def moved(hub, credential=None):
    """Serve a hub, and yield a connection to the repository's old name."""
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", hub.answer)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    hub.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"

    async def give():
        return credential or Pat("ghp_local")

    try:
        async with Connection(give) as connection:
            connection.url = f"{hub.url}/octo/old"
            yield connection
    finally:
        await runner.cleanup()


# --- a new name ---------------------------------------------------------------------------------


@on_both
@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_token_is_minted_for_a_repository_with_a_new_name(loop, status, monkeypatch):
    """The redirect is followed, and the runner is registered at the new URL; it is said once.

    Without the mend it is an error, with a hint at permissions.
    """

    async def play():
        hub = Hub(status)
        async with moved(hub) as connection:
            token = await MintedToken(connection.runners, jit=False).wait(20)
            assert (token.token, token.url) == ("AABBCCDD", f"{hub.url}/octo/new")
            assert {seen[3] for seen in hub.seen} == {"Bearer ghp_local"}
            await (await connection.runners()).create_registration_token()
            monkeypatch.setattr(api, "REDIRECTS", ())
            with pytest.raises(TokenError, match=f"GitHub answers {status}: Moved"):
                await MintedToken(connection.runners, jit=False).wait(20)

    with capture_logs() as events:
        run(loop, play())
    (said,) = [event for event in events if event["event"] == "github.redirected"]
    assert said["path"] == "/repos/octo/old/actions/runners/registration-token"
    assert said["to"] == "/repositories/42/actions/runners/registration-token"


def test_a_request_with_a_body_is_repeated_as_it_was():
    """Method and body stay the same: a POST that became a GET would register nothing."""

    async def play():
        hub = Hub()
        async with moved(hub) as connection:
            runners = await connection.runners()
            made = await runners.create_jit_config("n", ("a",), 1, "_work")
            assert (made.runner_id, made.blob) == (7, "blob")
            assert [seen[0] for seen in hub.seen] == ["POST", "POST"]
            assert hub.seen[0][2] == hub.seen[1][2] != ""

    run("asyncio", play())


@pytest.mark.parametrize(
    "location",
    [
        "https://evil.example/api/v3/repositories/42",
        "//evil.example/x",
        "/elsewhere",
        "http://127.0.0.1:1/api/v3/repositories/42",
        "/api/v3/../../x\\y",
    ],
)
def test_the_credential_is_sent_nowhere_else(location):
    """Only to the same API; the error names the host, and no permission."""

    async def play():
        hub = Hub()
        hub.location = location
        async with moved(hub) as connection:
            with pytest.raises(TokenError, match="GitHub redirects it to") as refused:
                await MintedToken(connection.runners, jit=False).wait(20)
            assert len(hub.seen) == 1
            assert "needs" not in str(refused.value)

    run("asyncio", play())


def test_a_redirect_that_goes_round_ends():
    """After a few requests it is an error as any other."""

    async def play():
        hub = Hub()
        hub.location = f"{OLD}/again"
        async with moved(hub) as connection:
            with pytest.raises(TokenError, match="GitHub answers 307"):
                await MintedToken(connection.runners, jit=False).wait(20)
            assert len(hub.seen) == api.MOST_REDIRECTS

    run("asyncio", play())


def test_the_new_url_may_stay_unknown():
    """The token is there: the runner is registered at the old URL, and the log says so."""

    async def play():
        hub = Hub()
        hub.tells = False
        async with moved(hub) as connection:
            token = await MintedToken(connection.runners, jit=False).wait(20)
            assert (token.token, token.url) == ("AABBCCDD", None)

    with capture_logs() as events:
        run("asyncio", play())
    assert "github.redirect_unresolved" in [event["event"] for event in events]


# --- a wrong clock ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ahead", "said"),
    [
        (150, "this machine's clock is 150 s ahead of GitHub's"),
        (-900, "this machine's clock is 900 s behind GitHub's"),
    ],
)
def test_a_wrong_clock_is_named_and_by_how_much(ahead, said, monkeypatch):
    """GitHub refuses an App's JWT then; no permission and no other key would help."""
    pem = fresh_key()[0]
    monkeypatch.setattr(api.time, "time", lambda: NOW)

    async def play():
        hub = Hub()
        hub.date = NOW - ahead
        async with moved(hub, App("1", pem, lambda: NOW)) as connection:
            made = Api(
                aiohttp.ClientSession(),
                Scope.from_url(connection.url),
                App("1", pem, lambda: NOW),
                lambda: NOW,
            )
            try:
                await made.call("GET", "/x", expects={200: None})
            finally:
                await made._session.close()

    with pytest.raises(github.ClockRefused, match=said) as refused:
        run("asyncio", play())
    assert github.advise(refused.value, "needs administration:write") == ""
    assert "needs" not in describe_refusal(refused.value, "needs administration:write")


@pytest.mark.parametrize("ahead", [0, 10, -10])
def test_a_clock_that_is_right_is_not_blamed(ahead):
    """Then it is the key that GitHub refuses."""
    assert find_clock_error({"Date": formatdate(NOW - ahead, usegmt=True)}, NOW, "X") is None


@pytest.mark.parametrize("headers", [{}, {"date": ""}, {"date": "yesterday"}])
def test_an_answer_without_a_date_tells_nothing(headers):
    """As one that a proxy made."""
    assert find_clock_error(headers, NOW, "X") is None


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("InvalidSignatureException", "Signature expired: 20261127T0 is now earlier than 2026"),
        ("SignatureDoesNotMatch", "Signature not yet current: 20261127T0 is still later than"),
        ("RequestTimeTooSkewed", "The difference is too large"),
        ("RequestExpired", "Request has expired."),
    ],
)
def test_aws_s_refusal_of_a_wrong_clock_is_told_as_such(code, text, monkeypatch):
    """Not as credentials that are not accepted; without a date, what AWS permits is named."""
    monkeypatch.setattr("sidecar.aws.calls.time.time", lambda: NOW)
    call = Call("cannot do it", SSM, "ssm:GetParameter", "SIDECAR_X")
    found = []
    for headers in ({"date": formatdate(NOW - 600, usegmt=True)}, {}):
        answer = {
            "Error": {"Code": code, "Message": text},
            "ResponseMetadata": {"HTTPStatusCode": 400, "HTTPHeaders": headers},
        }
        found.append(call._translate(ClientError(answer, "GetParameter")))
    assert "clock is 600 s ahead of AWS's" in str(found[0])
    assert "more than five minutes" in str(found[1])
    assert all(isinstance(error, AwsError) for error in found)
    assert not any(isinstance(error, AccessDenied) for error in found)
    assert "needs" not in "".join(map(str, found))
