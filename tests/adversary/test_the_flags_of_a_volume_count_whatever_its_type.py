"""A volume that mounts a folder of the machine is refused, whatever type it says it has.

The kernel looks at the flags first: `type=tmpfs o=rbind device=/` mounts the machine's root.
"""

from __future__ import annotations

import pytest

from sidecar.docker import mount_options
from tests.adversary.engine_requests import find_refusal, make_strict

ATTACKS = [
    {"type": kind, "o": flags, "device": device}
    for kind in ("tmpfs", "nfs", "nfs4", "cifs")
    for flags in ("bind", "rbind", "addr=1.2.3.4,rbind", "move", "remount,rw", "rbind,rshared")
    for device in ("/", "/etc", "/proc", "/run/docker.sock")
]
ORDINARY = [
    {"type": "tmpfs", "device": "tmpfs", "o": "size=100m,uid=1000"},
    {"type": "nfs", "device": ":/export", "o": "addr=1.2.3.4,rw"},
    {"type": "cifs", "device": "//server/share", "o": "username=x,password=y"},
    {"type": "none", "device": "/job", "o": "bind"},
    {"size": "1g"},
    {},
]


def check_by_type(options, _sources, sockets):
    """Judge a volume by its type first, as was once done."""
    if options.get_field("type", str) in mount_options._VOLUME_TYPES or not options:
        return None
    return "a volume of another type"


def find_refusals(policy, options):
    """Make such a volume, and mount one in a container; return the two refusals."""
    driver = {"Name": "local", "Options": options}
    mount = {"Type": "volume", "Target": "/v", "VolumeOptions": {"DriverConfig": driver}}
    return [
        find_refusal(policy, "POST /v1.41/volumes/create", {"Name": "v", "DriverOpts": options}),
        find_refusal(policy, "POST /v1.41/containers/create", {"HostConfig": {"Mounts": [mount]}}),
    ]


@pytest.mark.parametrize("mended", [True, False], ids=["mended", "unmended"])
def test_a_volume_cannot_mount_the_machine(mended, monkeypatch):
    """By none of the types whose volumes hold nothing of the machine."""
    if not mended:
        monkeypatch.setattr(mount_options, "check_volume_options", check_by_type)
        monkeypatch.setattr("sidecar.docker.strict_mode.mount_options", mount_options)
    policy = make_strict("/job")
    for options in ATTACKS:
        refusals = find_refusals(policy, options)
        assert all(refusals) is mended, options


def test_ordinary_volumes_pass():
    """Also one that is the job's work folder."""
    policy = make_strict("/job")
    assert [find_refusals(policy, options) for options in ORDINARY] == [[None, None]] * 6


@pytest.mark.parametrize(
    "host_config",
    [
        {"Binds": ["/job:/w:rw,rshared"]},
        {
            "Mounts": [
                {"Type": "bind", "Source": "/job", "Target": "/w"}
                | {"BindOptions": {"Propagation": "shared"}}
            ]
        },
        {"Tmpfs": {"/t": "rw,rbind"}},
        {"Mounts": [{"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"Options": [["remount"]]}}]},
        {"Mounts": [{"Type": "npipe", "Source": "x", "Target": "/t"}]},
        {"VolumeDriver": "mine"},
    ],
)
def test_a_mount_cannot_reach_the_machine_by_its_flags(host_config):
    """Nor by a driver that is not docker's own."""
    policy = make_strict("/job")
    line = "POST /v1.41/containers/create"
    assert find_refusal(policy, line, {"HostConfig": host_config})


@pytest.mark.parametrize("device", ["/job/sub", "/other", "relative", ""])
def test_a_volume_binds_only_a_whole_work_folder(device):
    """The engine mounts a volume later, unseen: a job could put a link in the place of another."""
    options = {"type": "none", "o": "bind", "device": device}
    assert all(find_refusals(make_strict("/job"), options))
