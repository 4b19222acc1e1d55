"""The runner services' client, against a small server that answers from a script.

Names and types of the fields are those that the real runner 2.336.0 was seen to send and to get.
"""

import asyncio
import base64
import json
import time
from contextlib import asynccontextmanager
from types import SimpleNamespace

import aiohttp
import jwt
import pytest
import stamina.instrumentation
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa

from sidecar.github import (
    GitHubError,
    PermissionDenied,
    RateLimited,
    RunnerBusy,
    TransientError,
    api,
)
from sidecar.github.actions_service import ASSERTION, ActionsService, ClockDiffers
from sidecar.github.answers import LONGEST_BODY
from sidecar.github.registration_exchange import is_service_url
from sidecar.github.runner_key import LIFETIME, RunnerKey
from tests.support.loops import on_both, run
from tests.support.servers import serving

TOKEN = "AREGISTRATIONTOKEN"
JWT = "eyJhbGciOiJub25lIn0.eyJzY3AiOiJ4In0."
AGENT = "/tenant/_apis/distributedtask/pools/0/agents/7?api-version=6.0-preview"
NAMED = (
    "/tenant/_apis/distributedtask/pools/0/agents"
    "?agentName=box-1&includeCapabilities=False&api-version=6.0-preview"
)
EXCHANGE = "/api/v3/actions/runner-registration"
RUNNERS = "/api/v3/repos/octo/repo/actions/runners"
BUSY = {
    "typeName": "GitHub.DistributedTask.WebApi.TaskAgentJobStillRunningException, Sdk",
    "typeKey": "TaskAgentJobStillRunningException",
    "message": 'Runner "box-1" is still running a job"',
}
UNKNOWN = {"typeKey": "TaskAgentNotFoundException", "message": "No agent found."}
NOT_FOUND = {"message": "Not Found", "documentation_url": "https://docs.github.com/rest"}
BUSY_BY_REST = {
    "message": 'Bad request - Runner "box-1" is still running a job"',
    "documentation_url": "https://docs.github.com/rest",
}
GRANT = {"access_token": JWT, "token_type": "JWT", "expires_in": 3000}
INVALID = {"error": "invalid_client", "error_description": "No such client."}
CLOCK = {
    "error": "invalid_client",
    "error_description": (
        "The bearer token expired on 11/26/2026 17:00:00. "
        "Current server time is 11/26/2026 17:30:00."
    ),
}


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch):
    """Retry after a moment, through no proxy, and without the library's own log."""
    backoff = api.backoff

    def impatient():
        pause = backoff()
        return lambda error: 0.001 if pause(error) is not False else False

    monkeypatch.setattr(api, "backoff", impatient)
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    stamina.instrumentation.set_on_retry_hooks([])
    yield
    stamina.instrumentation.set_on_retry_hooks(None)


@asynccontextmanager
async def github(*answers):
    """Serve `answers` in turn, each (status, body[, headers]) or a function of the request."""
    script, seen = list(answers), []

    async def serve(request):
        body = await request.text()
        found = SimpleNamespace(
            line=f"{request.method} {request.path_qs}", headers=request.headers, body=body
        )
        seen.append(found)
        answer = script.pop(0)
        if callable(answer):
            return await answer(request)
        status, body, *headers = answer
        text = body if isinstance(body, str) else json.dumps(body)
        more = dict(*headers)
        kind = more.pop("Content-Type", "application/json")
        return web.Response(status=status, text=text, headers=more, content_type=kind)

    runner = web.ServerRunner(web.Server(serve), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    served = SimpleNamespace(url=f"http://127.0.0.1:{port}", port=port, seen=seen, script=script)
    try:
        yield served
    finally:
        await runner.cleanup()


@asynccontextmanager
async def asked(*answers, at="/octo/repo"):
    """Give a client of the GitHub that serves `answers`; all of them must have been asked for."""
    async with github(*answers) as served, ActionsService(served.url + at) as service:
        yield service, served
    assert not served.script


def exchange(use_v2_flow=False):
    """Answer an exchange, with the server's own tenant."""

    async def answer(request):
        return web.json_response(
            {
                "url": f"{request.url.origin()}/tenant/",
                "token_schema": "OAuthAccessToken",
                "token": JWT,
                "use_v2_flow": use_v2_flow,
            }
        )

    return answer


async def hang(request):
    """Never answer."""
    await asyncio.Event().wait()


async def drop(request):
    """Close the connection without an answer."""
    request.transport.close()
    return web.Response()


def lines(served):
    """List the requests that the server got."""
    return [one.line for one in served.seen]


# --- exchange -------------------------------------------------------------------------------------


@on_both
@pytest.mark.parametrize("event", ["register", "remove"])
@pytest.mark.parametrize("admin", [False, True])
def test_a_token_is_exchanged_as_the_runner_does_it(loop, event, admin):
    """The recorded request is sent, and the recorded answer is read."""

    async def play():
        async with asked(exchange(admin)) as (service, served):
            got = await service.exchange(TOKEN, event)
            assert got.service_url == f"{served.url}/tenant"
            assert (got.token, got.use_v2_flow) == (JWT, admin)
            assert JWT not in repr(got)
            (request,) = served.seen
            assert request.line == f"POST {EXCHANGE}"
            assert request.headers["Authorization"] == f"RemoteAuth {TOKEN}"
            assert request.headers["Content-Type"] == "application/json"
            body = {"url": f"{served.url}/octo/repo", "runner_event": event}
            assert json.loads(request.body) == body

    run(loop, play())


@on_both
@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refused_token_is_refused_at_once(loop, status):
    """No retry changes it, and the error has GitHub's words and the request's id."""

    async def play():
        refusal = status, {"message": "Bad credentials"}, {"X-GitHub-Request-Id": "A1:B2"}
        async with asked(refusal) as (service, _):
            with pytest.raises(
                PermissionDenied, match=rf"answers {status}: Bad credentials \(request A1:B2\)"
            ) as caught:
                await service.exchange(TOKEN)
            assert TOKEN not in str(caught.value)
            assert caught.value.status == status

    run(loop, play())


@on_both
def test_a_fresh_token_is_given_time_to_become_known(loop):
    """A 401 of a token that was minted a moment ago is repeated twice; a 404 is final."""

    async def play():
        refusal = 401, {"message": "Bad credentials"}
        async with asked(refusal, refusal, exchange()) as (service, _):
            assert await service.exchange(TOKEN, fresh=True)
        async with asked(refusal, refusal, refusal) as (service, _):
            with pytest.raises(PermissionDenied) as caught:
                await service.exchange(TOKEN, fresh=True)
            assert caught.value.tries == 3
        async with asked((404, NOT_FOUND)) as (service, _):
            with pytest.raises(PermissionDenied):
                await service.exchange(TOKEN, fresh=True)

    run(loop, play())


@on_both
@pytest.mark.parametrize(
    "body",
    [
        "",
        "<html>",
        "[" * 100_000,
        "[]",
        '{"token": "a"}',
        '{"url": "https://x/", "token": "a"}',
        '{"url": "http://x/?a=b", "token": "a"}',
        '{"url": "http://u@x/", "token": "a"}',
        '{"url": "http://x/"}',
        '{"url": "http://x/", "token": "a\\r\\nb"}',
        '{"url": "http://x/", "token": ""}',
        " " * (LONGEST_BODY + 1),
    ],
)
def test_an_exchange_that_cannot_be_read_is_repeated(loop, body):
    """Garbage is repeated and never believed; of a body that is too long only a part is read."""

    async def play():
        async with asked((200, body), exchange()) as (service, _):
            assert await service.exchange(TOKEN)
        async with asked((200, body)) as (service, _):
            with pytest.raises(TransientError):
                await service.exchange(TOKEN, tries=1)

    run(loop, play())


# --- every call -----------------------------------------------------------------------------------


@on_both
def test_a_server_in_trouble_is_asked_again(loop):
    """5xx, a broken connection, a 408 and a rate limit are repeated."""

    async def play():
        limit = 403, {"message": "You have exceeded a secondary rate limit."}
        async with asked(
            (503, "down", {"Content-Type": "text/plain"}), drop, (408, {}), limit, exchange()
        ) as (service, served):
            await service.exchange(TOKEN)
            assert len(served.seen) == 5

    run(loop, play())


@on_both
@pytest.mark.parametrize(
    ("status", "headers", "seconds"),
    [
        (429, {"Retry-After": "7"}, 7.0),
        (403, {"Retry-After": "x"}, None),
        (429, {"Retry-After": "-1"}, None),
        (429, {}, None),
        (403, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1"}, 0.0),
    ],
)
def test_a_rate_limit_says_how_long(loop, status, headers, seconds):
    """The error has the seconds that GitHub names, and None where it names none."""

    async def play():
        async with asked((status, {}, headers)) as (service, _):
            with pytest.raises(RateLimited) as caught:
                await service.exchange(TOKEN, tries=1)
            assert caught.value.seconds == seconds

    run(loop, play())


@on_both
def test_a_server_that_does_not_answer_is_given_up(loop, monkeypatch):
    """Each try has a deadline."""
    monkeypatch.setattr(api, "CALL", aiohttp.ClientTimeout(total=0.1))

    async def play():
        # On a busy machine a try may end before the server has seen it.
        async with github(hang, hang) as served, ActionsService(f"{served.url}/octo") as service:
            with pytest.raises(TransientError, match=r"no answer within 0\.1 s") as caught:
                await service.exchange(TOKEN, tries=2)
            assert caught.value.tries == 2

    run(loop, play())


@on_both
def test_a_server_that_is_not_there_is_named(loop):
    """A refused connection is repeated."""

    async def play():
        async with github() as served:
            pass
        async with ActionsService(f"{served.url}/octo") as service:
            with pytest.raises(TransientError, match="cannot POST http:"):
                await service.exchange(TOKEN, tries=2)

    run(loop, play())


@on_both
@pytest.mark.parametrize("status", [302, 307, 308])
def test_no_redirect_is_followed(loop, status):
    """A token goes to the host of the settings and to no other."""

    async def play():
        async with github() as other:
            redirect = status, "", {"Location": f"{other.url}/"}
            async with asked(redirect) as (service, _):
                with pytest.raises(GitHubError, match=f"answers {status}"):
                    await service.exchange(TOKEN)
            assert not other.seen

    run(loop, play())


@on_both
@pytest.mark.parametrize(
    ("url", "call"),
    [
        ("http://octo.ghe.com/o/r", "POST http://api.octo.ghe.com/actions/runner-registration"),
        ("http://octo.ghe.com/o", "POST http://api.octo.ghe.com/actions/runner-registration"),
        ("http://git.example/o/r", "POST http://git.example/api/v3/actions/runner-registration"),
        ("https://github.com/o/r", "CONNECT api.github.com:443"),
        ("https://octo.ghe.com/o/r", "CONNECT api.octo.ghe.com:443"),
        ("https://git.example:8443/o", "CONNECT git.example:8443"),
    ],
)
def test_each_kind_of_github_is_asked_through_the_environments_proxy(loop, url, call, monkeypatch):
    """github.com, GHE.com and GHES have the API where the runner looks; proxies are used."""
    seen = []

    async def play():
        async def serve(reader, writer):
            seen.append((await reader.readuntil(b"\r\n\r\n")).decode())
            writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
            writer.close()

        async with serving(serve) as server:
            proxy = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            monkeypatch.setenv("http_proxy", proxy)
            monkeypatch.setenv("https_proxy", proxy)
            async with ActionsService(url) as service:
                with pytest.raises(TransientError):
                    await service.exchange(TOKEN, tries=1)

    run(loop, play())
    assert seen[0].startswith(f"{call} HTTP/1.1")


@on_both
def test_a_netrc_changes_nothing(loop, monkeypatch, tmp_path):
    """A job of the agent's own user can write `~/.netrc`: it is not read."""
    (tmp_path / "netrc").write_text("default login job password job")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))

    async def play():
        async with asked(exchange(), (204, "")) as (service, served):
            assert await service.deregister(TOKEN, 7)
            assert served.seen[0].headers["Authorization"] == f"RemoteAuth {TOKEN}"

    run(loop, play())


# --- deregister -----------------------------------------------------------------------------------


@on_both
def test_a_runner_is_removed_in_the_tenant_flow(loop):
    """Two requests: the exchange, and the recorded DELETE with its bearer token."""

    async def play():
        async with asked(exchange(), (204, "")) as (service, served):
            assert await service.deregister(TOKEN, 7)
            assert lines(served) == [f"POST {EXCHANGE}", f"DELETE {AGENT}"]
            assert json.loads(served.seen[0].body)["runner_event"] == "remove"
            assert served.seen[1].headers["Authorization"] == f"Bearer {JWT}"

    run(loop, play())


@on_both
def test_a_pool_can_be_named(loop):
    """The default is 0, every pool, as in the record."""

    async def play():
        async with asked(exchange(), (204, "")) as (service, served):
            assert await service.deregister(TOKEN, 7, pool_id=3, admin_flow=False)
            assert "/pools/3/agents/7?" in served.seen[1].line

    run(loop, play())


@on_both
@pytest.mark.parametrize("more", [{}, {"typeName": None, "typeKey": BUSY["typeKey"]}])
def test_a_busy_runner_stays_in_the_tenant_flow(loop, more):
    """The exception counts, not the status; it is not asked again."""

    async def play():
        async with asked(exchange(), (400, {**BUSY, **more})) as (service, _):
            with pytest.raises(RunnerBusy, match="still running a job"):
                await service.deregister(TOKEN, 7)

    run(loop, play())


@on_both
@pytest.mark.parametrize("answer", [(404, ""), (400, UNKNOWN), (404, UNKNOWN)])
def test_an_unknown_runner_is_gone_in_the_tenant_flow(loop, answer):
    """By status, or by the exception."""

    async def play():
        async with asked(exchange(), answer) as (service, _):
            assert not await service.deregister(TOKEN, 7)

    run(loop, play())


@on_both
def test_a_tenant_in_trouble_is_asked_again(loop):
    """503 is repeated with the same bearer token; a refusal is not."""

    async def play():
        async with asked(exchange(), (503, "x"), drop, (204, "")) as (service, served):
            assert await service.deregister(TOKEN, 7)
            assert [line.split()[0] for line in lines(served)] == ["POST"] + 3 * ["DELETE"]
        async with asked(exchange(), (401, {"message": "no"})) as (service, _):
            with pytest.raises(PermissionDenied):
                await service.deregister(TOKEN, 7)
        async with asked(exchange(), (400, {"message": "no"})) as (service, _):
            with pytest.raises(GitHubError, match="400: no"):
                await service.deregister(TOKEN, 7)

    run(loop, play())


@on_both
@pytest.mark.parametrize(
    ("at", "path"),
    [
        ("/octo/repo", "/repos/octo/repo"),
        ("/octo", "/orgs/octo"),
        ("/enterprises/big", "/enterprises/big"),
    ],
)
def test_a_runner_is_removed_in_the_admin_flow(loop, at, path):
    """One request, in each kind of scope."""

    async def play():
        async with asked((204, ""), at=at) as (service, served):
            assert await service.deregister(TOKEN, 7, admin_flow=True)
            assert lines(served) == [f"DELETE /api/v3{path}/actions/runners/7"]
            assert served.seen[0].headers["Authorization"] == f"RemoteAuth {TOKEN}"

    run(loop, play())


@on_both
def test_the_exchange_says_which_flow_it_is(loop):
    """Where the caller does not know how the runner was registered."""

    async def play():
        async with asked(exchange(use_v2_flow=True), (204, "")) as (service, served):
            assert await service.deregister(TOKEN, 7)
            assert served.seen[1].line == f"DELETE {RUNNERS}/7"
        async with asked(exchange(use_v2_flow=True), (204, "")) as (service, served):
            assert await service.deregister(TOKEN, 7, admin_flow=False)
            assert served.seen[1].line == f"DELETE {AGENT}"

    run(loop, play())


@on_both
def test_a_busy_runner_stays_in_the_admin_flow(loop):
    """422 means that a job runs."""

    async def play():
        async with asked((422, BUSY_BY_REST)) as (service, _):
            with pytest.raises(RunnerBusy, match="still running a job"):
                await service.deregister(TOKEN, 7, admin_flow=True)

    run(loop, play())


@on_both
def test_a_404_means_gone_only_while_the_token_is_good(loop):
    """Both get a 404: the runner is gone only if the token is still good."""

    async def play():
        async with asked((404, NOT_FOUND), exchange(use_v2_flow=True)) as (service, _):
            assert not await service.deregister(TOKEN, 7, admin_flow=True)
        async with asked((404, NOT_FOUND), (404, NOT_FOUND)) as (service, _):
            with pytest.raises(PermissionDenied, match="runner-registration"):
                await service.deregister(TOKEN, 7, admin_flow=True)
        async with asked((503, ""), (401, {})) as (service, _):
            with pytest.raises(PermissionDenied):
                await service.deregister(TOKEN, 7, admin_flow=True)

    run(loop, play())


# --- does GitHub still know it? -------------------------------------------------------------------

MINE, OTHER = {"id": 7, "name": "box-1"}, {"id": 8, "name": "box-1"}


@on_both
@pytest.mark.parametrize(("listed", "known"), [([MINE], True), ([OTHER], False), ([], False)])
def test_a_runner_is_looked_up_with_a_registration_token(loop, listed, known):
    """In both flows; a namesake that came after it is another runner."""

    async def play():
        pool = 200, {"count": len(listed), "value": listed}
        async with asked(exchange(), pool) as (service, served):
            assert await service.has_runner(TOKEN, 7, "box-1") is known
            assert served.seen[1].line == f"GET {NAMED}"
            assert served.seen[1].headers["Authorization"] == f"Bearer {JWT}"
        rest = 200, {"total_count": len(listed), "runners": listed}
        for answers, flow in (([rest], True), ([exchange(use_v2_flow=True), rest], None)):
            async with asked(*answers) as (service, served):
                assert await service.has_runner(TOKEN, 7, "box-1", admin_flow=flow) is known
                assert served.seen[-1].line == f"GET {RUNNERS}?name=box-1"
                assert served.seen[-1].headers["Authorization"] == f"RemoteAuth {TOKEN}"

    run(loop, play())


@on_both
def test_a_list_that_proves_nothing_is_no_answer(loop):
    """A refusal, a list of other names, and no list do not mean gone."""

    async def play():
        async with asked((404, NOT_FOUND)) as (service, _):
            with pytest.raises(PermissionDenied):
                await service.has_runner(TOKEN, 7, "box-1", admin_flow=True)
        other = {"runners": [{"id": 9, "name": "another"}]}
        async with asked((200, other)) as (service, _):
            with pytest.raises(GitHubError, match="other names"):
                await service.has_runner(TOKEN, 7, "box-1", admin_flow=True)
        async with asked((200, {"runners": None}), (200, {"runners": [3]})) as (service, _):
            with pytest.raises(GitHubError, match="other names"):
                await service.has_runner(TOKEN, 7, "box-1", admin_flow=True)

    run(loop, play())


@on_both
def test_a_body_that_never_ends_is_cut(loop):
    """The client reads a bounded part, then closes the connection."""

    async def endless(request):
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" " * 65536)

    async def play():
        async with asked(endless) as (service, _):
            with pytest.raises(TransientError, match="too long"):
                await service.exchange(TOKEN, tries=1)

    run(loop, play())


# --- the runner's own key -------------------------------------------------------------------------

PRIVATE = rsa.generate_private_key(public_exponent=65537, key_size=2048)
CLIENT = "558f7369-9a4f-4c4b-9513-1b825c3428b1"


def key_files(url, *, fips="True", pascal=False):
    """Write the two files as `configure` does, with a BOM; or as a JIT configuration has them."""
    numbers = PRIVATE.private_numbers()
    public = numbers.public_numbers
    values = {
        "d": numbers.d,
        "dp": numbers.dmp1,
        "dq": numbers.dmq1,
        "exponent": public.e,
        "inverseQ": numbers.iqmp,
        "modulus": public.n,
        "p": numbers.p,
        "q": numbers.q,
    }
    coded = {
        name: base64.b64encode(value.to_bytes((value.bit_length() + 7) // 8, "big")).decode()
        for name, value in values.items()
    }
    data = {"clientId": CLIENT, "authorizationUrl": url, "requireFipsCryptography": fips}
    document = {"scheme": "OAuth", "data": data}
    if pascal:
        coded = {name[0].upper() + name[1:]: value for name, value in coded.items()}
        data = {name[0].upper() + name[1:]: value for name, value in data.items()}
        document = {"Scheme": "OAuth", "Data": data}
    return tuple(json.dumps(each).encode("utf-8-sig") for each in (document, coded))


@on_both
@pytest.mark.parametrize("pascal", [False, True])
@pytest.mark.parametrize(("fips", "algorithm"), [("True", "PS256"), ("False", "RS256")])
def test_github_is_asked_with_the_runners_own_key(loop, pascal, fips, algorithm):
    """The assertion is verified with the registered key: claims, algorithm, audience, lifetime."""

    async def play():
        async with asked((200, GRANT)) as (service, served):
            url = f"{served.url}/oauth/token"
            key = RunnerKey.read(*key_files(url, fips=fips, pascal=pascal))
            assert str(PRIVATE.private_numbers().d) not in repr(key)
            assert await service.knows_key(key)
            (request,) = served.seen
            assert request.line == "POST /oauth/token"
            assert "Authorization" not in request.headers
            form = dict(part.split("=", 1) for part in request.body.split("&"))
            assert form["grant_type"] == "client_credentials"
            assert form["client_assertion_type"] == ASSERTION.replace(":", "%3A")
            claims = jwt.decode(
                form["client_assertion"],
                PRIVATE.public_key(),
                algorithms=[algorithm],
                audience=url,
                issuer=CLIENT,
            )
            assert claims["sub"] == CLIENT
            assert claims["exp"] - claims["nbf"] == LIFETIME
            assert abs(claims["nbf"] - time.time()) < 60
            assert claims["jti"]

    run(loop, play())


@on_both
def test_an_invalid_client_is_gone(loop):
    """With the recorded status 400, or in a 200 as the runner reads it."""

    async def play():
        async with asked((400, INVALID), (200, INVALID)) as (service, served):
            key = RunnerKey.read(*key_files(f"{served.url}/oauth/token"))
            assert await service.knows_key(key) is False
            assert await service.knows_key(key) is False

    run(loop, play())


@on_both
def test_a_wrong_clock_says_nothing_about_the_runner(loop):
    """Neither gone nor there: an error of its own, at once."""

    async def play():
        async with asked((400, CLOCK)) as (service, served):
            key = RunnerKey.read(*key_files(f"{served.url}/oauth/token"))
            with pytest.raises(ClockDiffers, match="Current server time is"):
                await service.knows_key(key)

    run(loop, play())


@on_both
def test_the_clock_is_the_one_that_is_given(loop):
    """Time is an argument."""

    async def play():
        async with github((200, GRANT)) as served:
            async with ActionsService(f"{served.url}/octo", now=lambda: 1000.5) as service:
                await service.knows_key(RunnerKey.read(*key_files(f"{served.url}/x")))
            token = served.seen[0].body.rpartition("client_assertion=")[2]
            claims = jwt.decode(token, options={"verify_signature": False})
            assert (claims["nbf"], claims["exp"]) == (1000, 1000 + LIFETIME)

    run(loop, play())


@on_both
def test_other_oauth_answers_prove_nothing(loop):
    """5xx and garbage are repeated, a refusal of another kind is final."""

    async def play():
        async with asked((500, INVALID), (200, "<html>"), (200, {}), (200, GRANT)) as (
            service,
            served,
        ):
            key = RunnerKey.read(*key_files(f"{served.url}/oauth/token"))
            assert await service.knows_key(key)
        async with asked((400, {"error": "invalid_request"}), (404, "")) as (service, served):
            key = RunnerKey.read(*key_files(f"{served.url}/oauth/token"))
            with pytest.raises(GitHubError, match="invalid_request"):
                await service.knows_key(key)
            with pytest.raises(PermissionDenied):
                await service.knows_key(key)

    run(loop, play())


@on_both
def test_a_foreign_authorization_url_is_not_asked(loop):
    """A job can write it: nothing is sent, and nothing is signed."""

    async def play():
        async with github() as other, asked() as (service, _):
            for url in (f"{other.url}/oauth/token", "http://evil.example/oauth/token"):
                with pytest.raises(GitHubError, match="is not GitHub's"):
                    await service.knows_key(RunnerKey.read(*key_files(url)))
            assert not other.seen

    run(loop, play())


@pytest.mark.parametrize(
    ("url", "github_url", "service", "right"),
    [
        ("https://vstoken.actions.githubusercontent.com/x", "https://github.com/o", None, True),
        ("https://api.github.com/x", "https://www.github.com/o/r", None, True),
        ("https://x.actions.githubusercontent.com/x", "https://octo.ghe.com/o", None, True),
        ("https://token.actions.octo.ghe.com/x", "https://octo.ghe.com/o", None, True),
        ("https://GIT.example/_services/x", "https://git.example/o", None, True),
        ("https://git.example:8443/x", "https://git.example:8443/o", None, True),
        ("https://t.other/x", "https://git.example/o", "https://t.other/tenant", True),
        ("https://t.other:99/x", "https://git.example/o", "https://t.other:99/tenant", True),
        ("https://t.other/x", "https://git.example/o", None, False),
        ("https://evil.ghe.com/x", "https://octo.ghe.com/o", None, False),
        ("https://x.actions.githubusercontent.com/x", "https://git.example/o", None, False),
        ("https://evilgithub.com/x", "https://github.com/o", None, False),
        ("https://github.com.evil/x", "https://github.com/o", None, False),
        ("https://actions.githubusercontent.com.evil/x", "https://github.com/o", None, False),
        ("http://github.com/x", "https://github.com/o", None, False),
        ("https://github.com:8443/x", "https://github.com/o", None, False),
        ("https://git.example:99999/x", "https://git.example/o", None, False),
        ("https://evil\\@github.com/x", "https://github.com/o", None, False),
        ("https://github.com@evil/x", "https://github.com/o", None, False),
        ("https://evil/#@github.com/", "https://github.com/o", None, False),
        ("https://githüb.com/x", "https://github.com/o", None, False),
        ("file:///etc/passwd", "https://github.com/o", None, False),
        ("", "https://github.com/o", None, False),
    ],
)
def test_only_addresses_of_the_same_github_are_services(url, github_url, service, right):
    """Each rule of the docstring, and addresses that only look like those of GitHub."""
    assert is_service_url(url, github_url, service) is right


GOOD = key_files("https://github.com/x")


@pytest.mark.parametrize(
    ("credentials", "numbers"),
    [
        (b"", GOOD[1]),
        (b"\xff", GOOD[1]),
        (b"[" * 60_000, GOOD[1]),
        (b" " * 70_000, GOOD[1]),
        (b"[]", GOOD[1]),
        (b'{"data": {"clientId": 3, "authorizationUrl": "x"}}', GOOD[1]),
        (GOOD[0], b"{}"),
        (GOOD[0], b"\x01\x00\x00encrypted"),
        (GOOD[0], GOOD[1].replace(b'"AQAB"', b'"A!"')),
        (GOOD[0], GOOD[1].replace(b'"AQAB"', b'"' + b"A" * 4000 + b'"')),
    ],
)
def test_a_key_that_is_none_is_refused(credentials, numbers):
    """Whatever stands in the files, the outcome is one error, without their content."""
    with pytest.raises(GitHubError, match="cannot read the runner's key"):
        RunnerKey.read(credentials, numbers)


def test_numbers_that_make_no_key_are_refused():
    """The error holds nothing of the key."""
    key = RunnerKey.read(GOOD[0], GOOD[1].replace(b'"AQAB"', b'"AQAC"'))
    with pytest.raises(GitHubError, match="no RSA key") as caught:
        key.assertion(0)
    assert caught.value.__suppress_context__
