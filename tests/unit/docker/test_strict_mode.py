"""Strict mode refuses what makes a container root on the host, and lets ordinary ones pass."""

from __future__ import annotations

import asyncio
import json

import pytest
from structlog.testing import capture_logs

from sidecar.docker.bind_sources import BindSources
from tests.support.loops import on_both, run
from tests.unit.docker.fakes import answer_all, post, response, start_stage

pytestmark = on_both

BIND = {"type": "none", "o": "bind", "device": "/run"}


def volume_mount(**options: str) -> dict[str, object]:
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
    "a volume of /run, which holds a docker socket": {"Mounts": [volume_mount(**BIND)]},
    "a volume of type ext4": {"Mounts": [volume_mount(type="ext4", device="/dev/sda1")]},
    "a volume of type overlay": {
        "Mounts": [volume_mount(type="overlay", o="lowerdir=/,upperdir=/a,workdir=/b")]
    },
}
ALLOWED = (
    {},
    {"Privileged": False, "PidMode": "", "NetworkMode": "bridge", "IpcMode": "private"},
    {"NetworkMode": "container:x", "CapAdd": ["NET_ADMIN"], "CapDrop": ["ALL"]},
    {"Devices": [{"PathOnHost": "/dev/fuse"}], "MaskedPaths": None, "ReadonlyPaths": None},
    {"Binds": ["/run/docker.sock:/run/docker.sock", "/home/runner/_work:/w", "cache:/c"]},
    {"Mounts": [volume_mount(type="tmpfs", device="tmpfs"), volume_mount(type="nfs", o="addr=x")]},
    {"Mounts": [volume_mount(type="none", o="bind", device="/home/runner/_work")]},
)


def send_each(loop, folder, *sent: bytes, strict: bool = True) -> tuple[list[bytes], list[bytes]]:
    """Send each on a connection of its own; return the responses, and what the engine received."""

    async def scenario():
        sources = BindSources(["/home/runner/_work"])
        playing = start_stage(folder, answer_all, strict=strict, bind_sources=sources)
        async with playing as stage:
            return [await asyncio.wait_for(stage.send(one), 10) for one in sent], stage.received

    return run(loop, scenario())


def make_create(host_config: dict[str, object]) -> bytes:
    """Return a create request."""
    return post("/v1.41/containers/create", json.dumps({"HostConfig": host_config}).encode())


def refused_response(problem: str) -> bytes:
    """Return the response to a refused request, on a connection that stays open."""
    message = f"refused by the runner's agent: {problem} (SIDECAR_DOCKER_STRICT)"
    body = json.dumps({"message": message}, separators=(",", ":")).encode() + b"\n"
    head = b"HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % len(body) + body


@pytest.mark.parametrize("problem", REFUSED)
def test_dangerous_containers_are_refused(loop, tmp_path, problem):
    """The response names the setting; without the setting nothing is refused."""
    sent = make_create(REFUSED[problem])
    with capture_logs() as logs:
        assert send_each(loop, tmp_path, sent, sent) == ([refused_response(problem)] * 2, [])
    assert [event["reason"] for event in logs if event["event"] == "docker.request_refused"] == [
        problem
    ]
    replies, received = send_each(loop, tmp_path, sent, strict=False)
    assert replies[0].startswith(b"HTTP/1.1 201 ")
    assert received


@pytest.mark.parametrize("number", range(len(ALLOWED)))
def test_ordinary_containers_are_not_refused(loop, tmp_path, number):
    """Nor is a bind of the engine's socket: the proxy's is mounted instead."""
    replies, received = send_each(loop, tmp_path, make_create(ALLOWED[number]))
    assert replies[0].startswith(b"HTTP/1.1 201 ")
    assert received


@pytest.mark.parametrize(
    ("path", "body", "problem"),
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
def test_other_dangerous_requests_are_refused(loop, tmp_path, path, body, problem):
    """Commands in containers, volumes, and podman's own form."""
    replies, received = send_each(loop, tmp_path, post(path, json.dumps(body).encode()))
    assert (replies, received) == ([refused_response(problem)], [])


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
def test_other_ordinary_requests_pass(loop, tmp_path, path, body):
    """They are unchanged, except for a create request's variables."""
    replies, received = send_each(loop, tmp_path, post(path, json.dumps(body).encode()))
    assert replies[0].startswith(b"HTTP/1.1 20")
    assert received


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
def test_requests_that_cannot_be_checked_are_refused(loop, tmp_path, target):
    """They are refused by their path, before the body has come."""
    replies, received = send_each(loop, tmp_path, post(target, b"{}"))
    assert replies[0].startswith(b"HTTP/1.1 403 ")
    assert b"SIDECAR_DOCKER_STRICT" in replies[0]
    assert received == []


def test_http_2_without_upgrade_is_refused(loop, tmp_path):
    """A client could use the engine's whole API by it, past the proxy."""
    replies, received = send_each(loop, tmp_path, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    assert replies[0].startswith(b"HTTP/1.1 403 ")
    assert received == []


@pytest.mark.parametrize("body", [b"{", b'{"HostConfig":{"Privileged":true,"privileged":false}}'])
def test_an_unreadable_body_is_refused(loop, tmp_path, body):
    """It gets a 400, and the engine receives no create request."""
    for path in ("/containers/create", "/containers/x/exec"):
        replies, received = send_each(loop, tmp_path, post(path, body))
        assert replies[0].startswith(b"HTTP/1.1 400 ") or path.endswith("exec")
        assert not any(b"create" in one for one in received)


def test_without_strict_mode_a_folder_with_a_socket_is_warned_about_once(loop, tmp_path):
    """A warning is logged, and the container gets its mount."""
    sent = make_create({"Binds": ["/var/run:/r"]})
    with capture_logs() as logs:
        replies, _ = send_each(loop, tmp_path, sent, sent, strict=False)
    assert all(one.startswith(b"HTTP/1.1 201 ") for one in replies)
    warnings = [event for event in logs if event["event"] == "docker.socket_exposed"]
    assert [event["source"] for event in warnings] == ["/var/run"]


def test_a_refusal_keeps_the_order_of_responses(loop, tmp_path):
    """The second of three requests is refused; the other two get their responses."""
    replies, _ = send_each(
        loop, tmp_path, post("/auth") + make_create({"Privileged": True}) + post("/auth", b"after")
    )
    assert replies == [
        response(200) + refused_response("a privileged container") + response(200, b"after")
    ]
