"""The engine makes the same of odd requests with the proxy and without.

Only two things differ: the variables for credentials are there, and a bind of the engine's socket
is one of the proxy's.
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
    from tests.engines.proxied import ProxiedLife

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
OWN_CREDENTIALS = {"AWS_ACCESS_KEY_ID", "AWS_CONTAINER_CREDENTIALS_FULL_URI"}
"""Variables of a container that has its own credentials."""
RAW_SOCKETS = {"/var/run/docker.sock", "/run/docker.sock"}
REFUSED = {
    # Go takes the last of two keys, or merges both, depending on the field.
    *(name for name in oddities.make_requests() if name.startswith("body: twice")),
    # 20.10 reads only up to the end of the object.
    *("body: more after it", "body: rubbish after it", "mutation 82"),
    # Deeper or longer than Python's parser accepts.
    *("body: deep", "body: a number of 5000 digits"),
    # Requests that can be read in two ways, and so could hide another one.
    *("line: a folded header", "line: a header without a name", "line: version 'HTTP/1.2'"),
    *("line: length ''", "framing: chunked and a length"),
    # A part of the body that is valid JSON by chance.
    *("line: more than is said", "framing: no last chunk", "framing: a chunk too short"),
}
"""Requests that an engine accepts and the proxy refuses."""
NOT_COMPARED = {"Hostname", "Env"}
"""Parts of a container's configuration that are compared separately, or made from its id."""


def create_containers(
    engine: Engine, path: Path, parts: tuple[bytes, ...]
) -> tuple[list[int], list[Any]]:
    """Send a request; return the classes of its statuses and the containers, now removed."""
    replies = wire.send(path, *parts)
    results = []
    for container in replies.created:
        results.append(wire.call(engine.socket, "GET", f"/containers/{container}/json"))
        wire.call(engine.socket, "DELETE", f"/containers/{container}?v=1&force=1")
    return [status // 100 for status in replies.statuses], results


def read_env(container: Any) -> list[str]:
    """Return a container's variables."""
    return container["Config"]["Env"] or []


def find_added(direct: Any, through_proxy: Any) -> set[str]:
    """Return the names of added variables; fails if a requested one is missing."""
    has = read_env(through_proxy)
    given = {one.partition("=")[0] for one in has if "=" in one}
    # A name without a value brings nothing, so it may get one.
    requested = [one for one in read_env(direct) if one not in given]
    assert [one for one in has if one in requested] == requested
    return {one.partition("=")[0] for one in has if one not in requested}


def describe(container: Any, sockets: AbstractSet[str]) -> str:
    """Return all that was requested of a container, with one name for the socket of either side."""

    def normalize_source(source: str) -> str:
        return "THE SOCKET" if posixpath.normpath(source) in sockets else source

    config = {key: value for key, value in container["Config"].items() if key not in NOT_COMPARED}
    host = dict(container["HostConfig"])
    binds = [bind.partition(":") for bind in host.pop("Binds") or ()]
    requested = [
        {**mount, "Source": normalize_source(mount.get("Source", ""))}
        for mount in host.pop("Mounts", None) or ()
    ]
    mounts = [
        {
            **mount,
            "Source": normalize_source(mount["Source"]) if mount["Type"] == "bind" else "",
            "Name": "",
        }
        for mount in container["Mounts"]
    ]
    mounts.sort(key=lambda mount: mount["Destination"])
    named_binds = [(normalize_source(source), colon, rest) for source, colon, rest in binds]
    compared = [
        config,
        host,
        named_binds,
        requested,
        mounts,
        container["Path"],
        container["Args"],
    ]
    return json.dumps(compared, sort_keys=True)


def is_refused(statuses: list[int]) -> bool:
    """Return whether nothing was done. Half a request may get no response at all."""
    return all(status >= 4 for status in statuses)


def find_difference(
    place: Place, proxied_life: ProxiedLife, name: str, parts: tuple[bytes, ...]
) -> str | None:
    """Return the difference between both ways; None if they differ as they should."""
    statuses, direct = create_containers(place.engine, place.engine.socket, parts)
    seen, through_proxy = create_containers(place.engine, proxied_life.socket, parts)
    if is_refused(seen) and (is_refused(statuses) or name in REFUSED):
        return "made it" if through_proxy else None
    if seen != statuses or len(direct) != len(through_proxy):
        return f"answered {seen}, not {statuses}; made {len(through_proxy)}, not {len(direct)}"
    for one, other in zip(direct, through_proxy, strict=True):
        added = find_added(one, other)
        own = {variable.partition("=")[0] for variable in read_env(one)}
        if not added <= INJECTED:
            return f"unexpected variables: {added - INJECTED}"
        if (matrix.RELATIVE_URI in added) == bool(own & (OWN_CREDENTIALS | {matrix.RELATIVE_URI})):
            return f"injected {sorted(added)} beside {sorted(own)}"
        wanted = describe(one, RAW_SOCKETS)
        if (actual := describe(other, {str(proxied_life.socket)})) != wanted:
            return f"made\n{actual}\nnot\n{wanted}"
    return None


def test_odd_requests_have_the_same_result(place: Place, proxied_life: ProxiedLife) -> None:
    """Nothing passes unchanged that should not, nothing is lost, and nothing else is added."""
    requests = oddities.make_requests()

    def find_one(name: str) -> str | None:
        return find_difference(place, proxied_life, name, requests[name])

    with ThreadPoolExecutor(AT_ONCE) as several:
        results = dict(zip(requests, several.map(find_one, requests), strict=True))
    assert {name: difference for name, difference in results.items() if difference} == {}
