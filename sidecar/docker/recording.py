"""Record what a job's requests create, and commit its containers without what the proxy added."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote

from sidecar.docker import committed_image, created
from sidecar.docker.checked_requests import RecordedRequest, UnchangedRequest
from sidecar.docker.connection import RequestAnswered, RequestRefused
from sidecar.docker.engine import EngineError, NotFound, Refused
from sidecar.docker.json_documents import JsonObject, UnreadableBody, parse_object
from sidecar.docker.own_containers import read_query
from sidecar.docker.strict_mode import VOLUME_PATH

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sidecar.docker.connection import CheckedRequest
    from sidecar.docker.created import ObjectRecord
    from sidecar.docker.engine import Engine
    from sidecar.docker.heads import RequestHead

AskEngine = Callable[[str], Awaitable[Any]]
"""Returns the engine's answer to GET; raises EngineError."""
Run = Callable[..., Awaitable[Any]]
"""Calls a function with arguments, in the loop or in a thread."""

NETWORK_PATH = re.compile(r"(/libpod)?/networks/create")
COMMIT_PATH = "/commit"
_CONTAINER_PATH = re.compile(r"(/libpod)?/containers/[A-Za-z0-9][A-Za-z0-9_.-]*")


def is_recorded(path: str) -> bool:
    """Return whether a POST request to this path creates something that is recorded."""
    return (
        path == COMMIT_PATH
        or NETWORK_PATH.fullmatch(path) is not None
        or VOLUME_PATH.fullmatch(path) is not None
    )


def leaves_volumes(request: RequestHead) -> bool:
    """Return whether a request removes a container without its anonymous volumes."""
    return (
        request.method == "DELETE"
        and _CONTAINER_PATH.fullmatch(request.path) is not None
        and read_query(request, "v") not in ("1", "true", "True")
    )


async def find_missing_volumes(ask: AskEngine | None, names: Iterable[str]) -> list[str]:
    """Return which volumes do not exist: the job makes them. Others are not the job's."""
    missing: list[str] = []
    if ask is None:
        return missing
    for name in names:
        try:
            await ask(f"/volumes/{quote(name, safe='')}")
        except NotFound:
            missing.append(name)
        except EngineError:
            continue  # unknown: left alone
    return missing


async def note_volumes(
    request: RequestHead, record: ObjectRecord, ask: AskEngine | None, run: Run
) -> None:
    """Record the anonymous volumes of a container of the job, which outlive it."""
    if ask is None:
        return
    name = request.path.rpartition("/")[2]
    try:
        inspected = await ask(f"/containers/{name}/json")
        volumes, since = await run(_find_anonymous_volumes, inspected)
    except (EngineError, UnreadableBody, ValueError):
        return  # it is gone, or nothing tells of its volumes
    if record.holds(created.CONTAINER, str(inspected.get("Id"))):
        for volume in volumes:
            record.add(created.VOLUME, volume, since)


def _find_anonymous_volumes(inspected: object) -> tuple[list[str], float]:
    return created.find_anonymous_volumes(parse_object(json.dumps(inspected).encode()))


async def record_creation(
    request: RequestHead, body: bytes, record: ObjectRecord, ask: AskEngine | None, run: Run
) -> CheckedRequest:
    """Have the response recorded to a request that creates a network or volume."""
    if NETWORK_PATH.fullmatch(request.path):
        record.begin()
        return RecordedRequest(body, record, created.NETWORK, "Id")
    if not VOLUME_PATH.fullmatch(request.path):
        return UnchangedRequest(body)
    fields = await run(parse_object, body) if body.strip() else JsonObject([])
    name = fields.get_field("Name", str)
    since = time.time()
    if name and not await find_missing_volumes(ask, {name}):
        return UnchangedRequest(body)
    record.begin()
    return RecordedRequest(body, record, created.VOLUME, "Name", since)


async def commit(
    request: RequestHead, body: bytes, record: ObjectRecord, ask: AskEngine, engine: Engine
) -> None:
    """Commit a container whose variables were changed, in the client's stead.

    Returns if none were: then the engine does what the client asks. Raises RequestRefused, or
    RequestAnswered with the image.
    """
    container = next(iter(parse_qs(request.query).get("container", ())), "")
    if not container:
        return
    try:
        inspected = await ask(f"/containers/{quote(container, safe='')}/json")
    except EngineError:
        return  # the commit fails too
    originals = record.original_variables(str(inspected.get("Id")))
    if not originals:
        return
    try:
        image = await committed_image.commit(
            engine, request.query, body, inspected.get("Config"), originals
        )
    except Refused as error:
        raise RequestRefused(error.status, error.words) from error
    except EngineError as error:
        raise RequestRefused(503, str(error)) from error
    raise RequestAnswered(201, {"Id": image})
