"""Strict mode keeps from a real engine what would make a job root on its machine.

Each attack is also sent to the engine itself: it works there, so the agent alone refuses it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.engines import proxied, tools, wire
from tests.engines.engine import EMPTY, USERLAND, Failed
from tests.engines.places import DEBIAN_12, DEBIAN_13

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.engines.places import Place
    from tests.engines.proxied import ProxiedLife

pytestmark = [pytest.mark.docker, pytest.mark.root]

ORDINARY: dict[str, Any] = {"Image": EMPTY, "Cmd": ["true"]}
ATTACKS: dict[str, dict[str, Any]] = {
    "privileged": {"HostConfig": {"Privileged": True}},
    "proc": {"HostConfig": {"Binds": ["/proc:/x"]}},
    "sys": {"HostConfig": {"Binds": ["/sys:/x"]}},
    "etc": {"HostConfig": {"Binds": ["/etc:/x"]}},
    "host's processes": {"HostConfig": {"PidMode": "host"}},
    "no masks": {"HostConfig": {"MaskedPaths": [], "ReadonlyPaths": []}},
    "no filter": {"HostConfig": {"SecurityOpt": ["seccomp=unconfined"]}},
}


@pytest.fixture(scope="module")
def strict_life(place: Place) -> Iterator[ProxiedLife]:
    """Run an agent in strict mode, whose job waits, for this module's tests."""
    with proxied.run_proxied(place, SIDECAR_DOCKER_STRICT="true") as life:
        yield life


def create(path: Any, body: dict[str, Any], version: str = "v1.41") -> wire.Replies:
    """Send a create request to a socket."""
    return wire.send(path, wire.request("POST", f"/{version}/containers/create", body))


def remove(place: Place, container: str) -> None:
    """Remove a container."""
    wire.call(place.engine.socket, "DELETE", f"/containers/{container}?v=1&force=1")


def inspect(place: Place, container: str) -> Any:
    """Return the engine's description of a container."""
    return wire.call(place.engine.socket, "GET", f"/containers/{container}/json")


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_makes_no_container(place: Place, strict_life: ProxiedLife, attack: str) -> None:
    """The engine itself would make it."""
    body = {**ORDINARY, **ATTACKS[attack]}
    direct = create(place.engine.socket, body)
    for container in direct.created:
        remove(place, container)
    assert direct.statuses == [201]
    refused = create(strict_life.socket, body)
    assert (refused.statuses, refused.created) == ([403], [])


def test_fields_outside_of_hostconfig_make_no_container(
    place: Place, strict_life: ProxiedLife
) -> None:
    """Docker 20.10 reads them there."""
    body = {**ORDINARY, "Privileged": True, "PidMode": "host", "Binds": ["/:/host"]}
    if place.kind == DEBIAN_12:
        (container,) = create(place.engine.socket, body).created
        config = inspect(place, container)["HostConfig"]
        remove(place, container)
        assert (config["Privileged"], config["Binds"]) == (True, ["/:/host"])
    refused = create(strict_life.socket, body)
    assert (refused.statuses, refused.created) == ([403], [])


@pytest.mark.parametrize("kind", ["tmpfs", "nfs", "cifs"])
def test_a_volume_that_mounts_the_machine_is_not_made(
    place: Place, strict_life: ProxiedLife, kind: str
) -> None:
    """The type is no matter: the kernel looks at the flags, and mounts the engine's own root."""
    options = (f"--opt=type={kind}", "--opt=o=rbind", "--opt=device=/", "root")
    place.engine.docker("volume", "create", *options)
    try:
        mount = ("--volume=root:/host",)
        place.engine.run("test", "-S", f"/host/run/{place.engine.name}", options=mount)
    finally:
        place.engine.docker("volume", "rm", "root")
    with pytest.raises(Failed, match=r"a volume of /.*SIDECAR_DOCKER_STRICT"):
        strict_life.engine.docker("volume", "create", *options)


def test_a_bridge_of_the_machine_is_no_job_s(place: Place, strict_life: ProxiedLife) -> None:
    """The engine itself puts containers on it."""
    options = ("--opt=com.docker.network.bridge.name=machine0", "joined")
    place.task.space.ip("link add machine0 type bridge")
    try:
        place.engine.docker("network", "create", *options)
        place.engine.docker("network", "rm", "joined")
        with pytest.raises(Failed, match=r"bridge\.name.*SIDECAR_DOCKER_STRICT"):
            strict_life.engine.docker("network", "create", *options)
    finally:
        place.task.space.ip("link delete machine0")


def test_a_start_changes_nothing_of_a_container(place: Place, strict_life: ProxiedLife) -> None:
    """Not by the body that older versions of the API had."""
    (container,) = create(strict_life.socket, ORDINARY).created
    try:
        body = {"Privileged": True, "Binds": ["/:/host"]}
        target = f"/v1.23/containers/{container}/start"
        refused = wire.send(strict_life.socket, wire.request("POST", target, body))
        assert refused.statuses == [403]
        described = inspect(place, container)
        assert described["State"]["Status"] == "created"
        assert described["HostConfig"]["Privileged"] is False
    finally:
        remove(place, container)


def test_a_job_uses_its_own_containers_alone(place: Place, strict_life: ProxiedLife) -> None:
    """It reads and shares no other one, also by the beginning of its id."""
    (foreign,) = create(place.engine.socket, ORDINARY).created
    (own,) = create(strict_life.socket, ORDINARY).created
    try:
        assert wire.call(strict_life.socket, "GET", f"/containers/{own[:12]}/json")["Id"] == own
        for name in (foreign, foreign[:12], foreign[:4]):
            target = f"/containers/{name}/json"
            assert wire.send(strict_life.socket, wire.request("GET", target)).statuses == [403]
            body = {**ORDINARY, "HostConfig": {"VolumesFrom": [name]}}
            assert create(strict_life.socket, body).statuses == [403]
    finally:
        remove(place, foreign)
        remove(place, own)


def test_a_job_runs_its_own_commands_alone(place: Place, strict_life: ProxiedLife) -> None:
    """Not one that another has prepared in its own container: the engine itself would run it."""
    foreign = place.engine.docker("run", "--detach", *USERLAND, EMPTY, "sleep", "600").strip()
    with tools.create(place.engine) as options:
        own = strict_life.engine.docker("run", "--detach", *options, EMPTY, "/usr/bin/sleep", "600")
        try:
            target = f"/containers/{foreign}/exec"
            prepared = wire.call(place.engine.socket, "POST", target, {"Cmd": ["true"]})
            start = wire.request("POST", f"/exec/{prepared['Id']}/start", {"Detach": True})
            assert wire.send(strict_life.socket, start).statuses == [403]
            assert wire.send(place.engine.socket, start).statuses == [200]
            echoed = strict_life.engine.docker("exec", own.strip(), "/usr/bin/echo", "mine")
            assert echoed == "mine\n"
        finally:
            remove(place, foreign)
            remove(place, own.strip())


def test_a_job_s_work_folder_is_mounted(place: Place, strict_life: ProxiedLife) -> None:
    """The engine gets the request with the folder as the job wrote it; a link there is refused."""
    work = strict_life.socket.parent / "_work"
    (container,) = create(
        strict_life.socket, {**ORDINARY, "HostConfig": {"Binds": [f"{work}:/w"]}}
    ).created
    binds = inspect(place, container)["HostConfig"]["Binds"]
    remove(place, container)
    assert binds == [f"{work}:/w"]
    link = work / "link-of-a-job"
    link.symlink_to("/")
    try:
        body = {**ORDINARY, "HostConfig": {"Binds": [f"{link}:/w"]}}
        assert create(strict_life.socket, body).statuses == [403]
    finally:
        link.unlink()


def test_a_build_is_the_engine_s_own_or_none(place: Place, strict_life: ProxiedLife) -> None:
    """`docker build` works as a job runs it; by a stream, where all can be asked for, none does.

    The newer client asks by one unless DOCKER_BUILDKIT=0, which the agent sets for jobs.
    """
    chosen = {"DOCKER_BUILDKIT": strict_life.running.environment["DOCKER_BUILDKIT"]}
    assert "Successfully built" in build(strict_life, **chosen)
    strict_life.engine.docker("image", "rm", "built-strictly")
    if place.kind == DEBIAN_13:
        with pytest.raises(Failed, match="docker build with DOCKER_BUILDKIT=0"):
            build(strict_life)
    with pytest.raises(Failed, match=r"a build in the host's network.*SIDECAR_DOCKER_STRICT"):
        build(strict_life, "--network=host", **chosen)


def build(life: ProxiedLife, *options: str, **env: str) -> str:
    """Build an image of nothing but a label; return what docker says."""
    text = f"FROM {EMPTY}\nLABEL built=yes\n".encode()
    return life.engine.docker("build", "--tag=built-strictly", *options, "-", text=text, env=env)
