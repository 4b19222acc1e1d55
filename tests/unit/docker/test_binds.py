"""Binds of the engine's socket are found under all its names, and replaced by the proxy's."""

from __future__ import annotations

import json

import pytest

from sidecar.docker.binds import Sockets, normalize_path
from sidecar.docker.container_create import ContainerCreate

PROXY = "/mnt/shared/docker.sock"


SOCKETS = Sockets.from_paths(PROXY, "/run/other/engine.sock")


def replace_binds_in(**host_config: object) -> dict[str, object]:
    """Return the HostConfig for the engine."""
    create = ContainerCreate(json.dumps({"HostConfig": host_config}).encode())
    create.replace_binds(SOCKETS.find_replacement)
    return json.loads(create.body)["HostConfig"]


@pytest.mark.parametrize(
    "source",
    [
        "/var/run/docker.sock",
        "/run/docker.sock",
        "//var/run/./docker.sock",
        "/var/run/x/../docker.sock",
        "/run/other/engine.sock",
        "/var/run/other/engine.sock/",
    ],
)
def test_a_bind_of_the_engine_socket_is_replaced(source):
    """For each of them a container gets the proxy's socket; target and options stay."""
    assert replace_binds_in(Binds=[f"{source}:/var/run/docker.sock:ro", f"{source}:/b"]) == {
        "Binds": [f"{PROXY}:/var/run/docker.sock:ro", f"{PROXY}:/b"]
    }
    mount = {"Type": "bind", "Source": source, "Target": "/d", "ReadOnly": True}
    assert replace_binds_in(Mounts=[mount]) == {"Mounts": [{**mount, "Source": PROXY}]}
    options = {"type": "none", "o": "bind", "device": source}
    volume = {"VolumeOptions": {"DriverConfig": {"Name": "local", "Options": options}}}
    driver = {"Name": "local", "Options": {**options, "device": PROXY}}
    assert replace_binds_in(Mounts=[volume]) == {
        "Mounts": [{"VolumeOptions": {"DriverConfig": driver}}]
    }


@pytest.mark.parametrize(
    "bind", ["docker.sock:/d", "/run:/run", "/run/docker.sock.d:/d", "/a/run/docker.sock:/d", "", 1]
)
def test_other_binds_are_unchanged(bind):
    """Volumes, other folders, and entries that are no binds."""
    assert replace_binds_in(Binds=[bind]) == {"Binds": [bind]}


def test_a_proxy_at_the_default_path_is_not_replaced():
    """The engine's own socket is elsewhere then, and only that one is replaced."""
    sockets = Sockets.from_paths("/var/run/docker.sock", "/run/engine/raw.sock")
    assert sockets.find_replacement("/run/docker.sock") is None
    assert sockets.find_replacement("/var/run/engine/raw.sock") == "/var/run/docker.sock"


def test_podman_s_mounts_are_replaced():
    """They are OCI mounts, with a `source` in lower case."""
    create = ContainerCreate(
        b'{"mounts":[{"type":"bind","source":"/run/docker.sock","destination":"/d"}]}', libpod=True
    )
    create.replace_binds(SOCKETS.find_replacement)
    assert json.loads(create.body)["mounts"][0]["source"] == PROXY


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("/", "/"),
        ("//", "/"),
        ("/var/run", "/run"),
        ("/var/running", "/var/running"),
        ("/a/", "/a"),
    ],
)
def test_paths_are_normalized(path, form):
    """Equal paths get the same form."""
    assert normalize_path(path) == form


@pytest.mark.parametrize(
    ("folder", "holds"),
    [
        ("/", True),
        ("/run", True),
        ("/var/run/", True),
        ("/run/other", True),
        ("/mnt/shared", True),
        ("/mnt", True),
        ("/run/docker.sock", False),
        ("/run/oth", False),
        ("/var", True),
        ("/va", False),
    ],
)
def test_a_folder_with_a_socket_is_recognized(folder, holds):
    """Whether it is the engine's socket or the proxy's."""
    assert SOCKETS.any_in_folder(folder) is holds
