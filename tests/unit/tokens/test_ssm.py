"""The token parameter, in a real SSM behind a proxy that fails on demand."""

import asyncio
import dataclasses
import json
import socket
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from local import aws as local_aws
from local import faults
from local.faults import Rule
from sidecar import tokens
from sidecar.aws import session as aws_session
from sidecar.aws.calls import AccessDenied, AwsError, NotFound, RateLimited, TransientError
from sidecar.errors import TokenError
from sidecar.log import masks as logs
from sidecar.shutdown.cleanup import CleanupStack
from sidecar.tokens import ssm
from sidecar.tokens.ssm import Parameter, ParameterStore, ParameterVersion
from tests.support.loops import on_both, run

pytestmark = pytest.mark.usefixtures("short_pauses")

NAME = "/actions/tokens/0f3a"
TOKEN = "AABBCCDD1234567890EXAMPLE"
READ, DELETE = (
    f"cannot read the token parameter {NAME}: ",
    f"cannot delete the token parameter {NAME}: ",
)


@asynccontextmanager
async def parameter(monkeypatch, endpoint, *rules, **options):
    """Yield the parameter, and the proxy in front of SSM."""
    async with faults.serving(endpoint, rules=rules, **options) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_SSM", proxy.url)
        async with ParameterStore(local_aws.REGION) as store:
            yield Parameter(store, NAME), proxy


def put(endpoint, value=TOKEN):
    """Write the parameter from outside."""
    return asyncio.to_thread(local_aws.put, endpoint, NAME, value)


def names(endpoint):
    """List what is there, from outside."""
    return asyncio.to_thread(local_aws.names, endpoint)


# --- one call ------------------------------------------------------------------------------------


@on_both
def test_a_parameter_is_read_and_deleted(loop, aws, monkeypatch):
    """It is read decrypted, with its version; each takes one call."""

    async def life():
        await put(aws)
        async with parameter(monkeypatch, aws) as (token, proxy):
            value, version = await token.read()
            assert (value, version.number) == (TOKEN, 1)
            assert version.modified.tzinfo is not None
            assert (await token.read(decrypt=False))[1] == version
            await token.delete()
            assert await names(aws) == []
            with pytest.raises(NotFound, match="there is no such parameter"):
                await token.read()
            with pytest.raises(NotFound, match=f"^{DELETE}there is no such parameter"):
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
            AccessDenied,
            "access denied (needs ssm:GetParameter)",
        ),
        (
            Rule("status", error="KmsAccessDenied"),
            AwsError,
            "KMS refuses to decrypt it (needs kms:Decrypt)",
        ),
        (
            Rule("status", error="InvalidKeyId"),
            AwsError,
            "KMS refuses to decrypt it (needs kms:Decrypt)",
        ),
        (Rule("status", error="ThrottlingException"), RateLimited, "throttled by SSM"),
        (
            Rule("status", error="ParameterVersionNotFound"),
            NotFound,
            "there is no such parameter (SIDECAR_TOKEN_PARAMETER)",
        ),
        (
            Rule("status", error="ExpiredTokenException"),
            TransientError,
            "the credentials have expired: ExpiredTokenException",
        ),
        (
            Rule("status", error="UnrecognizedClientException"),
            AwsError,
            "AWS does not accept the credentials: UnrecognizedClientException",
        ),
        (
            Rule("status", error="ValidationException"),
            AwsError,
            "SSM answers ValidationException: ValidationException (SIDECAR_TOKEN_PARAMETER)",
        ),
        (
            Rule("status", error="InternalServerError"),
            TransientError,
            "SSM answers 500 InternalServerError",
        ),
        (Rule("status", status=503, body="<html>"), TransientError, "SSM answers 503 "),
        (Rule("status", status=429, body="{}"), RateLimited, "throttled by SSM"),
        (Rule("reset"), TransientError, "no network path to SSM"),
        (Rule("close"), TransientError, "no network path to SSM"),
        (Rule("not-http"), TransientError, "no network path to SSM"),
        (Rule("truncate"), TransientError, "no network path to SSM"),
        (Rule("not-json"), TransientError, "unreadable answer: "),
        (answer("{}"), TransientError, "unreadable answer: 'Parameter'"),
        (answer("[]"), TransientError, "unreadable answer: "),
        (answer('"x"'), TransientError, "unreadable answer: "),
        (answer('{"Parameter": null}'), TransientError, "unreadable answer: "),
        (answer('{"Parameter": {"Value": "x"}}'), TransientError, "unreadable answer: "),
        (
            answer('{"Parameter": {"LastModifiedDate": "soon"}}'),
            TransientError,
            "unreadable answer: ",
        ),
    ],
    ids=lambda case: case.error or case.kind + case.body if isinstance(case, Rule) else None,
)
def test_each_failure_names_what_to_change(aws, monkeypatch, rule, kind, why):
    """The permission, the setting or the network; and whether another try may help."""

    async def life():
        await put(aws)
        async with parameter(monkeypatch, aws, rule) as (token, _):
            await token.read()

    with pytest.raises(AwsError) as failed:
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

    with pytest.raises(AwsError) as failed:
        run("asyncio", life())
    assert str(failed.value) == DELETE + "access denied (needs ssm:DeleteParameter)"


@on_both
def test_a_service_that_hangs_is_no_network(loop, aws, monkeypatch):
    """Each call has a deadline of its own."""
    hasty = aws_session.CONFIG.merge(aws_session.AioConfig(read_timeout=0.1))
    monkeypatch.setattr(aws_session, "CONFIG", hasty)

    async def life():
        async with parameter(monkeypatch, aws, Rule("hang")) as (token, _):
            await token.read()

    with pytest.raises(TransientError, match=r"no network path to SSM .*imeout"):
        run(loop, life())


@on_both
def test_an_unreachable_service_is_no_network(loop, monkeypatch):
    """The error says what the VPC may lack."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]

        async def life():
            monkeypatch.setenv("AWS_ENDPOINT_URL_SSM", f"http://127.0.0.1:{port}")
            async with ParameterStore(local_aws.REGION) as store:
                await Parameter(store, NAME).read()

        reason = r"no network path to SSM \(the VPC needs a NAT gateway or an endpoint for ssm\)"
        with pytest.raises(TransientError, match=reason):
            run(loop, life())


@on_both
def test_without_credentials_the_error_names_the_task_role(loop, monkeypatch):
    """Without any, no call is made."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")

    async def life():
        async with ParameterStore(local_aws.REGION) as store:
            await Parameter(store, NAME).read()

    with pytest.raises(AwsError) as failed:
        run(loop, life())
    assert str(failed.value) == (
        READ + "no AWS credentials (a machine needs an instance profile, the task needs a "
        "taskRoleArn)"
    )


def test_a_failure_of_the_credential_endpoint_is_transient(aws, monkeypatch):
    """The ECS agent throttles, or is restarted."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_METADATA_SERVICE_TIMEOUT", "1")

    async def life():
        async with faults.serving("http://127.0.0.1:9", rules=[Rule("status", status=400)]) as ecs:
            monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{ecs.url}/v2/credentials/x")
            async with ParameterStore(local_aws.REGION) as store:
                await Parameter(store, NAME).read()

    with pytest.raises(TransientError, match="cannot get the task role's credentials"):
        run("asyncio", life())


@on_both
def test_without_a_region_the_error_names_the_variable(loop, monkeypatch):
    """AWS_REGION sets it."""
    for variable in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(variable)

    async def life():
        async with ParameterStore(None) as store:
            await Parameter(store, NAME).read()

    with pytest.raises(AwsError) as failed:
        run(loop, life())
    assert str(failed.value) == READ + "no region is set (set AWS_REGION)"


@pytest.mark.parametrize(
    ("region", "endpoint"), [("eu central", None), (local_aws.REGION, "no-url")]
)
def test_a_broken_region_or_endpoint_names_both_variables(monkeypatch, region, endpoint):
    """Both are settings of the AWS library, and the error is final."""
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    if endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL_SSM", endpoint)

    async def life():
        async with ParameterStore(region) as store:
            await Parameter(store, NAME).read()

    with pytest.raises(AwsError, match=r"\(look at AWS_REGION, AWS_ENDPOINT_URL_SSM\)$") as failed:
        run("asyncio", life())
    assert not isinstance(failed.value, TransientError)


# --- waiting for it ------------------------------------------------------------------------------


@on_both
def test_a_parameter_may_appear_after_the_task_has_started(loop, aws, monkeypatch):
    """It is read again until it exists."""

    async def life():
        async with parameter(monkeypatch, aws) as (token, proxy):
            waiting = asyncio.create_task(ssm.wait_for_value(token, 20))
            await proxy.reached(3, target="GetParameter")
            await put(aws)
            value, version = await waiting
            assert (value, version.number) == (TOKEN, 1)

    run(loop, life())


@on_both
def test_transient_errors_are_retried(loop, aws, monkeypatch):
    """Throttled, reset, answered with no JSON, failed, then answered."""

    async def life():
        await put(aws)
        rules = [
            Rule("status", error="ThrottlingException", times=2),
            Rule("reset", times=1),
            Rule("not-json", times=1),
            Rule("status", error="InternalServerError", times=1),
        ]
        async with parameter(monkeypatch, aws, *rules) as (token, proxy):
            assert (await ssm.wait_for_value(token, 20))[0] == TOKEN
            assert len(proxy.requests) == 6

    run(loop, life())


def test_a_refusal_is_not_retried(aws, monkeypatch):
    """It ends the wait at once."""

    async def life():
        rule = Rule("status", error="AccessDeniedException")
        async with parameter(monkeypatch, aws, rule) as (token, proxy):
            with pytest.raises(TokenError, match="access denied"):
                await ssm.wait_for_value(token, 20)
            assert len(proxy.requests) == 1

    run("asyncio", life())


@on_both
def test_the_wait_has_an_end(loop, aws, monkeypatch):
    """The error says the last reason, how long the wait was, and the setting; it is final."""

    async def life():
        async with parameter(monkeypatch, aws) as (token, _):
            await ssm.wait_for_value(token, 0.2)

    with pytest.raises(TokenError) as failed:
        run(loop, life())
    assert str(failed.value) == (
        READ + "there is no such parameter (SIDECAR_TOKEN_PARAMETER); "
        "waited 0.2 s for it (SIDECAR_TOKEN_TIMEOUT)"
    )
    assert type(failed.value) is TokenError


# --- deleting it ---------------------------------------------------------------------------------


@on_both
def test_what_was_read_is_deleted(loop, aws, monkeypatch):
    """Also where SSM throttles the look and the delete."""

    async def life():
        await put(aws)
        rules = [
            Rule("status", target="DeleteParameter", error="ThrottlingException", times=2),
            Rule("status", target="GetParameter", error="ThrottlingException", skip=2, times=1),
        ]
        async with parameter(monkeypatch, aws, *rules) as (token, proxy):
            _, version = await token.read()
            with capture_logs() as events:
                await ssm.delete_if_unchanged(token, version)
            assert events[-1]["event"] == "token.deleted"
            assert len(proxy.seen(target="DeleteParameter")) == 3
        assert await names(aws) == []

    run(loop, life())


@on_both
def test_a_delete_whose_answer_was_lost_is_done(loop, aws, monkeypatch):
    """The second try finds no parameter, which is a success."""

    async def life():
        await put(aws)
        rule = Rule("reset", target="DeleteParameter", forward=True, times=1)
        async with parameter(monkeypatch, aws, rule) as (token, _):
            _, version = await token.read()
            with capture_logs() as events:
                await ssm.delete_if_unchanged(token, version)
            assert [event["event"] for event in events] == ["token.already_deleted"]
        assert await names(aws) == []

    run(loop, life())


@on_both
@pytest.mark.parametrize("how", ["overwritten", "re-created"])
def test_a_parameter_that_was_written_anew_is_kept(loop, aws, monkeypatch, how):
    """Also one that was deleted and created again, and so has the same version number 1."""

    async def life():
        await put(aws)
        async with parameter(monkeypatch, aws) as (token, proxy):
            _, version = await token.read()
            if how == "re-created":
                await token.delete()
                later = version
                while later.modified == version.modified:  # SSM's clock has a coarse tick
                    await put(aws, "A-NEWER-TOKEN-12345")
                    _, later = await token.read()
                    if later.modified == version.modified:
                        await token.delete()
                assert later.number == 1
            else:
                assert await put(aws, "A-NEWER-TOKEN-12345") == 2
            deletes = len(proxy.seen(target="DeleteParameter"))
            with capture_logs() as events:
                await ssm.delete_if_unchanged(token, version)
            assert [event["event"] for event in events] == ["token.kept"]
            assert len(proxy.seen(target="DeleteParameter")) == deletes
        assert await names(aws) == [NAME]

    run(loop, life())


def test_a_parameter_that_was_never_read_is_deleted_too(aws, monkeypatch):
    """The launcher wrote it for this task, and no other task will use it."""

    async def life():
        await put(aws)
        async with parameter(monkeypatch, aws) as (token, _):
            await ssm.delete_if_unchanged(token, None)
        assert await names(aws) == []

    run("asyncio", life())


def test_a_refusal_to_delete_is_final(aws, monkeypatch):
    """It is not retried, because it would not change."""

    async def life():
        await put(aws)
        rule = Rule("status", target="DeleteParameter", error="AccessDeniedException")
        async with parameter(monkeypatch, aws, rule) as (token, proxy):
            with pytest.raises(TokenError, match=r"needs ssm:DeleteParameter"):
                await ssm.delete_if_unchanged(token, None)
            assert len(proxy.seen(target="DeleteParameter")) == 1

    run("asyncio", life())


@asynccontextmanager
async def container_endpoint(monkeypatch, *answers):
    """Serve credentials to the AWS library: each of `answers` once, then good ones."""
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(variable)
    rules = [answer(json.dumps(each)) for each in answers]
    rules = [dataclasses.replace(rule, times=1) for rule in rules]
    rules.append(answer(json.dumps(credentials(hours=6))))
    async with faults.serving("http://127.0.0.1:9", rules=rules) as endpoint:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{endpoint.url}/credentials")
        yield endpoint


def credentials(hours):
    """Make credentials that expire so many hours from now."""
    end = datetime.now(UTC) + timedelta(hours=hours)
    keys = {"AccessKeyId": "ASIALOCAL", "SecretAccessKey": "local", "Token": "local"}
    return {**keys, "Expiration": end.strftime("%Y-%m-%dT%H:%M:%SZ")}


EXPIRED = [credentials(hours=-1)] * 3
"""The library raises RuntimeError for them, which is none of its own errors."""
BROKEN = [{"Expiration": "soon"}, {}]
"""The library raises KeyError for them."""


@pytest.mark.parametrize("bad", [EXPIRED, BROKEN], ids=["expired", "broken"])
def test_a_read_waits_for_credentials_that_have_not_expired(aws, monkeypatch, bad):
    """For a task's first seconds the endpoint may answer expired credentials.

    Before, the library's RuntimeError ended the life as a bug (exit code 10).
    """

    async def life():
        await put(aws)
        async with container_endpoint(monkeypatch, *bad), parameter(monkeypatch, aws) as (token, _):
            assert (await ssm.wait_for_value(token, 20))[0] == TOKEN

    run("asyncio", life())


def test_a_read_reports_credentials_that_stay_expired(aws, monkeypatch):
    """The error says so once SIDECAR_TOKEN_TIMEOUT is over; it has the token's exit code."""

    async def life():
        bad = [credentials(hours=-1)] * 200
        async with container_endpoint(monkeypatch, *bad), parameter(monkeypatch, aws) as (token, _):
            await ssm.wait_for_value(token, 0.3)

    with pytest.raises(TokenError, match=r"credentials.*expired.*\(SIDECAR_TOKEN_TIMEOUT\)"):
        run("asyncio", life())


@pytest.mark.parametrize("bad", [EXPIRED, BROKEN], ids=["expired", "broken"])
def test_a_delete_waits_for_credentials_that_have_not_expired(aws, monkeypatch, bad):
    """No token stays in SSM because the first credentials had expired.

    Before, the library's RuntimeError failed the cleanup step at once.
    """

    async def life():
        await put(aws)
        async with container_endpoint(monkeypatch, *bad), parameter(monkeypatch, aws) as (token, _):
            assert await ssm.delete_if_unchanged(token, None) == "deleted"
        assert await names(aws) == []

    run("asyncio", life())


@on_both
def test_an_expired_token_is_retried(loop, aws, monkeypatch):
    """AWS calls the session's token expired: the next try has newer credentials.

    Before, ExpiredTokenException was final for SSM and retried for STS.
    """

    async def life():
        await put(aws)
        rule = Rule("status", error="ExpiredTokenException", times=2)
        async with parameter(monkeypatch, aws, rule) as (token, proxy):
            assert (await ssm.wait_for_value(token, 20))[0] == TOKEN
            assert len(proxy.requests) == 3

    run(loop, life())


# --- a parameter of the task's own id ------------------------------------------------------------

DENIED = Rule("status", error="AccessDeniedException")


def test_access_to_its_own_name_is_denied_until_it_exists(aws, monkeypatch):
    """A policy by tag allows nothing while there is nothing that has the tag."""

    async def life():
        rule = dataclasses.replace(DENIED, times=3)
        async with parameter(monkeypatch, aws, rule) as (token, proxy):
            own = Parameter(token._store, NAME, for_task=True)
            waiting = asyncio.create_task(ssm.wait_for_value(own, 20))
            await proxy.reached(2, target="GetParameter")
            await put(aws)
            assert (await waiting)[0] == TOKEN

    run("asyncio", life())


def test_access_that_stays_denied_ends_with_the_permission(aws, monkeypatch):
    """The role may really lack it, so the last reason says what it needs."""

    async def life():
        async with parameter(monkeypatch, aws, DENIED) as (token, _):
            await ssm.wait_for_value(Parameter(token._store, NAME, for_task=True), 0.3)

    with pytest.raises(TokenError, match=r"needs ssm:GetParameter\), or it does not exist yet"):
        run("asyncio", life())


def test_what_was_never_there_is_not_left_behind(aws, monkeypatch):
    """A stop before the token came: the delete is denied, and there is nothing to delete."""

    async def life():
        async with parameter(monkeypatch, aws, DENIED) as (token, _):
            own = Parameter(token._store, NAME, for_task=True)
            assert await ssm.delete_if_unchanged(own, None) == "absent"
            with pytest.raises(TokenError, match="needs ssm:DeleteParameter"):
                await ssm.delete_if_unchanged(token, None)

    run("asyncio", life())


# --- the cleanup step ----------------------------------------------------------------------------


@on_both
def test_the_cleanup_step_is_registered_before_the_first_read(loop, aws, monkeypatch):
    """No stop comes too early to delete the token, and the log never shows it."""

    async def life():
        await put(aws, json.dumps({"token": TOKEN, "name": "n"}))
        cleanup_stack = CleanupStack()
        async with parameter(monkeypatch, aws) as (token, _):
            claimed = tokens.claim_parameter(token._store, NAME, cleanup_stack)
            assert cleanup_stack.steps == [claimed.cleanup_step]
            assert not claimed.is_usable()
            with capture_logs() as events:
                found = await claimed.wait(20)
            assert (found.token, found.name) == (TOKEN, "n")
            (event,) = [event for event in events if event["event"] == "token.read"]
            assert (event["parameter"], event["version"]) == (NAME, 1)
            assert logs.mask_known_secrets(f"x{TOKEN}x") == "x***x"
            assert claimed.is_usable()
            assert not claimed.is_usable(datetime.now(UTC) + timedelta(minutes=56))
            await claimed.cleanup_step.begin()
            assert claimed.cleanup_step.done
        assert await names(aws) == []

    run(loop, life())


def test_a_parameter_that_holds_no_token_is_an_error(aws, monkeypatch):
    """It is deleted all the same."""

    async def life():
        await put(aws, "not a token")
        cleanup_stack = CleanupStack()
        async with parameter(monkeypatch, aws) as (token, _):
            claimed = tokens.claim_parameter(token._store, NAME, cleanup_stack)
            with pytest.raises(TokenError, match="cannot use the token parameter"):
                await claimed.wait(20)
            await claimed.cleanup_step.begin()
        assert await names(aws) == []

    run("asyncio", life())


def test_a_version_is_a_number_and_a_time():
    """If either differs it is another parameter."""
    now = datetime.now(UTC)
    assert ParameterVersion(1, now) == ParameterVersion(1, now)
    assert ParameterVersion(1, now) != ParameterVersion(1, now + timedelta(milliseconds=1))
    assert ParameterVersion(1, now) != ParameterVersion(2, now)
