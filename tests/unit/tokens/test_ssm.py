"""The token parameter, in a real SSM behind a proxy that misbehaves on demand."""

import asyncio
import json
import socket
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
import stamina.instrumentation
from aiobotocore.session import get_session
from structlog.testing import capture_logs

from local import aws as local_aws
from local import faults
from local.faults import Rule
from sidecar import tokens
from sidecar.errors import TokenError
from sidecar.log import events as logs
from sidecar.shutdown.cleanup import CleanupStack
from sidecar.tokens import ssm
from sidecar.tokens.ssm import Missing, Parameter, Store, Unavailable, Version
from tests.support.loops import on_both, run

NAME = "/actions/tokens/0f3a"
TOKEN = "AABBCCDD1234567890EXAMPLE"
READ, DELETE = (
    f"cannot read the token parameter {NAME}: ",
    f"cannot delete the token parameter {NAME}: ",
)


LOADER = get_session().get_component("data_loader")


def session():
    """Make a session as the library does, but for the loader."""
    made = get_session()
    made.register_component("data_loader", LOADER)
    return made


@pytest.fixture(autouse=True)
def _world(monkeypatch):
    """Give dummy credentials and short pauses; keep tokens out of the other tests' logs."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "local")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "local")
    monkeypatch.setattr(logs, "_secrets", set())
    # The service's description is parsed once for all tests, not once for each.
    monkeypatch.setattr(ssm, "get_session", session)
    growing = ssm.growing
    monkeypatch.setattr(ssm, "growing", lambda kinds, **_: growing(kinds, first=0.02, longest=0.05))
    stamina.instrumentation.set_on_retry_hooks([])
    yield
    stamina.instrumentation.set_on_retry_hooks(None)


@asynccontextmanager
async def parameter(monkeypatch, endpoint, *rules, **options):
    """Give the parameter, with the proxy that stands before SSM."""
    async with faults.serving(endpoint, rules=rules, **options) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_SSM", proxy.url)
        async with Store(local_aws.REGION) as store:
            yield Parameter(store, NAME), proxy


def put(endpoint, value=TOKEN):
    """Write the parameter from outside."""
    return asyncio.to_thread(local_aws.put, endpoint, NAME, value)


def names(endpoint):
    """List what is there, from outside."""
    return asyncio.to_thread(local_aws.names, endpoint)


# --- one call -----------------------------------------------------------------------------------


@on_both
def test_a_parameter_is_read_and_deleted(loop, aws, monkeypatch):
    """Decrypted, with what tells it apart from its successor; one call each."""

    async def life():
        await put(aws)
        async with parameter(monkeypatch, aws) as (token, proxy):
            value, version = await token.get()
            assert (value, version.number) == (TOKEN, 1)
            assert version.modified.tzinfo is not None
            assert (await token.get(decrypt=False))[1] == version
            await token.delete()
            assert await names(aws) == []
            with pytest.raises(Missing, match="there is no such parameter"):
                await token.get()
            with pytest.raises(Missing, match=f"^{DELETE}there is no such parameter"):
                await token.delete()
            assert [seen.target for seen in proxy.requests] == [
                "GetParameter",
                "GetParameter",
                "DeleteParameter",
                "GetParameter",
                "DeleteParameter",
            ]

    run(loop, life())


def answer(body):
    """Answer with a 200 and this body."""
    return Rule("status", status=200, body=body)


@pytest.mark.parametrize(
    ("rule", "kind", "why"),
    [
        (
            Rule("status", error="AccessDeniedException"),
            TokenError,
            "access denied (needs ssm:GetParameter)",
        ),
        (
            Rule("status", error="KmsAccessDenied"),
            TokenError,
            "KMS refuses to decrypt it (needs kms:Decrypt)",
        ),
        (
            Rule("status", error="InvalidKeyId"),
            TokenError,
            "KMS refuses to decrypt it (needs kms:Decrypt)",
        ),
        (Rule("status", error="ThrottlingException"), ssm.Throttled, "throttled by SSM"),
        (
            Rule("status", error="ParameterVersionNotFound"),
            Missing,
            "there is no such parameter (SIDECAR_TOKEN_PARAMETER)",
        ),
        (
            Rule("status", error="ExpiredTokenException"),
            TokenError,
            "AWS does not accept the credentials: ExpiredTokenException",
        ),
        (
            Rule("status", error="ValidationException"),
            TokenError,
            "ValidationException: ValidationException (SIDECAR_TOKEN_PARAMETER)",
        ),
        (
            Rule("status", error="InternalServerError"),
            Unavailable,
            "SSM answers 500 InternalServerError",
        ),
        (Rule("status", status=503, body="<html>"), Unavailable, "SSM answers 503 "),
        (Rule("status", status=429, body="{}"), Unavailable, "SSM answers 429 "),
        (Rule("reset"), Unavailable, "no network path to SSM"),
        (Rule("close"), Unavailable, "no network path to SSM"),
        (Rule("not-http"), Unavailable, "no network path to SSM"),
        (Rule("truncate"), Unavailable, "no network path to SSM"),
        (Rule("not-json"), Unavailable, "unreadable answer: "),
        (answer("{}"), Unavailable, "unreadable answer: 'Parameter'"),
        (answer("[]"), Unavailable, "unreadable answer: "),
        (answer('"x"'), Unavailable, "unreadable answer: "),
        (answer('{"Parameter": null}'), Unavailable, "unreadable answer: "),
        (answer('{"Parameter": {"Value": "x"}}'), Unavailable, "unreadable answer: "),
        (answer('{"Parameter": {"LastModifiedDate": "soon"}}'), Unavailable, "unreadable answer: "),
    ],
    ids=lambda case: case.error or case.kind + case.body if isinstance(case, Rule) else None,
)
def test_each_failure_names_what_to_change(aws, monkeypatch, rule, kind, why):
    """The permission, the setting or the network; what may pass is told from what will not."""

    async def life():
        await put(aws)
        async with parameter(monkeypatch, aws, rule) as (token, _):
            await token.get()

    with pytest.raises(TokenError) as failed:
        run("asyncio", life())
    assert str(failed.value).startswith(READ + why)
    assert type(failed.value) is kind
    assert TOKEN not in str(failed.value)


def test_a_refusal_to_delete_names_its_own_permission(aws, monkeypatch):
    """Reading needs one permission, deleting another."""

    async def life():
        rule = Rule("status", target="DeleteParameter", error="AccessDeniedException")
        async with parameter(monkeypatch, aws, rule) as (token, _):
            await token.delete()

    with pytest.raises(TokenError) as failed:
        run("asyncio", life())
    assert str(failed.value) == DELETE + "access denied (needs ssm:DeleteParameter)"


@on_both
def test_a_service_that_hangs_is_no_network(loop, aws, monkeypatch):
    """Each call has a deadline of its own."""
    monkeypatch.setattr(ssm, "CALLS", ssm.CALLS.merge(ssm.AioConfig(read_timeout=0.1)))

    async def life():
        async with parameter(monkeypatch, aws, Rule("hang")) as (token, _):
            await token.get()

    with pytest.raises(Unavailable, match=r"no network path to SSM .*imeout"):
        run(loop, life())


@on_both
def test_an_unreachable_service_is_no_network(loop, monkeypatch):
    """Refused, or without a name in DNS: both say what the VPC may lack."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]

        async def life():
            monkeypatch.setenv("AWS_ENDPOINT_URL_SSM", f"http://127.0.0.1:{port}")
            async with Store(local_aws.REGION) as store:
                await Parameter(store, NAME).get()

        with pytest.raises(Unavailable, match=r"no network path to SSM \(a NAT gateway or an ssm"):
            run(loop, life())


@on_both
def test_no_credentials_is_told(loop, monkeypatch):
    """Not even the machine's own are asked for here."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")

    async def life():
        async with Store(local_aws.REGION) as store:
            await Parameter(store, NAME).get()

    with pytest.raises(TokenError) as failed:
        run(loop, life())
    assert str(failed.value) == READ + "no AWS credentials (the task needs a taskRoleArn)"


def test_credentials_that_cannot_be_had_may_come(aws, monkeypatch):
    """The ECS agent throttles or is restarted: that passes."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_METADATA_SERVICE_TIMEOUT", "1")

    async def life():
        async with faults.serving("http://127.0.0.1:9", rules=[Rule("status", status=400)]) as ecs:
            monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{ecs.url}/v2/credentials/x")
            async with Store(local_aws.REGION) as store:
                await Parameter(store, NAME).get()

    with pytest.raises(Unavailable, match="the task role's credentials cannot be had"):
        run("asyncio", life())


@on_both
def test_no_region_is_told(loop, monkeypatch):
    """With the variable that sets it."""
    for variable in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(variable)

    async def life():
        async with Store(None) as store:
            await Parameter(store, NAME).get()

    with pytest.raises(TokenError) as failed:
        run(loop, life())
    assert str(failed.value) == READ + "no region is set (set AWS_REGION)"


@pytest.mark.parametrize(
    ("region", "endpoint"), [("eu central", None), (local_aws.REGION, "no-url")]
)
def test_a_region_or_an_endpoint_that_is_none_is_told(monkeypatch, region, endpoint):
    """Both are the AWS library's settings, and named as such."""
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    if endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL_SSM", endpoint)

    async def life():
        async with Store(region) as store:
            await Parameter(store, NAME).get()

    with pytest.raises(
        TokenError, match=r"\(look at AWS_REGION, AWS_ENDPOINT_URL_SSM\)$"
    ) as failed:
        run("asyncio", life())
    assert not isinstance(failed.value, Unavailable)


def test_what_is_no_failure_of_the_call_passes_through():
    """A bug or a cut stays what it is."""

    async def life(error):
        async with ssm.asking("cannot", "x"):
            raise error

    for error in (ZeroDivisionError, asyncio.CancelledError):
        with pytest.raises(error):
            run("asyncio", life(error))


@on_both
def test_a_call_that_the_library_never_ends_has_an_end(loop, monkeypatch):
    """Whatever it waits for; a cut from outside is no such end."""

    async def life():
        async with ssm.asking("cannot", "x"):
            await asyncio.Event().wait()

    async def cut():
        async with asyncio.timeout(0):
            await life()

    with pytest.raises(TimeoutError):
        run(loop, cut())
    monkeypatch.setattr(ssm, "DEADLINE", 0.01)
    with pytest.raises(Unavailable, match=r"^cannot: no answer within 0.01 s$"):
        run(loop, life())


# --- waiting for it -----------------------------------------------------------------------------


@on_both
def test_a_parameter_may_appear_after_the_task_has_started(loop, aws, monkeypatch):
    """It is asked for again until it is there."""

    async def life():
        async with parameter(monkeypatch, aws) as (token, proxy):
            waiting = asyncio.create_task(ssm.appeared(token, 20))
            await proxy.reached(3, target="GetParameter")
            await put(aws)
            value, version = await waiting
            assert (value, version.number) == (TOKEN, 1)

    run(loop, life())


@on_both
def test_what_passes_is_waited_out(loop, aws, monkeypatch):
    """Throttled, broken off, answered with nonsense, then fine."""

    async def life():
        await put(aws)
        rules = [
            Rule("status", error="ThrottlingException", times=2),
            Rule("reset", times=1),
            Rule("not-json", times=1),
            Rule("status", error="InternalServerError", times=1),
        ]
        async with parameter(monkeypatch, aws, *rules) as (token, proxy):
            assert (await ssm.appeared(token, 20))[0] == TOKEN
            assert len(proxy.requests) == 6

    run(loop, life())


def test_what_does_not_pass_is_not_waited_for(aws, monkeypatch):
    """A refusal ends the wait at once."""

    async def life():
        rule = Rule("status", error="AccessDeniedException")
        async with parameter(monkeypatch, aws, rule) as (token, proxy):
            with pytest.raises(TokenError, match="access denied"):
                await ssm.appeared(token, 20)
            assert len(proxy.requests) == 1

    run("asyncio", life())


@on_both
def test_the_wait_has_an_end(loop, aws, monkeypatch):
    """The error tells the last reason, how long it was, and the setting; it is final."""

    async def life():
        async with parameter(monkeypatch, aws) as (token, _):
            await ssm.appeared(token, 0.2)

    with pytest.raises(TokenError) as failed:
        run(loop, life())
    assert str(failed.value) == (
        READ + "there is no such parameter (SIDECAR_TOKEN_PARAMETER); "
        "waited 0.2 s for it (SIDECAR_TOKEN_TIMEOUT)"
    )
    assert type(failed.value) is TokenError


# --- giving it back -----------------------------------------------------------------------------


@on_both
def test_what_was_read_is_deleted(loop, aws, monkeypatch):
    """Through a throttle, which is slower for deleting than for anything else."""

    async def life():
        await put(aws)
        rules = [
            Rule("status", target="DeleteParameter", error="ThrottlingException", times=2),
            Rule("status", target="GetParameter", error="ThrottlingException", skip=2, times=1),
        ]
        async with parameter(monkeypatch, aws, *rules) as (token, proxy):
            _, version = await token.get()
            with capture_logs() as events:
                await ssm.deleted(token, version)
            assert events[-1]["event"] == "token.deleted"
            assert len(proxy.seen(target="DeleteParameter")) == 3
        assert await names(aws) == []

    run(loop, life())


@on_both
def test_a_delete_whose_answer_was_lost_is_done(loop, aws, monkeypatch):
    """The second try finds nothing, which is what was wanted."""

    async def life():
        await put(aws)
        rule = Rule("reset", target="DeleteParameter", forward=True, times=1)
        async with parameter(monkeypatch, aws, rule) as (token, _):
            _, version = await token.get()
            with capture_logs() as events:
                await ssm.deleted(token, version)
            assert [event["event"] for event in events] == ["token.already_deleted"]
        assert await names(aws) == []

    run(loop, life())


@on_both
@pytest.mark.parametrize("how", ["overwritten", "re-created"])
def test_a_successor_s_token_is_kept(loop, aws, monkeypatch, how):
    """Also one that was deleted and written anew, and so bears the same version 1."""

    async def life():
        await put(aws)
        async with parameter(monkeypatch, aws) as (token, proxy):
            _, version = await token.get()
            if how == "re-created":
                await token.delete()
                later = version
                while later.modified == version.modified:  # SSM's clock has a coarse tick
                    await put(aws, "THE-SUCCESSOR-S-TOKEN")
                    _, later = await token.get()
                    if later.modified == version.modified:
                        await token.delete()
                assert later.number == 1
            else:
                assert await put(aws, "THE-SUCCESSOR-S-TOKEN") == 2
            deletes = len(proxy.seen(target="DeleteParameter"))
            with capture_logs() as events:
                await ssm.deleted(token, version)
            assert [event["event"] for event in events] == ["token.kept"]
            assert len(proxy.seen(target="DeleteParameter")) == deletes
        assert await names(aws) == [NAME]

    run(loop, life())


def test_what_was_never_read_is_deleted_all_the_same(aws, monkeypatch):
    """The launcher wrote it for this task, and nobody else will come for it."""

    async def life():
        await put(aws)
        async with parameter(monkeypatch, aws) as (token, _):
            await ssm.deleted(token, None)
        assert await names(aws) == []

    run("asyncio", life())


def test_a_refusal_to_delete_is_final(aws, monkeypatch):
    """It is not asked again what will not change."""

    async def life():
        await put(aws)
        rule = Rule("status", target="DeleteParameter", error="AccessDeniedException")
        async with parameter(monkeypatch, aws, rule) as (token, proxy):
            with pytest.raises(TokenError, match=r"needs ssm:DeleteParameter"):
                await ssm.deleted(token, None)
            assert len(proxy.seen(target="DeleteParameter")) == 1

    run("asyncio", life())


# --- the loan -----------------------------------------------------------------------------------


@on_both
def test_a_loan_is_owed_before_it_is_read_and_given_back_once(loop, aws, monkeypatch):
    """No stop comes too early for it; the token never shows in the log from then on."""

    async def life():
        await put(aws, json.dumps({"token": TOKEN, "name": "n"}))
        cleanup_stack = CleanupStack()
        async with parameter(monkeypatch, aws) as (token, _):
            loan = tokens.claim_parameter(token._store, NAME, cleanup_stack)
            assert cleanup_stack.steps == [loan.cleanup_step]
            assert not loan.usable()
            with capture_logs() as events:
                right = await loan.arrived(20)
            assert (right.token, right.name) == (TOKEN, "n")
            (event,) = [event for event in events if event["event"] == "token.read"]
            assert (event["parameter"], event["version"]) == (NAME, 1)
            assert logs.redacted(f"x{TOKEN}x") == "x***x"
            assert loan.usable()
            assert not loan.usable(datetime.now(UTC) + timedelta(minutes=56))
            await loan.cleanup_step.begin()
            assert loan.cleanup_step.done
        assert await names(aws) == []

    run(loop, life())


def test_a_loan_that_holds_nonsense_is_an_error(aws, monkeypatch):
    """And is given back all the same."""

    async def life():
        await put(aws, "not a token")
        cleanup_stack = CleanupStack()
        async with parameter(monkeypatch, aws) as (token, _):
            loan = tokens.claim_parameter(token._store, NAME, cleanup_stack)
            with pytest.raises(TokenError, match="cannot use the token parameter"):
                await loan.arrived(20)
            await loan.cleanup_step.begin()
        assert await names(aws) == []

    run("asyncio", life())


def test_a_version_is_told_by_number_and_time():
    """Either differs: it is another parameter."""
    now = datetime.now(UTC)
    assert Version(1, now) == Version(1, now)
    assert Version(1, now) != Version(1, now + timedelta(milliseconds=1))
    assert Version(1, now) != Version(2, now)
