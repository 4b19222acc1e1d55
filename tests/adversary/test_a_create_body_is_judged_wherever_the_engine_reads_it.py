"""Judge all that the engine would read in a create request, wherever in the body it stands.

Docker 20.10 reads a HostConfig's fields at the top of the body too. It takes them if there is no
HostConfig.
"""

from __future__ import annotations

import pytest

from sidecar.docker import container_create, strict_create
from sidecar.docker.binds import find_binds
from sidecar.docker.json_documents import JsonObject
from tests.adversary.engine_requests import SOCKET, find_refusal, make_strict, pass_create
from tests.unit.docker.fakes import FakePaths
from tests.unit.docker.test_rewriting import make_policy

CREATE = "POST /v1.41/containers/create"
RAW_SOCKET = "/var/run/docker.sock"
ATTACKS = {
    "privileged": {"Privileged": True},
    "another case": {"pRIVILEGED": True},
    "host's processes": {"PidMode": "host"},
    "with an empty HostConfig": {"HostConfig": None, "Privileged": True},
    "a capability": {"CapAdd": ["SYS_ADMIN"]},
    "Go's fold": {"Device\u017f": [{"PathOnHost": "/dev/sda"}]},
    "a bind": {"Binds": ["/etc:/x"]},
}


class Everything:
    """Holds whatever is asked for."""

    def __contains__(self, _name):
        return True


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("mended", [True, False], ids=["mended", "unmended"])
def test_fields_at_the_top_are_refused_in_strict_mode(mended, attack, monkeypatch):
    """No client writes them there."""
    if not mended:
        monkeypatch.setattr(strict_create, "CONTAINER_FIELDS", Everything())
        monkeypatch.setattr("sidecar.docker.strict_mode.find_binds", find_inner_binds)
    refused = find_refusal(make_strict(), CREATE, {"Image": "x", **ATTACKS[attack]})
    assert (refused is not None) is mended


def find_inner_binds(body, **options):
    """Find the binds of the HostConfig alone, as was once done."""
    inner = body.get_field("HostConfig", dict) or JsonObject([])
    return find_binds(JsonObject([("HostConfig", inner)]), **options)


@pytest.mark.parametrize("mended", [True, False], ids=["mended", "unmended"])
def test_a_bind_at_the_top_gets_the_proxy_s_socket_in_every_mode(mended, monkeypatch):
    """Without strict mode too the daemon's own socket stays out of containers."""
    if not mended:
        monkeypatch.setattr(container_create, "find_binds", find_inner_binds)
    bind = f"{RAW_SOCKET}:{RAW_SOCKET}"
    body = pass_create(make_policy(FakePaths()), {"Image": "x", "Binds": [bind]})
    assert body["Binds"] == [f"{SOCKET if mended else RAW_SOCKET}:{RAW_SOCKET}"]


@pytest.mark.parametrize(
    "body",
    [
        b'{"HostConfig":{"Privileged":false,"Privileged":true}}',
        b'{"HostConfig":{"X":1,"x":2}}',
        b'{"HostConfig":{},"hostconfig":{"Privileged":true}}',
        b'{"HostConfig":{"NewField":{"Host":true}}}',
        b'{"HostConfig":{"MaskedPaths":[]}}',
        b'{"HostConfig":null,"MaskedPaths":[]}',
        b'{"ReadonlyPaths":[]}',
        b'{"HostConfig":{"SecurityOpt":[{}],"CapAdd":[{}],"DeviceRequests":1}}',
        b'{"HostConfig":{"SecurityOpt":["seccomp=unconfined"]}}',
        b'{"HostConfig":{"LogConfig":{"Type":"awslogs"}}}',
        b'{"HostConfig":{"NetworkMode":"ns:/proc/1/ns/net"}}',
        b'{"HostConfig":{"UTSMode":"host"}}',
        b'{"HostConfig":{"CgroupnsMode":"host"}}',
        b'{"HostConfig":{"Runtime":"/tmp/mine"}}',
        b'{"HostConfig":{"CapAdd":["PERFMON"]}}',
        b'{"HostConfig":{"CapAdd":["AUDIT_READ"]}}',
        b'{"HostConfig":{"Annotations":{"run.oci.handler":"x"}}}',
        b'{"HostConfig":{"DeviceRequests":[{"Driver":"cdi","DeviceIDs":["x/y=all"]}]}}',
        b'{"NetworkingConfig":{"EndpointsConfig":{"host":{}}}}',
    ],
)
def test_what_is_unknown_or_ambiguous_is_refused(body):
    """A field without a rule, one that is there twice, and a value that nobody needs."""
    assert find_refusal(make_strict(), CREATE, body)


EMPTY_REQUEST = b"""{
"Hostname":"","User":"","AttachStdin":false,"Tty":false,"Env":["A=1"],"Cmd":["true"],"Image":"x",
"Volumes":{},"WorkingDir":"","Entrypoint":null,"OnBuild":null,
"Labels":{"Privileged":"true","privileged":"true"},
"HostConfig":{
"Binds":null,"ContainerIDFile":"","LogConfig":{"Type":"","Config":{}},"NetworkMode":"default",
"PortBindings":{},"AutoRemove":true,"VolumeDriver":"","VolumesFrom":null,"ConsoleSize":[0,0],
"RestartPolicy":{"Name":"no","MaximumRetryCount":0},"CapAdd":null,"CapDrop":null,"CgroupnsMode":"",
"Dns":[],"DnsOptions":[],"DnsSearch":[],"ExtraHosts":null,"GroupAdd":null,"IpcMode":"","Cgroup":"",
"Links":null,"OomScoreAdj":0,"PidMode":"","Privileged":false,"PublishAllPorts":false,
"ReadonlyRootfs":false,"SecurityOpt":null,"UTSMode":"","UsernsMode":"","ShmSize":0,"Isolation":"",
"CpuShares":0,"Memory":0,"NanoCpus":0,"CgroupParent":"","BlkioWeight":0,"BlkioWeightDevice":[],
"BlkioDeviceReadBps":[],"BlkioDeviceWriteBps":[],"BlkioDeviceReadIOps":[],
"BlkioDeviceWriteIOps":[],"CpuPeriod":0,"CpuQuota":0,"CpuRealtimePeriod":0,"CpuRealtimeRuntime":0,
"CpusetCpus":"","CpusetMems":"","Devices":[],"DeviceCgroupRules":null,"DeviceRequests":null,
"KernelMemory":0,"KernelMemoryTCP":0,"MemoryReservation":0,"MemorySwap":0,"MemorySwappiness":-1,
"OomKillDisable":false,"PidsLimit":0,"Ulimits":[],"CpuCount":0,"CpuPercent":0,
"IOMaximumIOps":0,"IOMaximumBandwidth":0,"Mounts":[],"MaskedPaths":null,"ReadonlyPaths":null,
"Init":true,"Capabilities":null,"Annotations":null},
"NetworkingConfig":{"EndpointsConfig":{"github_network":{"Aliases":["db"]}}}}"""


def test_the_request_of_docker_s_own_client_passes():
    """It writes nearly every field, most of them empty; a label's name is no field."""
    assert find_refusal(make_strict(), CREATE, EMPTY_REQUEST) is None
