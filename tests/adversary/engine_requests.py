"""Send a job's requests for the docker engine to the policy of the proxy, in strict mode."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from sidecar.docker.connection import RequestRefused
from sidecar.docker.heads import parse_request
from tests.unit.docker.fakes import FakePaths
from tests.unit.docker.test_rewriting import make_policy

if TYPE_CHECKING:
    from pathlib import Path

    from sidecar.docker.rewriting import RequestRewriter

SOCKET = "/shared/docker.sock"
"""The proxy's socket."""


def make_strict(*folders: Path | str) -> RequestRewriter:
    """Return a strict policy that lets these folders be mounted."""
    policy = make_policy(FakePaths(), strict=True)
    policy.bind_sources.folders.extend(map(str, folders))
    return policy


def find_refusal(
    policy: RequestRewriter, line: str, body: object = None, *headers: str
) -> str | None:
    """Send a request; return why it was refused, or None if the engine gets it."""
    head = "\r\n".join((f"{line} HTTP/1.1", "Host: docker", *headers))
    request = parse_request(f"{head}\r\n\r\n".encode())
    data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    try:
        if policy.body_limit(request) is not None:
            asyncio.run(policy.check(request, data))
    except RequestRefused as refused:
        return str(refused)
    return None


def pass_create(policy: RequestRewriter, body: object) -> dict[str, object]:
    """Send a create request; return the body that the engine gets. Raises RequestRefused."""
    request = parse_request(b"POST /v1.41/containers/create HTTP/1.1\r\n\r\n")
    checked = asyncio.run(policy.check(request, json.dumps(body).encode()))
    fields: dict[str, object] = json.loads(checked.body)
    return fields
