"""Of odd requests the engine makes through the proxy what it makes without, and refuses the same.

What is made differs in two things alone: the variables that lead to credentials are there, and
what would have been the engine's socket is the proxy's.
"""

from __future__ import annotations

import json
import posixpath
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from tests.engines import matrix, oddities, proxied, wire

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.engines.engine import Engine
    from tests.engines.places import Place
    from tests.engines.proxied import Proxied

pytestmark = [pytest.mark.docker, pytest.mark.root]

AT_ONCE = 4
INJECTED = {
    matrix.RELATIVE_URI,
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_EC2_METADATA_DISABLED",
    "NO_PROXY",
    "no_proxy",
}
OWN = {"AWS_ACCESS_KEY_ID", "AWS_CONTAINER_CREDENTIALS_FULL_URI"}
"""Variables of a container that wants no credentials of ours."""
RAW_SOCKETS = {"/var/run/docker.sock", "/run/docker.sock"}
PASSING = {"Hostname", "Env"}
"""Of a container's configuration: what is compared apart, and what is made of its id."""


@pytest.fixture(scope="module")
def through(place: Place) -> Iterator[Proxied]:
    """Have a life with a proxy."""
    with proxied.proxied(place) as through:
        yield through


def made(engine: Engine, path: Path, parts: tuple[bytes, ...]) -> tuple[list[int], list[Any]]:
    """Say it; return the classes of the answers, and what was made, which is then gone again."""
    said = wire.spoken(path, *parts)
    found = []
    for container in said.created:
        found.append(wire.told(engine.socket, "GET", f"/containers/{container}/json"))
        wire.told(engine.socket, "DELETE", f"/containers/{container}?v=1&force=1")
    return [status // 100 for status in said.statuses], found


def variables(container: Any) -> list[str]:
    """Return its environment."""
    return container["Config"]["Env"] or []


def injected(direct: Any, through: Any) -> set[str]:
    """Return the names that it has beyond what it asked for, which it all has as it asked."""
    asked, has = variables(direct), variables(through)
    assert [one for one in has if one in asked] == asked
    return {one.partition("=")[0] for one in has if one not in asked}


def compared(container: Any, socket: str) -> str:
    """Return all of it that was asked for, with every engine's socket under one name."""
    config = {key: value for key, value in container["Config"].items() if key not in PASSING}
    mounts = [
        {**mount, "Source": mount["Source"] if mount["Type"] == "bind" else "", "Name": ""}
        for mount in container["Mounts"]
    ]
    told = [config, container["HostConfig"], mounts, container["Path"], container["Args"]]
    return json.dumps(_named(told, socket), sort_keys=True)


def _named(told: Any, socket: str) -> Any:
    if isinstance(told, dict):
        return {key: _named(value, socket) for key, value in told.items()}
    if isinstance(told, list):
        return [_named(value, socket) for value in told]
    if isinstance(told, str):
        source, _, rest = told.partition(":")
        if posixpath.normpath(source) == socket or (
            posixpath.normpath(source) in RAW_SOCKETS and socket in RAW_SOCKETS
        ):
            return f"THE SOCKET:{rest}"
    return told


def difference(place: Place, proxied: Proxied, parts: tuple[bytes, ...]) -> str | None:
    """Say in what the two ways differ; None if they do as they should."""
    statuses, direct = made(place.engine, place.engine.socket, parts)
    seen, through = made(place.engine, proxied.socket, parts)
    if seen != statuses:
        return f"answered {seen}, not {statuses}"
    if len(direct) != len(through):
        return f"made {len(through)}, not {len(direct)}"
    for one, other in zip(direct, through, strict=True):
        more = injected(one, other)
        own = {name.partition("=")[0] for name in variables(one)}
        if not more <= INJECTED:
            return f"variables of nobody's: {more - INJECTED}"
        if (matrix.RELATIVE_URI in more) == bool(own & (OWN | {matrix.RELATIVE_URI})):
            return f"injected {sorted(more)} beside {sorted(own)}"
        wanted = compared(one, "/var/run/docker.sock")
        if (found := compared(other, str(proxied.socket))) != wanted:
            return f"made\n{found}\nnot\n{wanted}"
    return None


def test_odd_requests_come_to_the_same(place: Place, through: Proxied) -> None:
    """Whatever is asked, and however it is written: no way round, nothing lost, nothing added."""
    requests = oddities.odd()

    def judged(name: str) -> str | None:
        return difference(place, through, requests[name])

    with ThreadPoolExecutor(AT_ONCE) as several:
        found = dict(zip(requests, several.map(judged, requests), strict=True))
    assert {name: told for name, told in found.items() if told} == {}
