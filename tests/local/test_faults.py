"""The misbehaving proxy, seen by raw sockets and by AWS's own client."""

import asyncio
import json
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiobotocore.session import get_session
from aiohttp import web
from botocore.config import Config
from botocore.exceptions import ClientError

from local import aws as local_aws
from local import faults
from local.faults import Limit, Rule


def run(coroutine):
    """Run a test's coroutine, bounded."""
    return asyncio.run(asyncio.wait_for(coroutine, 120))


@asynccontextmanager
async def upstream(answer):
    """Serve `answer` as what stands behind the proxy."""
    runner = web.ServerRunner(web.Server(answer, handler_cancellation=True), shutdown_timeout=0.01)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def echo(request):
    """Answer with what was asked, so that a change on the way shows."""
    sent = {
        "method": request.method,
        "path": request.raw_path,
        "headers": dict(request.headers),
        "body": (await request.read()).decode(),
    }
    return web.json_response(sent, status=201, headers={"X-Kept": "yes"})


@asynccontextmanager
async def echoing(*rules, **options):
    """Put the proxy with `rules` before `echo`, beside a client."""
    async with (
        upstream(echo) as behind,
        faults.serving(behind, rules=rules, **options) as proxy,
        aiohttp.ClientSession(proxy.url) as client,
    ):
        yield proxy, client


async def raw(proxy, head=b"GET /thing HTTP/1.1\r\nHost: here\r\n\r\n"):
    """Send `head` by a socket; give all that came back until the connection ended."""
    reader, writer = await asyncio.open_connection(*proxy.url.removeprefix("http://").split(":"))
    try:
        writer.write(head)
        return await reader.read()
    finally:
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)


@asynccontextmanager
async def ssm(endpoint):
    """Give AWS's own client, which tries each call once."""
    config = Config(retries={"total_max_attempts": 1}, read_timeout=60)
    async with get_session().create_client(
        "ssm",
        region_name="eu-central-1",
        endpoint_url=endpoint,
        aws_access_key_id="x",
        aws_secret_access_key="x",
        config=config,
    ) as client:
        yield client


def test_what_no_rule_concerns_passes_unchanged():
    """Method, escaped path, query, host, headers, body and status arrive as they were sent."""

    async def life():
        async with echoing() as (proxy, client):
            url = proxy.url + "/a%2Fb?q=%20x"
            async with client.put(
                aiohttp.client.URL(url, encoded=True), data=b"hello", headers={"X-Mine": "1"}
            ) as reply:
                sent = await reply.json()
                assert (reply.status, reply.headers["X-Kept"]) == (201, "yes")
            assert (sent["method"], sent["path"]) == ("PUT", "/a%2Fb?q=%20x")
            assert sent["body"] == "hello"
            assert sent["headers"]["X-Mine"] == "1"
            assert f"http://{sent['headers']['Host']}" == proxy.url
            (seen,) = proxy.requests
            assert (seen.method, seen.path, seen.status) == ("PUT", "/a%2Fb?q=%20x", 201)

    run(life())


def test_an_answer_is_handed_on_while_it_is_still_being_written():
    """The first line of a long poll arrives before the upstream has ended its answer."""
    more = asyncio.Event()

    async def slowly(request):
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"first\n")
        await more.wait()
        await response.write(b"last\n")
        return response

    async def life():
        async with (
            upstream(slowly) as behind,
            faults.serving(behind) as proxy,
            aiohttp.ClientSession() as client,
            client.get(proxy.url) as reply,
        ):
            assert await reply.content.readline() == b"first\n"
            more.set()
            assert await reply.content.readline() == b"last\n"

    run(life())


def test_a_client_that_leaves_ends_the_request_upstream():
    """A long poll that was given up does not linger behind the proxy."""
    arrived, left = asyncio.Event(), asyncio.Event()

    async def polled(_request):
        arrived.set()
        try:
            await asyncio.Event().wait()
        finally:
            left.set()

    async def life():
        async with upstream(polled) as behind, faults.serving(behind) as proxy:
            poll = asyncio.create_task(raw(proxy))
            await arrived.wait()
            poll.cancel()
            await left.wait()

    run(life())


def test_an_upstream_that_is_gone_is_a_502():
    """The proxy says so, instead of breaking itself."""

    async def life():
        async with (
            faults.serving("http://127.0.0.1:9") as proxy,
            aiohttp.ClientSession() as client,
            client.get(proxy.url) as reply,
        ):
            assert reply.status == 502
            assert "cannot reach upstream" in await reply.text()

    run(life())


def test_reset_is_a_reset():
    """The client's socket sees RST, which is not the same as an end of file."""

    async def life():
        async with echoing(Rule("reset")) as (proxy, _):
            with pytest.raises(ConnectionResetError):
                await raw(proxy)
            assert proxy.requests[0].status is None

    run(life())


def test_close_is_an_end_without_an_answer():
    """The connection ends in good order, with no answer."""

    async def life():
        async with echoing(Rule("close")) as (proxy, _):
            assert await raw(proxy) == b""

    run(life())


def test_hang_never_answers_and_does_not_hold_up_the_end():
    """The request is taken and stays open; leaving the proxy ends it at once."""

    async def life():
        async with echoing(Rule("hang")) as (proxy, _):
            asked = asyncio.create_task(raw(proxy))
            await proxy.reached(1)
            assert not asked.done()
        assert await asked == b""

    run(life())


def test_not_http_is_no_http():
    """What arrives has no status line."""

    async def life():
        async with echoing(Rule("not-http")) as (proxy, client):
            assert not (await raw(proxy)).startswith(b"HTTP/")
            with pytest.raises(aiohttp.ClientError):
                await client.get("/")

    run(life())


def test_not_json_is_a_web_page_with_status_200():
    """A captive portal's page is what a client that trusts the status would parse."""

    async def life():
        async with echoing(Rule("not-json")) as (_, client), client.get("/") as reply:
            assert (reply.status, reply.content_type) == (200, "text/html")
            with pytest.raises(json.JSONDecodeError):
                json.loads(await reply.text())

    run(life())


def test_truncate_promises_more_than_it_sends():
    """The head and half the body arrive, then the connection ends."""

    async def life():
        async with echoing(Rule("truncate")) as (proxy, _):
            head, _, body = (await raw(proxy)).partition(b"\r\n\r\n")
            sent = next(line for line in head.split(b"\r\n") if line.startswith(b"Content-Length"))
            assert 0 < len(body) < int(sent.split(b":")[1])

    run(life())


def test_delay_answers_later_but_unchanged():
    """The upstream's answer comes, not before the delay is over."""

    async def life():
        async with echoing(Rule("delay", seconds=0.2)) as (_, client):
            loop = asyncio.get_running_loop()
            began = loop.time()
            async with client.get("/") as reply:
                assert reply.status == 201
            assert loop.time() - began >= 0.19

    run(life())


def test_status_answers_with_what_the_rule_holds():
    """Status, headers and a JSON body are the rule's; the upstream is not asked."""
    rule = Rule("status", status=403, headers={"Retry-After": "7"}, body='{"message": "slow"}')

    async def life():
        async with echoing(rule) as (_, client), client.get("/") as reply:
            assert (reply.status, reply.headers["Retry-After"]) == (403, "7")
            assert await reply.json() == {"message": "slow"}
            assert "X-Kept" not in reply.headers

    run(life())


def test_forward_lets_the_upstream_act_and_loses_only_its_answer():
    """The case of a name that is taken because the first answer was lost."""
    acted = []

    async def create(request):
        acted.append(await request.text())
        return web.Response(status=201)

    async def life():
        rule = Rule("reset", forward=True)
        async with upstream(create) as behind, faults.serving(behind, rules=[rule]) as proxy:
            with pytest.raises(ConnectionResetError):
                await raw(proxy, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nme")

    run(life())
    assert acted == ["me"]


def test_rules_choose_by_method_path_and_target_and_count():
    """Each of `method`, `path`, `target`, `skip` and `times` narrows what a rule is for."""
    rules = (
        Rule("status", status=501, method="DELETE"),
        Rule("status", status=502, path=r"^/orgs/[^/]+$"),
        Rule("status", status=503, target="GetParameter", skip=1, times=1),
    )

    async def life():
        async with echoing(*rules) as (proxy, client):

            async def status(method, path, operation=None):
                headers = {"X-Amz-Target": f"AmazonSSM.{operation}"} if operation else {}
                async with client.request(method, path, headers=headers) as reply:
                    return reply.status

            assert await status("DELETE", "/x") == 501
            assert await status("GET", "/orgs/o") == 502
            assert await status("GET", "/orgs/o/x") == 201
            assert await status("POST", "/", "GetParametersByPath") == 201
            answers = [await status("POST", "/", "GetParameter") for _ in range(3)]
            assert answers == [201, 503, 201]
            assert [one.matched for one in proxy.applied] == [1, 1, 1]
            assert len(proxy.seen(target="GetParameter")) == 3
            proxy.clear()
            assert await status("DELETE", "/x") == 201

    run(life())


@pytest.mark.parametrize(
    ("error", "code", "status", "says"),
    [
        ("ThrottlingException", "ThrottlingException", 400, "Rate exceeded"),
        ("AccessDeniedException", "AccessDeniedException", 400, "not authorized"),
        ("KmsAccessDenied", "AccessDeniedException", 400, "customer master key"),
        ("InvalidKeyId", "InvalidKeyId", 400, "key ID"),
        ("InternalServerError", "InternalServerError", 500, "server side"),
        ("ParameterNotFound", "ParameterNotFound", 400, "ParameterNotFound"),
    ],
)
def test_aws_s_client_understands_the_errors(aws, error, code, status, says):
    """Each error reaches a real client as AWS's own, for the operation it was meant for only."""
    local_aws.put(aws, "/t", "T")

    async def life():
        rule = Rule("status", target="GetParameter", error=error)
        async with faults.serving(aws, rules=[rule]) as proxy, ssm(proxy.url) as client:
            with pytest.raises(ClientError) as caught:
                await client.get_parameter(Name="/t", WithDecryption=True)
            found = await client.get_parameters(Names=["/t"], WithDecryption=True)
        assert found["Parameters"][0]["Value"] == "T"
        assert caught.value.response["Error"]["Code"] == code
        assert says in caught.value.response["Error"]["Message"]
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status

    run(life())


def test_one_error_takes_the_place_of_another(aws):
    """As a policy by tag does: while there is no parameter, access to it is denied."""
    local_aws.put(aws, "/there", "T")

    async def life():
        rule = Rule("status", error="AccessDeniedException", instead_of="ParameterNotFound")
        async with faults.serving(aws, rules=[rule]) as proxy, ssm(proxy.url) as client:
            found = await client.get_parameter(Name="/there", WithDecryption=True)
            assert found["Parameter"]["Value"] == "T"
            for call in (client.get_parameter, client.delete_parameter):
                with pytest.raises(ClientError) as caught:
                    await call(Name="/missing")
                assert caught.value.response["Error"]["Code"] == "AccessDeniedException"
            assert [seen.fault for seen in proxy.requests] == [None, "status", "status"]

    run(life())


def test_sts_is_refused_in_xml(aws):
    """The query protocol has errors of another form, and its operation is found in the body."""

    async def life():
        rule = Rule("status", target="AssumeRole", error="AccessDenied")
        async with faults.serving(aws, rules=[rule]) as proxy:
            with pytest.raises(ClientError) as caught:
                await asyncio.to_thread(local_aws.assume_role, proxy.url)
            assert caught.value.response["Error"]["Code"] == "AccessDenied"

    run(life())


def test_a_limit_is_shared_by_its_operations_and_fills_again():
    """Get and Put drain one bucket, Delete its own; time fills them, to their size at most."""
    now = [0.0]
    limits = (Limit(("GetParameter", "PutParameter"), 4), Limit(("DeleteParameter",), 1, burst=2))

    async def life():
        async with echoing(limits=limits, clock=lambda: now[0]) as (proxy, client):

            async def refused(*operations):
                answers = []
                for operation in operations:
                    headers = {"X-Amz-Target": f"AmazonSSM.{operation}"}
                    async with client.post("/", headers=headers) as reply:
                        answers.append(b"ThrottlingException" in await reply.read())
                return answers

            mixed = await refused(*["GetParameter", "PutParameter"] * 3)
            assert mixed == [False] * 4 + [True] * 2
            assert await refused(*["DeleteParameter"] * 3) == [False, False, True]
            assert await refused("DescribeParameters") == [False]
            now[0] += 0.5
            assert await refused(*["GetParameter"] * 3) == [False, False, True]
            now[0] += 60
            assert await refused(*["GetParameter"] * 5) == [False] * 4 + [True]
            assert proxy.requests[5].fault == "limit"

    run(life())


def test_the_default_limits_are_parameter_store_s(aws):
    """A burst of 41 reads is throttled once, as the account's default throughput says."""

    async def life():
        options = {"limits": faults.SSM_LIMITS, "clock": lambda: 0.0}
        async with faults.serving(aws, **options) as proxy, ssm(proxy.url) as client:
            asked = [client.get_parameters(Names=["/t"]) for _ in range(41)]
            answers = await asyncio.gather(*asked, return_exceptions=True)
        assert sum(isinstance(answer, ClientError) for answer in answers) == 1

    run(life())


def test_it_is_steered_over_http(started, aws):
    """On its own it takes rules, tells what they matched, logs requests and forgets."""
    url = started("-m", "local.faults", "--upstream", aws, "--ssm-limits")

    async def life():
        async with aiohttp.ClientSession(url) as client, ssm(url) as aws_client:

            async def control(method, path, sent=None):
                async with client.request(method, f"/_local/{path}", json=sent) as reply:
                    return reply.status, await reply.read()

            rule = {"kind": "status", "error": "ThrottlingException", "times": 1}
            assert (await control("POST", "faults", rule))[0] == 204
            with pytest.raises(ClientError, match="ThrottlingException"):
                await aws_client.get_parameters(Names=["/t"])
            await aws_client.get_parameters(Names=["/t"])
            (matched,) = json.loads((await control("GET", "faults"))[1])
            assert (matched["matched"], matched["error"]) == (1, "ThrottlingException")
            log = json.loads((await control("GET", "requests?target=GetParameters&count=2"))[1])
            assert [(seen["fault"], seen["status"]) for seen in log] == [
                ("status", 400),
                (None, 200),
            ]
            assert log[0]["at"] <= log[1]["at"]
            limit = {"targets": ["GetParameters"], "rate": 0, "burst": 0}
            assert (await control("POST", "limits", [limit]))[0] == 204
            with pytest.raises(ClientError, match="Rate exceeded"):
                await aws_client.get_parameters(Names=["/t"])
            assert (await control("DELETE", "faults"))[0] == 204
            await aws_client.get_parameters(Names=["/t"])
            assert await control("GET", "faults") == (200, b"[]")

    run(life())


@pytest.mark.parametrize("sent", [{"kind": "boredom"}, {"kind": "hang", "path": "("}, {"x": 1}])
def test_a_rule_that_makes_no_sense_is_refused(sent):
    """A mistake in a rule is refused at once."""

    async def life():
        async with echoing() as (_, client), client.post("/_local/faults", json=sent) as reply:
            assert reply.status == 400
            assert await reply.text()

    run(life())
