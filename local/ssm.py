"""Call the stand-in for SSM directly, without an AWS library.

Small enough for the bench, whose process must stay smaller than what it measures, and quick enough
for hundreds of lives. The stand-in checks no signature; it takes the region from it.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

from local import aws

TIMEOUT = 60.0
"""Seconds for one call."""
_SCOPE = f"local/20260101/{aws.REGION}/ssm/aws4_request"


def call(endpoint: str, operation: str, **arguments: Any) -> dict[str, Any] | None:
    """Call an operation of the SSM at `endpoint`; returns None if there is no such parameter.

    Raises urllib.error.HTTPError if the call fails for another reason.
    """
    headers = {
        "Content-Type": "application/x-amz-json-1.1",
        "X-Amz-Target": f"AmazonSSM.{operation}",
        "Authorization": f"AWS4-HMAC-SHA256 Credential={_SCOPE}, SignedHeaders=host, Signature=0",
    }
    request = urllib.request.Request(endpoint, json.dumps(arguments).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            found: dict[str, Any] = json.loads(answer.read() or b"{}")
            return found
    except urllib.error.HTTPError as error:
        with error:
            if b"ParameterNotFound" in error.read():
                return None
        raise


def put(endpoint: str, name: str, value: str, kind: str = "SecureString") -> None:
    """Write a parameter, as a launcher does; it replaces what is there."""
    call(endpoint, "PutParameter", Name=name, Value=value, Type=kind, Overwrite=True)


def read(endpoint: str, name: str) -> str | None:
    """Return what a parameter holds; None if there is none."""
    found = call(endpoint, "GetParameter", Name=name, WithDecryption=True)
    return str(found["Parameter"]["Value"]) if found else None
