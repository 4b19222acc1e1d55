"""A webhook delivery as GitHub makes it: one queued job, signed."""

from __future__ import annotations

import hashlib
import hmac
import json

SECRET = "the secret of a webhook"
REPOSITORY = "octo/repo"
LABELS = ("self-hosted", "bench")


def make_payload(job: int, run: int = 1) -> bytes:
    """Make the body of a `workflow_job` delivery, of about the size that GitHub's have."""
    payload = {
        "action": "queued",
        "workflow_job": {
            "id": job,
            "run_id": run,
            "run_attempt": 1,
            "status": "queued",
            "conclusion": None,
            "labels": list(LABELS),
            "name": "build",
            "workflow_name": "CI",
            "head_branch": "main",
            "runner_id": None,
            "runner_name": None,
            "runner_group_name": None,
            "created_at": "2026-11-26T20:00:00Z",
            "steps": [],
        },
        "repository": {
            "id": 33,
            "full_name": REPOSITORY,
            # What the launcher does not read: some eighty URLs.
            **{
                f"link_{number}_url": f"https://api.github.com/{number:064}" for number in range(80)
            },
        },
        "organization": {"login": "octo"},
        "sender": {"login": "mona"},
    }
    return json.dumps(payload).encode()


def make_headers(body: bytes, job: int) -> dict[str, str]:
    """Make the headers of a delivery."""
    signature = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    return {
        "content-type": "application/json",
        "x-github-event": "workflow_job",
        "x-github-delivery": f"{job:032x}",
        "x-hub-signature-256": f"sha256={signature}",
    }
