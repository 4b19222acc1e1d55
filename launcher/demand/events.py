"""Read a request out of a Lambda event: a function URL, an HTTP API, a load balancer."""

from __future__ import annotations

import binascii
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from launcher.demand.delivery import Answer


class Malformed(ValueError):
    """The event is no HTTP request that can be read."""


def read_event(event: Mapping[str, Any]) -> tuple[str, dict[str, str], bytes]:
    """Return method, headers by lower-case name, and the bytes of the body. Raises Malformed.

    Format 2.0 (function URLs and HTTP APIs) has the method in its context; load balancers and
    format 1.0 have `httpMethod`, and may send headers as lists of values.
    """
    method = event.get("httpMethod")
    if method is None:
        context = event.get("requestContext")
        http = context.get("http") if isinstance(context, dict) else None
        method = http.get("method") if isinstance(http, dict) else None
    if not isinstance(method, str):
        raise Malformed("the event is no HTTP request")
    return method.upper(), _read_headers(event), _read_body(event)


def make_answer(event: Mapping[str, Any], answer: Answer) -> dict[str, Any]:
    """Return the answer in the shape that the sender of the event reads."""
    headers = {"content-type": "text/plain; charset=utf-8"}
    return shape_answer(event, answer.status, answer.text, headers)


def shape_answer(
    event: Mapping[str, Any], status: int, text: str, headers: Mapping[str, str]
) -> dict[str, Any]:
    """Return an answer of this status, text and headers in the shape that the sender reads."""
    shape: dict[str, Any] = {"statusCode": status, "body": text, "isBase64Encoded": False}
    if "multiValueHeaders" in event and "headers" not in event:
        return shape | {"multiValueHeaders": {key: [value] for key, value in headers.items()}}
    return shape | {"headers": dict(headers)}


def read_path(event: Mapping[str, Any]) -> str:
    """Return the path: `rawPath` of format 2.0, `path` of the others. Raises Malformed."""
    path = event.get("rawPath", event.get("path"))
    if not isinstance(path, str):
        raise Malformed("the event has no path")
    return path


def _read_headers(event: Mapping[str, Any]) -> dict[str, str]:
    found = event.get("headers") or {}
    many = event.get("multiValueHeaders") or {}
    if not isinstance(found, dict) or not isinstance(many, dict):
        raise Malformed("the event has no headers")
    lists = {key: values[-1] for key, values in many.items() if isinstance(values, list) and values}
    return {str(key).lower(): str(value) for key, value in (lists | found).items()}


def _read_body(event: Mapping[str, Any]) -> bytes:
    body = event.get("body") or ""
    if not isinstance(body, str):
        raise Malformed("the event's body is no text")
    try:
        if event.get("isBase64Encoded"):
            return binascii.a2b_base64(body, strict_mode=True)
        return body.encode()
    except (binascii.Error, ValueError) as error:
        raise Malformed("the event's body cannot be decoded") from error
