"""Random create requests: what passes strict mode gives no rights, as the engine reads it.

Two readers judge: docker's own decoder on docker's own types, and real engines, which are asked
what they have made. The seed is fixed.
"""

from __future__ import annotations

import asyncio
import posixpath
import random
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from sidecar.docker import strict_create, strict_mode
from sidecar.docker.connection import RequestRefused
from sidecar.docker.heads import parse_request
from sidecar.docker.own_containers import OwnContainers
from tests.adversary.engine_requests import SOCKET, make_strict
from tests.adversary.test_a_create_body_is_judged_wherever_the_engine_reads_it import (
    Everything,
    find_inner_binds,
)
from tests.engines import go_reader, proxied, wire
from tests.engines.engine import EMPTY
from tests.support import create_bodies, engine_model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.engines.places import Place
    from tests.engines.proxied import ProxiedLife

pytestmark = [pytest.mark.docker, pytest.mark.root]

SEED = 17
BODIES, UNMENDED_BODIES, REAL_BODIES = 20_000, 4000, 300


class Passed(NamedTuple):
    """A body that a client sent, and what the engine gets."""

    sent: bytes
    got: bytes


def make_bodies(count: int, work: Path) -> list[bytes]:
    """Return random bodies whose work folder is this one."""
    rng = random.Random(SEED)  # noqa: S311
    marker, folder = create_bodies.WORK.encode(), str(work).encode()
    return [create_bodies.make(rng, EMPTY).replace(marker, folder) for _ in range(count)]


def make_folder_rule(work: Path, socket: Path | str) -> Callable[[str], bool]:
    """Return a function that says whether a job may mount a path."""

    def may_mount(path: str) -> bool:
        return path == str(socket) or posixpath.commonpath((path, str(work))) == str(work)

    return may_mount


def pass_all(bodies: list[bytes], work: Path, *, strict: bool = True) -> list[Passed]:
    """Send all bodies to the proxy's policy; return those that it passes on."""
    policy = make_strict(work)
    policy.strict, policy.own = strict, OwnContainers() if strict else None
    head = parse_request(b"POST /v1.41/containers/create HTTP/1.1\r\n\r\n")

    async def run() -> list[Passed]:
        passed = []
        for body in bodies:
            try:
                passed.append(Passed(body, (await policy.check(head, body)).body))
            except RequestRefused:
                continue
        return passed

    return asyncio.run(run())


def find_holes(passed: list[Passed], work: Path) -> dict[bytes, list[str]]:
    """Return the rights that docker's decoder finds in what has passed."""
    may_mount, holes = make_folder_rule(work, SOCKET), {}
    for one, read in zip(passed, go_reader.read_bodies(one.got for one in passed), strict=True):
        host = read.get("HostConfig") or {}
        found = engine_model.find_rights(host, may_mount) + engine_model.find_masks(host)
        if found:
            holes[one.sent] = found
    return holes


def test_docker_s_own_decoder_finds_no_rights_in_what_passes(tmp_path: Path) -> None:
    """Neither at the top of the body, nor by another case, a second key or a null."""
    passed = pass_all(make_bodies(BODIES, tmp_path), tmp_path)
    assert len(passed) > BODIES / 10
    assert find_holes(passed, tmp_path) == {}


def test_the_same_bodies_give_rights_without_strict_mode(tmp_path: Path) -> None:
    """So the test above judges something."""
    bodies = make_bodies(UNMENDED_BODIES, tmp_path)
    passed = pass_all(bodies, tmp_path, strict=False)
    assert len(find_holes(passed, tmp_path)) > len(bodies) / 4


def test_a_proxy_with_one_reader_lets_rights_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that judges the HostConfig alone, as it once did: these bodies show what it missed."""
    monkeypatch.setattr(strict_create, "CONTAINER_FIELDS", Everything())
    monkeypatch.setattr(strict_mode, "find_binds", find_inner_binds)
    passed = pass_all(make_bodies(UNMENDED_BODIES, tmp_path), tmp_path)
    rights = {right for found in find_holes(passed, tmp_path).values() for right in found}
    assert {"Privileged", "PidMode host", "the folder /"} <= rights


# --- real engines ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def strict_life(place: Place) -> Iterator[ProxiedLife]:
    """Run an agent in strict mode, whose job waits, for this module's tests."""
    with proxied.run_proxied(place, SIDECAR_DOCKER_STRICT="true") as life:
        yield life


def make_container(life: ProxiedLife, place: Place, body: bytes) -> dict[str, Any] | None:
    """Ask for a container as a job; return what the engine made, now removed, or None."""
    head = b"POST /v1.41/containers/create HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n"
    head += b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    made = None
    for container in wire.send(life.socket, head, body).created:
        made = wire.call(place.engine.socket, "GET", f"/containers/{container}/json")
        wire.call(place.engine.socket, "DELETE", f"/containers/{container}?v=1&force=1")
    return made


def test_a_real_engine_makes_no_container_with_rights(
    place: Place, strict_life: ProxiedLife
) -> None:
    """The engine is asked what it has made of each random body: no container has a right."""
    work = strict_life.socket.parent / "_work"
    may_mount, made = make_folder_rule(work, strict_life.socket), 0
    plain = make_container(strict_life, place, b'{"Image":"%s","Cmd":["x"]}' % EMPTY.encode())
    assert plain is not None
    usual = set(engine_model.find_rights(plain["HostConfig"], may_mount))
    assert usual <= {"CgroupnsMode host"}  # docker's default on a machine with cgroup 1
    for body in make_bodies(REAL_BODIES, work):
        container = make_container(strict_life, place, body)
        if container is not None:
            made += 1
            host = container["HostConfig"]
            assert set(engine_model.find_rights(host, may_mount)) <= usual, body
            assert "/proc/kcore" in host["MaskedPaths"], body
            assert "/proc/sys" in host["ReadonlyPaths"], body
    assert made > REAL_BODIES / 10
