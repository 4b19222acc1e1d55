"""Call AWS's JSON services by the standard library: one signed POST each.

Only the Lambda function of the webhook uses this. Its cold start is what GitHub waits for, and the
AWS libraries take more time to import than all the rest (`bench` has the figures). Source: AWS,
"Signature Version 4 signing process"; a test compares the signatures with botocore's.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

TIMEOUT = 5.0
"""Seconds for each wait at a socket."""
ALGORITHM = "AWS4-HMAC-SHA256"
SERVICES = {
    "sqs": ("AmazonSQS", "1.0"),
    "ssm": ("AmazonSSM", "1.1"),
    "secretsmanager": ("secretsmanager", "1.1"),
}
"""The prefix of each service's operations, and the version of its JSON."""
ENDPOINTS = {"sqs": "SQS", "ssm": "SSM", "secretsmanager": "SECRETS_MANAGER"}
"""How AWS's own variable for another endpoint ends."""


class CallFailed(Exception):
    """A call was refused, or has no answer; `code` is AWS's own where it answered."""

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class Caller:
    """Calls AWS with the credentials of the environment, and keeps connections open.

    A connection that is in use is nobody else's: a call that came too late for its invocation may
    still be under way in the next one.
    """

    def __init__(self, environ: Mapping[str, str], now: Callable[[], float] = time.time) -> None:
        self._environ = environ
        self._now = now
        self._idle: dict[str, http.client.HTTPConnection] = {}

    def call(
        self, service: str, operation: str, payload: dict[str, Any], region: str | None = None
    ) -> dict[str, Any]:
        """Make one call; return the answer. Without a region in the function's own.

        Raises CallFailed.
        """
        region = region or self._environ["AWS_REGION"]
        prefix, version = SERVICES[service]
        action = f"{service}:{operation}"
        body = json.dumps(payload, separators=(",", ":")).encode()
        url = urlsplit(self._endpoint(service, region))
        headers = {
            "content-type": f"application/x-amz-json-{version}",
            "host": url.netloc,
            "x-amz-target": f"{prefix}.{operation}",
        }
        try:
            signed = self._sign(service, region, headers, body)
            status, raw = self._send(url.scheme, url.netloc, signed, body)
            answer: Any = json.loads(raw) if raw else {}
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise CallFailed(f"{action}: no answer from AWS: {type(error).__name__}") from error
        if not isinstance(answer, dict):
            raise CallFailed(f"{action}: AWS answers {status} and no JSON object")
        if status >= 300:
            code = str(answer.get("__type", "")).rpartition("#")[2]
            raise CallFailed(f"{action}: AWS answers {status} {code[:100]}", code)
        return answer

    def close(self) -> None:
        """Close the connections that nobody uses now."""
        while self._idle:
            self._idle.popitem()[1].close()

    def _endpoint(self, service: str, region: str) -> str:
        own = f"AWS_ENDPOINT_URL_{ENDPOINTS[service]}"
        domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
        return (
            self._environ.get(own)
            or self._environ.get("AWS_ENDPOINT_URL")
            or f"https://{service}.{region}.{domain}"
        )

    def _sign(
        self, service: str, region: str, headers: dict[str, str], body: bytes
    ) -> dict[str, str]:
        environ = self._environ
        if token := environ.get("AWS_SESSION_TOKEN"):
            headers = {**headers, "x-amz-security-token": token}
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(self._now()))
        scope = f"{stamp[:8]}/{region}/{service}/aws4_request"
        return sign(
            environ["AWS_ACCESS_KEY_ID"],
            environ["AWS_SECRET_ACCESS_KEY"],
            scope,
            {**headers, "x-amz-date": stamp},
            body,
        )

    def _send(
        self, scheme: str, netloc: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, bytes]:
        """Send a request; if a connection that was kept open has ended meanwhile, on a new one."""
        kept = self._idle.pop(netloc, None)
        if kept is not None:
            try:
                return self._send_on(kept, netloc, headers, body)
            except (OSError, http.client.HTTPException):
                pass  # it ended while nobody used it
        kind = http.client.HTTPSConnection if scheme == "https" else http.client.HTTPConnection
        return self._send_on(kind(netloc, timeout=TIMEOUT), netloc, headers, body)

    def _send_on(
        self,
        connection: http.client.HTTPConnection,
        netloc: str,
        headers: dict[str, str],
        body: bytes,
    ) -> tuple[int, bytes]:
        try:
            connection.request("POST", "/", body, headers)
            response = connection.getresponse()
            answer = response.status, response.read()
        except BaseException:
            connection.close()
            raise
        self._idle[netloc] = connection
        return answer


def sign(
    key_id: str, secret: str, scope: str, headers: Mapping[str, str], body: bytes
) -> dict[str, str]:
    """Return the headers (of lower-case names) with the signature of a POST to `/`."""
    names = sorted(headers)
    listed = ";".join(names)
    lines = [f"{name}:{headers[name]}" for name in names]
    digest = hashlib.sha256(body).hexdigest()
    request = "\n".join(["POST", "/", "", *lines, "", listed, digest])
    hashed = hashlib.sha256(request.encode()).hexdigest()
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    text = f"{ALGORITHM}\n{headers['x-amz-date']}\n{scope}\n{hashed}"
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    credential = f"Credential={key_id}/{scope}, SignedHeaders={listed}, Signature={signature}"
    return {**headers, "authorization": f"{ALGORITHM} {credential}"}
