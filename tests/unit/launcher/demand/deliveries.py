"""Deliveries as GitHub makes them, for the tests of the webhook."""

import copy
import hashlib
import hmac
import json

SECRET = "It's a Secret to Everybody"
PAYLOAD = {
    "action": "queued",
    "workflow_job": {
        "id": 11,
        "run_id": 22,
        "run_attempt": 2,
        "status": "queued",
        "labels": ["self-hosted", "small"],
        "name": "test",
        "workflow_name": "CI",
        "head_branch": "main",
        "runner_id": 5,
        "runner_name": "",
        "runner_group_name": None,
        "created_at": "2026-11-26T20:00:00Z",
        "conclusion": None,
    },
    "repository": {"id": 33, "full_name": "acme/app"},
    "organization": {"login": "acme"},
    "installation": {"id": 44},
}


def payload(job=None, **keys):
    """Return a payload with other keys, of the whole or of its job."""
    made = copy.deepcopy(PAYLOAD) | keys
    if job:
        made["workflow_job"] |= job
    return made


def sign(body, secret=SECRET):
    """Return the signature of a body."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def deliver(content, event="workflow_job", secret=SECRET, **headers):
    """Return headers and body of a delivery."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    made = {
        "content-type": "application/json",
        "x-github-event": event,
        "x-github-delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
        "x-hub-signature-256": sign(body, secret),
    }
    return made | {key.replace("_", "-"): value for key, value in headers.items()}, body
