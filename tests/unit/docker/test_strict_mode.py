"""Strict mode: the known ways by which a container makes a job root on the daemon's machine."""

from __future__ import annotations

import asyncio
import json

import pytest
from structlog.testing import capture_logs

from tests.support.loops import on_both, run
from tests.unit.docker.fakes import answer, obliging, post, staged

pytestmark = on_both

BIND = {"type": "none", "o": "bind", "device": "/run"}


def mounted(**options: str) -> dict[str, object]:
    """Return a mount of a volume of the local driver."""
    driver = {"Name": "local", "Options": options}
    return {"Type": "volume", "Target": "/v", "VolumeOptions": {"DriverConfig": driver}}


REFUSED = {
    "a privileged container": {"Privileged": True},
    "the host's pid namespace": {"PidMode": "host"},
    "the host's network namespace": {"NetworkMode": "host"},
    "the host's ipc namespace": {"IpcMode": "host"},
    "the host's user namespace": {"UsernsMode": "host"},
    "the capability SYS_ADMIN": {"CapAdd": ["NET_ADMIN", "CAP_SYS_ADMIN"]},
    "the capability ALL": {"capadd": ["all"]},
    "the device /dev/sda": {"Devices": [{"PathOnHost": "/dev/sda"}]},
    "rules for devices": {"DeviceCgroupRules": ["a *:* rwm"]},
    "the kernel's files without their masks": {"ReadonlyPaths": []},
    "the folder /var/run, which holds a docker socket": {"Binds": ["/var/run:/r:ro"]},
    "the folder //, which holds a docker socket": {"Binds": ["//:/host"]},
    "the folder /run, which holds a docker socket": {
        "Mounts": [{"Type": "bind", "Source": "/run", "Target": "/r"}]
    },
    "a volume of /run, which holds a docker socket": {"Mounts": [mounted(**BIND)]},
    "a volume of type ext4": {"Mounts": [mounted(type="ext4", device="/dev/sda1")]},
    "a volume of type overlay": {
        "Mounts": [mounted(type="overlay", o="lowerdir=/,upperdir=/a,workdir=/b")]
    },
}
ALLOWED = (
    {},
    {"Privileged": False, "PidMode": "", "NetworkMode": "bridge", "IpcMode": "private"},
    {"NetworkMode": "container:x", "CapAdd": ["NET_ADMIN"], "CapDrop": ["ALL"]},
    {"Devices": [{"PathOnHost": "/dev/fuse"}], "MaskedPaths": None, "ReadonlyPaths": None},
    {"Binds": ["/run/docker.sock:/run/docker.sock", "/home/runner/_work:/w", "cache:/c"]},
    {"Mounts": [mounted(type="tmpfs", device="tmpfs"), mounted(type="nfs", o="addr=x")]},
    {"Mounts": [mounted(type="none", o="bind", device="/home/runner/_work")]},
)


def play(loop, folder, *sent: bytes, strict: bool = True) -> tuple[list[bytes], list[bytes]]:
    """Send each on a connection of its own; return what came back, and what the engine heard."""

    async def playing():
        async with staged(folder, obliging, strict=strict) as stage:
            return [await asyncio.wait_for(stage.say(one), 10) for one in sent], stage.heard

    return run(loop, playing())


def create(host_config: dict[str, object]) -> bytes:
    """Return a create."""
    return post("/v1.41/containers/create", json.dumps({"HostConfig": host_config}).encode())


def refusal(wrong: str) -> bytes:
    """Return what a refused client gets, on a connection that goes on."""
    message = f"refused by the runner's agent: {wrong} (SIDECAR_DOCKER_STRICT)"
    body = json.dumps({"message": message}, separators=(",", ":")).encode() + b"\n"
    head = b"HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % len(body) + body


@pytest.mark.parametrize("wrong", REFUSED)
def test_what_is_refused_is_told_in_the_engine_s_form(loop, tmp_path, wrong):
    """The setting is named, the engine hears nothing; without the setting nothing is refused."""
    sent = create(REFUSED[wrong])
    with capture_logs() as logs:
        assert play(loop, tmp_path, sent, sent) == ([refusal(wrong)] * 2, [])
    assert [event["reason"] for event in logs if event["event"] == "docker.request_refused"] == [
        wrong
    ]
    back, heard = play(loop, tmp_path, sent, strict=False)
    assert back[0].startswith(b"HTTP/1.1 201 ")
    assert heard


@pytest.mark.parametrize("number", range(len(ALLOWED)))
def test_what_a_job_needs_is_not_refused(loop, tmp_path, number):
    """The socket itself too: it is the proxy's that is mounted."""
    back, heard = play(loop, tmp_path, create(ALLOWED[number]))
    assert back[0].startswith(b"HTTP/1.1 201 ")
    assert heard


@pytest.mark.parametrize(
    ("path", "body", "wrong"),
    [
        ("/v1.41/containers/x/exec", {"Privileged": True}, "a privileged command"),
        ("/volumes/create", {"DriverOpts": BIND}, "a volume of /run, which holds a docker socket"),
        ("/volumes/create", {"DriverOpts": {"type": "ext4"}}, "a volume of type ext4"),
        ("/libpod/containers/create", {"privileged": True}, "a privileged container"),
        (
            "/libpod/containers/create",
            {"pidns": {"nsmode": "host"}},
            "the host's pid namespace",
        ),
        ("/libpod/containers/create", {"cap_add": ["cap_bpf"]}, "the capability BPF"),
        (
            "/libpod/containers/create",
            {"devices": [{"path": "/dev/mem"}]},
            "the device /dev/mem",
        ),
        (
            "/libpod/containers/create",
            {"rootfs": "/"},
            "a folder of the machine as root",
        ),
        (
            "/libpod/containers/create",
            {"mounts": [{"source": "/", "type": "bind"}]},
            "the folder /, which holds a docker socket",
        ),
    ],
)
def test_other_bodies_that_are_looked_at(loop, tmp_path, path, body, wrong):
    """Commands in containers, volumes, and podman's own form."""
    back, heard = play(loop, tmp_path, post(path, json.dumps(body).encode()))
    assert (back, heard) == ([refusal(wrong)], [])


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/containers/x/exec", {"Cmd": ["true"]}),
        ("/volumes/create", {"Name": "x"}),
        ("/volumes/create", {"DriverOpts": {"type": "tmpfs", "device": "tmpfs"}}),
        ("/build?networkmode=default", {}),
        ("/libpod/containers/create", {"image": "x", "netns": {"nsmode": "bridge"}}),
    ],
)
def test_those_that_are_well_pass(loop, tmp_path, path, body):
    """As they were, but for a create's variables."""
    back, heard = play(loop, tmp_path, post(path, json.dumps(body).encode()))
    assert back[0].startswith(b"HTTP/1.1 20")
    assert heard


@pytest.mark.parametrize(
    "target",
    [
        "/v1.41/build?version=2&networkmode=host",
        "/plugins/pull?remote=x",
        "/swarm/init",
        "/v1.41/services/create",
        "/v4.0.0/libpod/play/kube",
    ],
)
def test_what_nobody_can_look_at(loop, tmp_path, target):
    """Refused by its path alone, before its body has come."""
    back, heard = play(loop, tmp_path, post(target, b"{}"))
    assert back[0].startswith(b"HTTP/1.1 403 ")
    assert b"SIDECAR_DOCKER_STRICT" in back[0]
    assert heard == []


def test_http_2_from_the_first_byte(loop, tmp_path):
    """The daemon's whole API could be asked by it, past the agent."""
    back, heard = play(loop, tmp_path, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    assert back[0].startswith(b"HTTP/1.1 403 ")
    assert heard == []


@pytest.mark.parametrize("body", [b"{", b'{"HostConfig":{"Privileged":true,"privileged":false}}'])
def test_a_body_that_is_no_such_thing(loop, tmp_path, body):
    """400: nobody is refused, or let by, for what cannot be read."""
    for path in ("/containers/create", "/containers/x/exec"):
        back, heard = play(loop, tmp_path, post(path, body))
        assert back[0].startswith(b"HTTP/1.1 400 ") or path.endswith("exec")
        assert not any(b"create" in one for one in heard)


def test_without_strict_mode_a_folder_with_a_socket_is_told_of_once(loop, tmp_path):
    """It prevents accidents: whoever mounts it is warned, and gets it."""
    sent = create({"Binds": ["/var/run:/r"]})
    with capture_logs() as logs:
        back, _ = play(loop, tmp_path, sent, sent, strict=False)
    assert all(one.startswith(b"HTTP/1.1 201 ") for one in back)
    told = [event for event in logs if event["event"] == "docker.socket_exposed"]
    assert [event["source"] for event in told] == ["/var/run"]


def test_an_answer_of_the_agent_s_own_comes_in_its_turn(loop, tmp_path):
    """Of three requests in a row the second is refused: the others are answered as ever."""
    back, _ = play(loop, tmp_path, post("/a") + create({"Privileged": True}) + post("/b", b"after"))
    assert back == [answer(200) + refusal("a privileged container") + answer(200, b"after")]
