"""Make one call of an AWS service: its deadline, its errors, its retry policy.

Every AWS service is called through this. An error says which permission or setting to change, and
its class says whether another try may help.
"""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, TypeVar

import aiohttp
from botocore import exceptions as library

from sidecar.errors import Exit, SidecarError
from sidecar.net.clock import find_clock_error
from sidecar.net.proxy import name_proxy
from sidecar.net.retry import growing
from sidecar.net.trust import explain_tls

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from sidecar.net.retry import Backoff

    T = TypeVar("T")

DEADLINE = 20.0
"""Seconds for one call with all that the library does for it: it may ask three times for the
task role's credentials, and its own deadlines are for each socket alone."""
LONGEST_PAUSE, LONGEST_LIMITED, LONGEST_GIVING_WAY = 4.0, 6.0, 30.0
"""Seconds between two tries, at most: usually, where AWS limits the rate, and where another
client has to write what is waited for.

Tasks whose parameter exists share SSM's 40 calls a second: with pauses of at most 6 s, the last of
a thousand tasks still asks often enough. Tasks whose parameter is not written yet ask less often,
because the client that writes the parameters needs the same calls.
"""
RATE_LIMITED = {
    "Throttling",
    "ThrottlingException",
    "TooManyUpdates",
    "TooManyRequests",
    "RequestLimitExceeded",
    "ProvisionedThroughputExceededException",
}
_DENYING = re.compile(
    r"(?:explicit deny in an?|because no) "
    r"((?:service control|resource control|resource-based|session|VPC endpoint) policy"
    r"|permissions boundary)"
)
DENIED = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"}
NOT_FOUND = {"ParameterNotFound", "ParameterVersionNotFound", "ResourceNotFoundException"}
NOT_ACCEPTED = {
    "UnrecognizedClientException",
    "InvalidSignatureException",
    "InvalidClientTokenId",
    "IncompleteSignature",
}
EXPIRED = {"ExpiredToken", "ExpiredTokenException"}
"""The credentials are too old: the library fetches newer ones for the next try."""
SKEWED = {"RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture"}
_SKEW = re.compile(r"Signature (?:expired|not yet current)\b")
CLOCK_WRONG = "this machine's clock differs from AWS's by more than five minutes: set it right"
NO_KMS = {"InvalidKeyId", "DecryptionFailure"}
UNAVAILABLE = {"InternalFailure", "ServiceUnavailable"}


class AwsError(SidecarError):
    """An AWS call failed, and another try would not help."""

    # The agent calls AWS for its registration token and for its GitHub credential.
    exit: ClassVar[Exit] = Exit.TOKEN


class NotFound(AwsError):
    """The parameter or secret does not exist (yet)."""


class AccessDenied(AwsError):
    """No policy allows the call."""


class TransientError(AwsError):
    """An AWS call failed, and may work in a moment."""


class RateLimited(TransientError):
    """The account as a whole makes more calls than AWS allows."""


@dataclass(frozen=True, slots=True)
class Service:
    """An AWS service that is called."""

    name: str
    """As the library and VPC endpoints call it."""
    title: str
    """Its service id in the library's service description; also what people call it."""
    resource: str
    """What its calls may not find."""

    @property
    def endpoint_variable(self) -> str:
        """Return the variable that sets another endpoint for it in the library."""
        return f"AWS_ENDPOINT_URL_{self.title.upper().replace(' ', '_')}"


SSM = Service("ssm", "SSM", "parameter")
SECRETS_MANAGER = Service("secretsmanager", "Secrets Manager", "secret")
STS = Service("sts", "STS", "role")
DYNAMODB = Service("dynamodb", "DynamoDB", "table")
ECS = Service("ecs", "ECS", "task definition")
IAM = Service("iam", "IAM", "role")


@dataclass(frozen=True, slots=True)
class Call:
    """The purpose of a call, and what to change when it fails."""

    action: str
    """How its errors begin: `cannot read ...`."""
    service: Service
    permission: str
    """What the task role needs for it."""
    setting: str
    """The setting that names what is called for."""
    refusals: Mapping[str, str] = field(default_factory=dict)
    """Error codes that only this call has, each with its reason; all of them are final."""
    quotes_aws: bool = True
    """Whether errors may show AWS's own text; not where it may quote a secret."""

    async def run(self, work: Callable[[], Awaitable[T]], timeout: float | None = None) -> T:
        """Run `work`, which makes the call and reads its answer, within `timeout` seconds.

        The default is DEADLINE. Raises AwsError, in one of its kinds.
        """
        timeout = DEADLINE if timeout is None else timeout
        try:
            async with asyncio.timeout(timeout) as deadline:
                return await work()
        except AwsError:
            raise
        except Exception as error:
            if deadline.expired():
                reason = f"no answer from {self.service.title} within {timeout:g} s"
                raise TransientError(f"{self.action}: {reason}") from error
            raise self._translate(error) from error

    def _translate(self, error: Exception) -> AwsError:
        if isinstance(error, library.ClientError):
            return self._refusal(error)
        if (reason := self._final_reason(error)) is not None:
            return AwsError(f"{self.action}: {reason}")
        return TransientError(f"{self.action}: {self._transient_reason(error)}")

    def _final_reason(self, error: Exception) -> str | None:
        """Say why the library did not even ask, where that is what happened."""
        match error:
            case library.NoCredentialsError() | library.PartialCredentialsError():
                needed = "a machine needs an instance profile, the task needs a taskRoleArn"
                return f"no AWS credentials ({needed})"
            case library.NoRegionError():
                return "no region is set (set AWS_REGION)"
            case library.InvalidEndpointConfigurationError() | library.UnknownEndpointError():
                return f"{_short(error)} (look at AWS_REGION, {self.service.endpoint_variable})"
            case library.ParamValidationError():
                return f"the AWS library does not accept the value ({self.setting})"
        return None

    def _transient_reason(self, error: Exception) -> str:
        if reason := explain_tls(error):
            return f"cannot trust {self.service.title}: {reason}"
        match error:
            case library.CredentialRetrievalError() | library.MetadataRetrievalError():
                return f"cannot get the task role's credentials: {_short(error)}"
            case (
                library.HTTPClientError()
                | library.EndpointConnectionError()
                | aiohttp.ClientError()
                | OSError()
            ):
                return f"no network path to {self.service.title} {self._advise(error)}"
            case _:  # the library's parser raises whatever it comes across
                kind = type(error).__name__
                return f"unreadable answer: {_short(error) if self.quotes_aws else kind}"

    def _advise(self, error: Exception) -> str:
        """Say by which proxy AWS was not reached, else what the VPC needs; then the error."""
        url = getattr(error, "kwargs", {}).get("endpoint_url")
        if (proxy := name_proxy(str(url))) is not None:
            return f"by the proxy {proxy} (HTTPS_PROXY, NO_PROXY): {_short(error)}"
        needs = f"the VPC needs a NAT gateway or an endpoint for {self.service.name}"
        return f"({needs}): {_short(error)}"

    def _refusal(self, error: library.ClientError) -> AwsError:
        """Translate an error that AWS answered."""
        detail = error.response.get("Error", {})
        code, text = str(detail.get("Code", "")), str(detail.get("Message", ""))
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        title = self.service.title
        if code in RATE_LIMITED or status == 429:
            return RateLimited(f"{self.action}: throttled by {title}")
        if code in NOT_FOUND:
            missing = f"there is no such {self.service.resource} ({self.setting})"
            return NotFound(f"{self.action}: {missing}")
        if code in EXPIRED:
            return TransientError(f"{self.action}: the credentials have expired: {code}")
        if status >= 500 or code in UNAVAILABLE:
            return TransientError(f"{self.action}: {title} answers {status} {code}")
        if code in SKEWED or _SKEW.match(text):
            headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
            wrong = find_clock_error(headers, time.time(), "AWS") or CLOCK_WRONG
            return AwsError(f"{self.action}: {wrong} ({code})")
        denied = code in DENIED and code not in self.refusals and not _is_about_kms(text)
        kind = AccessDenied if denied else AwsError
        return kind(f"{self.action}: {self._final_refusal(code, text)}")

    def _final_refusal(self, code: str, text: str) -> str:
        if code in self.refusals:
            return self.refusals[code]
        if code in NO_KMS or (code in DENIED and _is_about_kms(text)):
            return "KMS refuses to decrypt it (needs kms:Decrypt)"
        if code in DENIED:
            return f"{explain_denial(text)} (needs {self.permission})"
        if code in NOT_ACCEPTED:
            return f"AWS does not accept the credentials: {code}"
        text = f": {text}" if self.quotes_aws else ""
        return f"{self.service.title} answers {code}{text} ({self.setting})"


def backoff(*, wait_for_missing: bool = False) -> Backoff:
    """Make the retry policy for AWS: pause after transient errors, longer if AWS limits the rate.

    With `wait_for_missing`, what is not found is waited for too, and another client has to write
    it: the pauses after a throttle are then the longest. bench/fleet.py shows what these pauses do
    to a thousand tasks, and to others in the same account.
    """
    kinds = (TransientError, NotFound) if wait_for_missing else (TransientError,)
    transient = growing(kinds, first=0.4, longest=LONGEST_PAUSE)
    limited = growing(RateLimited, first=1.0, longest=LONGEST_LIMITED)
    giving_way = growing(RateLimited, first=1.0, longest=LONGEST_GIVING_WAY)
    missing = False

    def pause(error: Exception) -> bool | float:
        nonlocal missing
        missing = missing or isinstance(error, NotFound)
        return (giving_way if missing else limited)(error) or transient(error)

    return pause


def explain_denial(text: str) -> str:
    """Say which kind of policy denies, where AWS's text tells; the role's own is the usual one.

    Whoever reads "needs X" looks at the role's policy; these kinds are other people's.
    """
    found = _DENYING.search(text)
    return f"access denied by a {found[1]}" if found else "access denied"


def _is_about_kms(text: str) -> bool:
    return any(word in text.lower() for word in ("kms", "ciphertext", "customer master key"))


def _short(error: Exception) -> str:
    return (str(error) or type(error).__name__)[:200]
