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

from tests.engines import matrix, oddities, wire

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet
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
REFUSED = {
    # Go takes the last of two, or merges both: which one that is differs from field to field.
    *(name for name in oddities.odd() if name.startswith("body: twice")),
    # 20.10 reads no further than to the object's end.
    *("body: more after it", "body: rubbish after it", "mutation 82"),
    # Further than Python's reader goes, and than anybody writes.
    *("body: deep", "body: a number of 5000 digits"),
    # Whatever has two readings, by which a request could hide in another one.
    *("line: a folded header", "line: a header without a name", "line: version 'HTTP/1.2'"),
    *("line: length ''", "framing: chunked and a length"),
    # Half a body that happens to be all of the JSON.
    *("line: more than is said", "framing: no last chunk", "framing: a chunk too short"),
}
"""What the engine takes, or one of them, and the proxy does not."""
PASSING = {"Hostname", "Env"}
"""Of a container's configuration: what is compared apart, and what is made of its id."""


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


def compared(container: Any, sockets: AbstractSet[str]) -> str:
    """Return all of it that was asked for, with whatever is the engine's socket under one name."""

    def named(source: str) -> str:
        return "THE SOCKET" if posixpath.normpath(source) in sockets else source

    config = {key: value for key, value in container["Config"].items() if key not in PASSING}
    host = dict(container["HostConfig"])
    binds = [bind.partition(":") for bind in host.pop("Binds") or ()]
    asked = [
        {**mount, "Source": named(mount.get("Source", ""))}
        for mount in host.pop("Mounts", None) or ()
    ]
    mounts = [
        {**mount, "Source": named(mount["Source"]) if mount["Type"] == "bind" else "", "Name": ""}
        for mount in container["Mounts"]
    ]
    mounts.sort(key=lambda mount: mount["Destination"])
    named_binds = [(named(source), colon, rest) for source, colon, rest in binds]
    told = [config, host, named_binds, asked, mounts, container["Path"], container["Args"]]
    return json.dumps(told, sort_keys=True)


def refused(statuses: list[int]) -> bool:
    """Tell whether nothing was done; who says only half of a request may get no answer at all."""
    return all(status >= 4 for status in statuses)


def difference(place: Place, proxied: Proxied, name: str, parts: tuple[bytes, ...]) -> str | None:
    """Say in what the two ways differ; None if they do as they should."""
    statuses, direct = made(place.engine, place.engine.socket, parts)
    seen, through = made(place.engine, proxied.socket, parts)
    if refused(seen) and (refused(statuses) or name in REFUSED):
        return "made it" if through else None
    if seen != statuses or len(direct) != len(through):
        return f"answered {seen}, not {statuses}; made {len(through)}, not {len(direct)}"
    for one, other in zip(direct, through, strict=True):
        more = injected(one, other)
        own = {variable.partition("=")[0] for variable in variables(one)}
        if not more <= INJECTED:
            return f"variables of nobody's: {more - INJECTED}"
        if (matrix.RELATIVE_URI in more) == bool(own & (OWN | {matrix.RELATIVE_URI})):
            return f"injected {sorted(more)} beside {sorted(own)}"
        wanted = compared(one, RAW_SOCKETS)
        if (found := compared(other, {str(proxied.socket)})) != wanted:
            return f"made\n{found}\nnot\n{wanted}"
    return None


def test_odd_requests_come_to_the_same(place: Place, through: Proxied) -> None:
    """Whatever is asked, and however it is written: no way round, nothing lost, nothing added."""
    requests = oddities.odd()

    def judged(name: str) -> str | None:
        return difference(place, through, name, requests[name])

    with ThreadPoolExecutor(AT_ONCE) as several:
        found = dict(zip(requests, several.map(judged, requests), strict=True))
    assert {name: told for name, told in found.items() if told} == {}
