"""One call of any AWS service: what its errors say, whether they are retried, its deadline."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest
from aiobotocore.session import get_session
from botocore import exceptions as library
from botocore.parsers import ResponseParserError

from sidecar.aws.calls import (
    SECRETS_MANAGER,
    SSM,
    STS,
    AccessDenied,
    AwsError,
    Call,
    NotFound,
    RateLimited,
    Service,
    TransientError,
    backoff,
)
from sidecar.errors import Exit

SERVICES = [SSM, SECRETS_MANAGER, STS]
NEEDED = "service:Permission"
SETTING = "SIDECAR_SETTING"
every_service = pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)


def call(service: Service = SSM, **more) -> Call:
    """Make a call of `service`."""
    return Call("cannot do it", service, NEEDED, SETTING, **more)


def failure(error: BaseException, service: Service = SSM, **more) -> AwsError:
    """Return what a call raises when the library raises `error`."""

    async def fail():
        raise error

    with pytest.raises(AwsError) as failed:
        asyncio.run(call(service, **more).run(fail))
    assert failed.value.__cause__ is error
    assert str(failed.value).startswith("cannot do it: ")
    return failed.value


def refusal(code: str, status: int = 400, message: str = "MESSAGE") -> library.ClientError:
    """Make an error that AWS answered."""
    response = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return library.ClientError(response, "Operation")


NO_ENDPOINT = library.InvalidEndpointConfigurationError(msg="x")
UNREACHABLE = library.EndpointConnectionError(endpoint_url="https://x")
NO_CREDENTIALS = library.CredentialRetrievalError(provider="x", error_msg="y")
CASES = [
    (refusal("ExpiredToken", 403), TransientError, "the credentials have expired"),
    (refusal("ExpiredTokenException"), TransientError, "the credentials have expired"),
    (refusal("Throttling"), RateLimited, "throttled by {title}"),
    (refusal("TooManyRequests"), RateLimited, "throttled by {title}"),
    (refusal("x", 429), RateLimited, "throttled by {title}"),
    (refusal("ServiceUnavailable"), TransientError, "{title} answers 400 ServiceUnavailable"),
    (refusal("x", 503), TransientError, "{title} answers 503 x"),
    (refusal("AccessDenied", 403), AccessDenied, "access denied (needs service:Permission)"),
    (refusal("AccessDeniedException"), AccessDenied, "access denied (needs service:Permission)"),
    (refusal("AccessDenied", message="the KMS key"), AwsError, "needs kms:Decrypt"),
    (
        refusal("AccessDenied", message="with an explicit deny in a service control policy"),
        AccessDenied,
        "access denied by a service control policy (needs service:Permission)",
    ),
    (
        refusal("AccessDenied", message="because no VPC endpoint policy allows the action"),
        AccessDenied,
        "access denied by a VPC endpoint policy (needs service:Permission)",
    ),
    (
        refusal("AccessDenied", message="because no identity-based policy allows the action"),
        AccessDenied,
        "access denied (needs service:Permission)",
    ),
    (refusal("DecryptionFailure"), AwsError, "needs kms:Decrypt"),
    (refusal("ResourceNotFoundException"), NotFound, "no such {resource} (SIDECAR_SETTING)"),
    (refusal("InvalidClientTokenId"), AwsError, "does not accept the credentials"),
    (refusal("Other"), AwsError, "{title} answers Other: MESSAGE (SIDECAR_SETTING)"),
    (library.NoCredentialsError(), AwsError, "the task needs a taskRoleArn"),
    (library.NoRegionError(), AwsError, "set AWS_REGION"),
    (library.ParamValidationError(report="x"), AwsError, "(SIDECAR_SETTING)"),
    (NO_ENDPOINT, AwsError, "(look at AWS_REGION, {variable})"),
    (UNREACHABLE, TransientError, "no network path to {title} (the VPC needs a NAT gateway"),
    (UNREACHABLE, TransientError, "an endpoint for {name})"),
    (OSError(101, "x"), TransientError, "no network path to {title}"),
    (NO_CREDENTIALS, TransientError, "cannot get the task role's credentials"),
    (ResponseParserError("x"), TransientError, "unreadable answer: x"),
    (RuntimeError("x"), TransientError, "unreadable answer: x"),
]


@every_service
@pytest.mark.parametrize(("error", "kind", "words"), CASES)
def test_every_service_has_the_same_translation(service, error, kind, words):
    """The error says what to change, for this service; its class says whether to try again.

    Before, `ExpiredTokenException` was final for SSM and transient for STS.
    """
    found = failure(error, service)
    assert type(found) is kind
    variable = service.endpoint_variable
    assert words.format(
        title=service.title, name=service.name, resource=service.resource, variable=variable
    ) in str(found)
    assert found.exit is Exit.TOKEN


@every_service
def test_the_endpoint_variable_is_that_of_the_library(service, monkeypatch):
    """Setting the variable that an error names changes the endpoint of that service.

    Before, a failure of Secrets Manager named AWS_ENDPOINT_URL_SSM.
    """
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.setenv(service.endpoint_variable, "http://127.0.0.1:9")

    async def work():
        async with get_session().create_client(service.name, region_name="us-east-1") as client:
            return client.meta.endpoint_url

    assert asyncio.run(work()) == "http://127.0.0.1:9"


def test_a_call_may_have_refusals_of_its_own():
    """They are final, and have a text of their own."""
    found = failure(refusal("Odd"), refusals={"Odd": "it is odd (SIDECAR_ODD)"})
    assert (type(found), str(found)) == (AwsError, "cannot do it: it is odd (SIDECAR_ODD)")


def test_aws_s_own_text_is_left_out_where_it_may_quote_a_secret():
    """Neither a message nor an answer is shown then."""
    for error in (refusal("Other", message="SECRET"), ResponseParserError("SECRET")):
        assert "SECRET" in str(failure(error))
        assert "SECRET" not in str(failure(error, quotes_aws=False))


def test_a_call_that_the_library_never_ends_has_a_deadline(run):
    """The error names the service and the seconds; it is retried."""
    with pytest.raises(TransientError, match=r"^cannot do it: no answer from SSM within 0.01 s$"):
        run(call().run(asyncio.Event().wait, 0.01))


def test_a_cancelled_call_is_no_error_of_aws(run):
    """A stop passes through, and so does the deadline of a caller."""

    async def cut():
        async with asyncio.timeout(0):
            await call().run(asyncio.Event().wait)

    with pytest.raises(TimeoutError):
        run(cut())


def test_an_error_that_is_translated_already_is_not_changed(run):
    """The work itself may raise one."""

    async def work():
        raise NotFound("cannot find it")

    with pytest.raises(NotFound, match=r"^cannot find it$"):
        run(call().run(work))


def test_only_transient_errors_are_retried():
    """What is not found is retried only where another client may still write it."""
    assert backoff()(TransientError("x"))
    assert backoff()(RateLimited("x"))
    assert backoff(wait_for_missing=True)(NotFound("x"))
    for error in (AwsError("x"), NotFound("x"), ValueError("x")):
        assert backoff()(error) is False


def test_the_launch_side_may_import_it_alone():
    """Neither AWS calls nor GitHub's API load the agent's settings or anything of a task's life."""
    program = (
        "import sys, sidecar.github, sidecar.aws.calls\n"
        "above = ('settings', 'runner', 'lifecycle', 'shutdown', 'tokens', 'relay', 'status')\n"
        "above = tuple(f'sidecar.{name}' for name in above) + ('pydantic', 'pydantic_settings')\n"
        "print([name for name in sys.modules if name.startswith(above)])\n"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert answer.stdout.decode().strip() == "[]"
