"""Check which role a container of a job gets, by a container that asks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sidecar.docker.engine import EngineError, NotFound
from sidecar.examination.finding import Finding, Level, failed, ok, unknown, warning

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sidecar.docker.engine import Engine
    from sidecar.doctor.setup import Setup

COMMAND = ("runner-sidecar", "doctor", "--json", "--only", "identity")
PASSED = ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_EC2_METADATA_SERVICE_ENDPOINT")
"""Variables that the container gets, beside the endpoints of AWS."""
LABEL = "ecs-runner-sidecar.doctor"
_HEAD = 8
"""Bytes before each piece of a container's output: the stream, and the length in the last four."""


async def check(setup: Setup) -> list[Finding]:
    """Start a container of the image that `--container` names; it is removed in any case."""
    if setup.engine is None:
        return []
    if setup.container is None:
        text = "what a container gets is not asked: one would have to be started"
        return [unknown(text, "name an image that the daemon has (--container IMAGE)")]
    try:
        output = await _run(setup.engine, setup.container, _list_variables(setup.variables), setup)
    except NotFound:
        text = f"the docker daemon has no image {setup.container}"
        return [failed(text, "pull it, or name the agent's own image")]
    except EngineError as error:
        return [failed(f"no container of {setup.container} runs: {error}", "see the line docker")]
    return [_judge(setup, output)]


def _list_variables(variables: Mapping[str, str]) -> list[str]:
    return [
        f"{name}={value}"
        for name, value in variables.items()
        if name in PASSED or name.startswith("AWS_ENDPOINT_URL")
    ]


async def _run(engine: Engine, image: str, variables: list[str], setup: Setup) -> bytes:
    """Run the doctor in a container; return what it printed. Raises EngineError."""
    wanted = {
        "Image": image,
        "Entrypoint": list(COMMAND[:1]),
        "Cmd": [*COMMAND[1:], "--seconds", f"{setup.patience.check:g}"],
        "Env": variables,
        "Labels": {LABEL: "true"},
    }
    created = await engine.post("/containers/create", wanted)
    container = quote(str(created["Id"]))
    try:
        seconds = 2 * setup.patience.check  # a busy machine starts it slowly, too
        await engine.send(f"/containers/{container}/start", b"", "", deadline=seconds)
        await engine.send(f"/containers/{container}/wait", b"", "", deadline=seconds)
        return _join(await engine.read(f"/containers/{container}/logs?stdout=true"))
    finally:
        await engine.delete(f"/containers/{container}?force=true&v=true")


def _join(stream: bytes) -> bytes:
    """Join the pieces of a container's output."""
    pieces = []
    while len(stream) >= _HEAD:
        end = _HEAD + int.from_bytes(stream[4:_HEAD], "big")
        pieces.append(stream[_HEAD:end])
        stream = stream[end:]
    return b"".join(pieces)


def _judge(setup: Setup, output: bytes) -> Finding:
    """Judge what the doctor in the container said of its identity."""
    try:
        line: dict[str, Any] = json.loads(output)["lines"][0]
        level, text = Level(line["level"]), str(line["text"])
    except (ValueError, LookupError, TypeError):
        text = f"the container of {setup.container} answers nothing"
        return failed(text, "name an image of this agent: it asks by its own doctor")
    if level is not Level.OK or "AWS takes" not in text:
        return ok(f"a container has no credentials before a life relays some ({text})")
    role = text.rpartition(" ")[2]
    if setup.config.machine:
        return ok(f"a container gets {role} before a life relays anything")
    change = "keep the instance's role away (hop limit of 1), or let rules lead to the relay"
    return warning(f"a container gets {role}, without the relay", change)
