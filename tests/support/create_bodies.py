"""Make random bodies of create requests: what clients send, what attacks, and many disguises.

A disguise is a second key of the same field, another case, a letter that Go takes for another, an
escape, a place where only some engines read, or a value of another kind.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import random

WORK = "WORK"
"""Stands for the job's work folder in a path."""

HARMLESS: dict[str, tuple[Any, ...]] = {
    "Binds": ([], None, [f"{WORK}/repo:/w"], [f"{WORK}:/w:ro", "cache:/c"], ["/v"]),
    "Mounts": (
        [],
        [{"Type": "bind", "Source": f"{WORK}/repo", "Target": "/w"}],
        [{"Type": "volume", "Source": "cache", "Target": "/c"}],
        [{"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"SizeBytes": 65536}}],
    ),
    "NetworkMode": ("", "default", "bridge", "none"),
    "PidMode": ("",),
    "IpcMode": ("", "private", "none", "shareable"),
    "UTSMode": ("",),
    "CgroupnsMode": ("", "private"),
    "UsernsMode": ("",),
    "Privileged": (False, None),
    "CapAdd": ([], None, ["NET_ADMIN"], ["CAP_CHOWN"]),
    "CapDrop": (["ALL"], None),
    "SecurityOpt": ([], None, ["no-new-privileges"]),
    "Devices": ([], None),
    "DeviceCgroupRules": ([], None),
    "Tmpfs": ({}, {"/t": "size=64k"}),
    "LogConfig": ({}, {"Type": "json-file", "Config": {}}, {"Type": "none"}),
    "RestartPolicy": ({"Name": "no"}, {"Name": ""}),
    "Memory": (0, 64 << 20),
    "CpuShares": (0, 512),
    "AutoRemove": (False, True),
    "ReadonlyRootfs": (False, True),
    "VolumesFrom": ([], None),
    "ExtraHosts": (["a:10.0.0.1"], None),
    "Runtime": ("",),
    "MaskedPaths": (None,),
    "ReadonlyPaths": (None,),
    "Cgroup": ("",),
    "Init": (True, False, None),
}
ATTACKS: dict[str, tuple[Any, ...]] = {
    "Binds": (
        ["/:/host"],
        ["/etc:/x:ro"],
        ["/proc:/x"],
        [f"{WORK}/../../..:/host"],
        [f"{WORK}:/w", "//:/host"],
        ["/run/docker.sock:/s"],
    ),
    "Mounts": (
        [{"Type": "bind", "Source": "/", "Target": "/host"}],
        [{"type": "bind", "source": "/sys", "target": "/x", "ReadOnly": True}],
        [
            {
                "Type": "volume",
                "Target": "/x",
                "VolumeOptions": {
                    "DriverConfig": {
                        "Name": "local",
                        "Options": {"type": "tmpfs", "o": "rbind", "device": "/"},
                    }
                },
            }
        ],
        [{"Type": "npipe", "Source": "/", "Target": "/x"}],
    ),
    "NetworkMode": ("host", "container:ecs-agent"),
    "PidMode": ("host", "container:ecs-agent"),
    "IpcMode": ("host", "container:ecs-agent"),
    "UTSMode": ("host",),
    "CgroupnsMode": ("host",),
    "UsernsMode": ("host",),
    "Privileged": (True,),
    "CapAdd": (["SYS_ADMIN"], ["all"], ["CAP_SYS_MODULE"], ["NET_ADMIN", "sys_rawio"]),
    "SecurityOpt": (["seccomp=unconfined"], ["apparmor=unconfined"], ["label=disable"]),
    "Devices": (
        [{"PathOnHost": "/dev/sda", "PathInContainer": "/dev/x", "CgroupPermissions": "rwm"}],
    ),
    "DeviceCgroupRules": (["a *:* rwm"],),
    "Tmpfs": ({"/t": "rbind"},),
    "LogConfig": ({"Type": "syslog", "Config": {"syslog-address": "unix:///run/docker.sock"}},),
    "VolumesFrom": (["ecs-agent"],),
    "Runtime": ("/tmp/mine",),  # noqa: S108  a runtime by its path
    "MaskedPaths": ([], ["/x"]),
    "ReadonlyPaths": ([],),
    "Cgroup": ("container:ecs-agent",),
}
_TOP: dict[str, tuple[Any, ...]] = {
    "Hostname": ("h",),
    "User": ("", "0"),
    "Env": (["A=1"], []),
    "Labels": ({"Privileged": "true"}, {}),
    "WorkingDir": ("/",),
    "Volumes": ({}, {"/data": {}}),
    "StopTimeout": (1, None),
    "NetworkingConfig": ({}, {"EndpointsConfig": {}}),
    "Unknown": (None, 1),
}
_WRONG = (None, "", 0, 1, "true", [], {}, [None], {"a": None}, "host", [{}])
"""Values of another kind than the field's."""


class Pairs(list[tuple[str, Any]]):
    """An object whose keys may repeat."""


def make(rng: random.Random, image: str) -> bytes:
    """Return the body of a create request."""
    top = Pairs([("Image", image), ("Cmd", ["true"]), *_choose(rng, _TOP, rng.randint(0, 3))])
    host = Pairs(_choose(rng, HARMLESS, rng.randint(0, 4)))
    for _ in range(rng.choice((0, 0, 1, 1, 2))):
        _attack(rng, top, host)
    if rng.random() < 0.1:
        name = rng.choice((*HARMLESS, *ATTACKS))
        host.append((name, rng.choice(_WRONG)))
    _place(rng, top, host)
    if rng.random() < 0.5:
        rng.shuffle(top)
    text = _render(rng, top)
    return (
        text + rng.choice((b"", b"", b"", b"", b"\n", b"{}", b" x", b"\0"))
        if (rng.random() < 0.1)
        else text
    )


def _choose(
    rng: random.Random, fields: dict[str, tuple[Any, ...]], count: int
) -> list[tuple[str, Any]]:
    return [(name, rng.choice(fields[name])) for name in rng.sample(sorted(fields), count)]


def _attack(rng: random.Random, top: Pairs, host: Pairs) -> None:
    """Add an attack to the HostConfig, or outside of it; before or after its harmless value."""
    place = host if rng.random() < 0.7 else top
    (field,) = _choose(rng, ATTACKS, 1)
    if rng.random() < 0.3:
        place.insert(rng.randrange(len(place) + 1), (field[0], rng.choice(HARMLESS[field[0]])))
    place.insert(rng.randrange(len(place) + 1), (_disguise(rng, field[0]), field[1]))


def _disguise(rng: random.Random, name: str) -> str:
    match rng.randrange(6):
        case 0:
            return "".join(rng.choice((letter.lower(), letter.upper())) for letter in name)
        case 1:
            return name.replace("s", "\u017f", 1)
        case 2:
            return name.replace("k", "\u212a", 1).lower()
        case _:
            return name


def _place(rng: random.Random, top: Pairs, host: Pairs) -> None:
    """Put the HostConfig into the body; now and then twice, as null, or not at all."""
    name = _disguise(rng, "HostConfig") if rng.random() < 0.2 else "HostConfig"
    match rng.randrange(20):
        case 0:
            top.extend(host)
        case 1:
            top.extend(((name, None), *host))
        case 2:
            half = len(host) // 2
            top.extend((("HostConfig", Pairs(host[:half])), (name, Pairs(host[half:]))))
        case 3:
            top.extend(((name, host), ("hostconfig", None)))
        case _:
            top.append((name, host))


def _render(rng: random.Random, value: Any) -> bytes:
    if isinstance(value, Pairs):
        pairs = (_render_key(rng, key) + b":" + _render(rng, one) for key, one in value)
        return b"{" + b",".join(pairs) + b"}"
    return json.dumps(value).encode()


def _render_key(rng: random.Random, key: str) -> bytes:
    if rng.random() < 0.03:
        return b'"' + b"".join(b"\\u%04x" % ord(letter) for letter in key) + b'"'
    return json.dumps(key, ensure_ascii=rng.random() < 0.5).encode()
