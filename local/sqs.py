"""Call the stand-in for SQS directly, without an AWS library: send, and count what is left."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

from local import aws

TIMEOUT = 60.0
"""Seconds for one call."""
_SCOPE = f"local/20260101/{aws.REGION}/sqs/aws4_request"


def call(endpoint: str, operation: str, **arguments: Any) -> dict[str, Any]:
    """Call an operation of the SQS at `endpoint`. Raises urllib.error.HTTPError if it fails."""
    headers = {
        "Content-Type": "application/x-amz-json-1.0",
        "X-Amz-Target": f"AmazonSQS.{operation}",
        "Authorization": f"AWS4-HMAC-SHA256 Credential={_SCOPE}, SignedHeaders=host, Signature=0",
    }
    request = urllib.request.Request(endpoint, json.dumps(arguments).encode(), headers)
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
        found: dict[str, Any] = json.loads(answer.read() or b"{}")
        return found


def send(endpoint: str, queue: str, document: Any) -> None:
    """Send a document, written as JSON, to the queue of this URL."""
    call(endpoint, "SendMessage", QueueUrl=queue, MessageBody=json.dumps(document))


_COUNTS = {
    "ApproximateNumberOfMessages": "waiting",
    "ApproximateNumberOfMessagesNotVisible": "in flight",
    "ApproximateNumberOfMessagesDelayed": "delayed",
}


def count(endpoint: str, queue: str) -> dict[str, int]:
    """Count the messages of a queue: waiting, in flight, delayed; without what there is none of."""
    found = call(endpoint, "GetQueueAttributes", QueueUrl=queue, AttributeNames=list(_COUNTS))
    counts = {_COUNTS[name]: int(number) for name, number in found["Attributes"].items()}
    return {name: number for name, number in counts.items() if number}
