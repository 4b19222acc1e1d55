"""A job's docker network at AWS's own addresses does not get the agent's own requests.

They hold the path to the task's credentials; and what comes back would be relayed to containers.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from contextlib import contextmanager
from types import SimpleNamespace

import aiohttp
import pytest
from structlog.testing import capture_logs

from sidecar import host
from sidecar.docker import link_local
from sidecar.docker.heads import parse_request
from sidecar.lifecycle.job_credentials import read_outward_routes
from sidecar.net.marked_sockets import connector, hold_routes
from sidecar.relay.routes import ECS_AGENT
from tests.unit.docker.test_rewriting import FakePaths, RequestRefused, make_policy

if sys.platform != "linux":
    pytest.skip("needs network namespaces", allow_module_level=True)

from tests.engines import spaces

OWN = "169.254.170.1"
OWN_NAMESPACE, HOSTS = frozenset({"awsvpc"}), frozenset({"host"})
NO_RP_FILTER = "for one in all eth0; do echo 0 > /proc/sys/net/ipv4/conf/$one/rp_filter; done"


@contextmanager
def a_task():
    """Make a task's namespace with AWS behind its interface, and one of a job's container."""
    with spaces.create() as task, spaces.create() as aws, spaces.create() as job:
        spaces.connect(task, "eth0", aws, "aws0")
        spaces.connect(task, "bridge", job, "eth0")
        aws.ip("addr add 10.0.2.1/24 dev aws0")
        aws.ip(f"addr add {ECS_AGENT}/32 dev lo")
        task.ip("addr add 10.0.2.61/24 dev eth0")
        task.ip("route add default via 10.0.2.1")
        task.run("sh", "-c", NO_RP_FILTER)
        yield SimpleNamespace(task=task, aws=aws, job=job)


def lay_subnet(place):
    """Lay a docker network around the ECS agent's address, with a container there."""
    place.task.ip(f"addr add {OWN}/28 dev bridge")
    place.job.ip(f"addr add {ECS_AGENT}/28 dev eth0")
    return place.job


def lay_gateway(place):
    """Give a docker network the ECS agent's address as its gateway; a port is published there."""
    place.task.ip(f"addr add {ECS_AGENT}/28 dev bridge")
    return place.task


def listen(space) -> socket.socket:
    """Listen at the ECS agent's address in a namespace."""
    return space.call(lambda: socket.create_server((ECS_AGENT, 80)))


async def serve(sock: socket.socket, word: str) -> asyncio.Server:
    """Answer every request with a word."""

    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 X\r\nContent-Length: %d\r\n\r\n%b" % (len(word), word.encode()))
        writer.close()

    return await asyncio.start_server(answer, sock=sock)


async def ask(seconds: float = 20) -> str:
    """Ask at the ECS agent's address as the agent does; return who answers."""
    timeout = aiohttp.ClientTimeout(total=seconds)
    try:
        async with (
            aiohttp.ClientSession(connector=connector(so_mark=True), timeout=timeout) as session,
            session.get(f"http://{ECS_AGENT}/") as answer,
        ):
            return await answer.text()
    except (aiohttp.ClientError, TimeoutError):
        return "nobody"


def read(routes, modes=OWN_NAMESPACE):
    """Read the routes as a life does."""
    read_outward_routes(routes, SimpleNamespace(so_mark=True), SimpleNamespace(network_modes=modes))


@pytest.mark.root
@pytest.mark.parametrize(
    ("lay", "held", "allowed", "expected"),
    [
        pytest.param(lay_subnet, True, True, "aws", id="mended-subnet"),
        pytest.param(lay_gateway, True, True, "nobody", id="mended-gateway"),
        pytest.param(lay_subnet, True, False, "nobody", id="mended-subnet-by-a-look"),
        pytest.param(lay_gateway, True, False, "nobody", id="mended-gateway-by-a-look"),
        pytest.param(lay_subnet, False, True, "job", id="unmended-subnet"),
        pytest.param(lay_gateway, False, True, "job", id="unmended-gateway"),
    ],
)
def test_the_agent_s_requests_keep_to_their_way(lay, held, allowed, expected, monkeypatch):
    """A subnet, or a gateway with a published port; also where no socket may be bound.

    The agent says so. Unmended, the job answers in AWS's place.
    """
    if not allowed:
        monkeypatch.setattr(host, "bind_to_interface", lambda *_: False)

    async def play(place, sockets):
        with hold_routes() as routes, capture_logs() as logs:
            if held:
                read(routes)
            async with await serve(sockets["aws"], "aws"):
                assert await ask() == "aws"
                routes.look()
                assert logs == []
                async with await serve(listen(await asyncio.to_thread(lay, place)), "job"):
                    answered = await ask(1 if expected == "nobody" else 20)
                    routes.look()
                    routes.look()
        assert answered == expected
        changed = [line["address"] for line in logs if line["event"] == "network.route_changed"]
        assert changed == ([ECS_AGENT] if held else [])

    with a_task() as place:
        place.task.play(play(place, {"aws": listen(place.aws)}))


@pytest.mark.root
@pytest.mark.parametrize(("lay", "answers"), [(lay_subnet, "aws"), (lay_gateway, "nobody")])
def test_a_network_that_an_earlier_job_left_is_no_way_out(lay, answers):
    """It was there before the routes were read: still the way leads out of the task."""

    async def play(place, sock):
        with hold_routes() as routes:
            async with (
                await serve(sock, "aws"),
                await serve(listen(await asyncio.to_thread(lay, place)), "job"),
            ):
                assert await ask() == "job"
                read(routes)
                assert routes.interfaces[ECS_AGENT] == "eth0"
                assert await ask(1 if answers == "nobody" else 20) == answers
                with capture_logs() as logs:
                    routes.look()
        assert [line["event"] for line in logs] == ["network.route_changed"]

    with a_task() as place:
        place.task.play(play(place, listen(place.aws)))


@pytest.mark.root
def test_in_the_host_s_namespace_the_route_is_only_looked_at(monkeypatch):
    """There a rule of the ECS agent's leads its address back to this machine: no socket is bound.

    Nor is one bound for an address that is this namespace's own from the start.
    """
    monkeypatch.setattr(host, "bind_to_interface", lambda *_: pytest.fail("a socket is bound"))

    async def play(place, sock):
        with hold_routes() as routes:
            read(routes, HOSTS)
            async with await serve(sock, "aws"):
                assert await ask() == "aws"
                await asyncio.to_thread(lay_subnet, place)
                assert await ask() == "nobody"
                assert routes.on_network is not None
            await asyncio.to_thread(place.task.ip, f"addr del {OWN}/28 dev bridge")
            await asyncio.to_thread(place.task.ip, f"addr add {ECS_AGENT}/32 dev lo")
            read(routes)
            assert ECS_AGENT not in routes.interfaces

    with a_task() as place:
        place.task.play(play(place, listen(place.aws)))


# --- the docker proxy -----------------------------------------------------------------------------

NETWORKS = [
    {"IPAM": {"Config": [{"Subnet": "169.254.170.0/28", "Gateway": "169.254.170.2"}]}},
    {"ipam": {"config": [{"subnet": "10.1.0.0/16"}, {"subnet": "169.254.0.0/16"}]}},
    {"IPAM": {"Config": [{"Subnet": "0.0.0.0/0"}]}},
    {"IPAM": {"Config": [{"Subnet": "168.0.0.0/6"}]}},
    {"IPAM": {"Config": [{"Subnet": "10.1.0.0/16", "Gateway": "169.254.170.2"}]}},
    {"IPAM": {"Config": [{"AuxiliaryAddresses": {"x": "169.254.169.254"}}]}},
    {"IPAM": {"Config": [{"Subnet": "169.254.0170.0/28"}]}},
    {"IPAM": {"Config": [{"Subnet": "::ffff:169.254.170.0/124"}]}},
    {"IPAM": {"Config": [{"Subnet": "fd00:ec2::/64"}]}},
    {"Options": {"com.docker.network.bridge.host_binding_ipv4": "169.254.170.2"}},
    {"subnets": [{"subnet": "169.254.170.0/28"}]},
]
HARMLESS_NETWORKS = [
    {},
    {"IPAM": None, "Options": None},
    {"Name": "169.254.170.2", "Labels": {"x": "169.254.170.2"}},
    {"IPAM": {"Driver": "default", "Config": [{"Subnet": "10.1.0.0/16", "Gateway": "10.1.0.1"}]}},
    {"IPAM": {"Config": [{"Subnet": "fd00:1::/64"}, {"Subnet": "192.168.0.0/20"}]}},
    {"Options": {"com.docker.network.bridge.host_binding_ipv4": "0.0.0.0", "mtu": "1500"}},
]
PORTS = [
    {"HostConfig": {"PortBindings": {"80/tcp": [{"HostIp": "169.254.170.2", "HostPort": "80"}]}}},
    {"HostConfig": {"portbindings": {"80/tcp": [{}, {"hostip": "169.254.169.254"}]}}},
    {"PortBindings": {"80/tcp": [{"HostIp": "169.254.170.2"}]}},
    {"HostConfig": {"PortBindings": {"80/tcp": [{"HostIp": "[::ffff:169.254.170.2]"}]}}},
    {"portmappings": [{"host_ip": "169.254.170.2", "host_port": 80}]},
]
HARMLESS_PORTS = [
    {"HostConfig": {"PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "80"}]}}},
    {"HostConfig": {"PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1"}, {"HostIp": "::1"}]}}},
    {"HostConfig": {"PortBindings": None}},
    {"Env": ["A=169.254.170.2"]},
]
HEADS = {
    "/networks/create": (NETWORKS, HARMLESS_NETWORKS),
    "/containers/create": (PORTS, HARMLESS_PORTS),
}
CASES = [
    (path, body, bool(place == 0))
    for path, both in HEADS.items()
    for place, bodies in enumerate(both)
    for body in bodies
]


@pytest.mark.parametrize("strict", [True, False], ids=["strict", "plain"])
@pytest.mark.parametrize("mended", [True, False], ids=["mended", "unmended"])
@pytest.mark.parametrize(("path", "body", "bad"), CASES)
def test_link_local_networks_and_ports_are_refused(path, body, bad, mended, strict, monkeypatch):
    """In every spelling that an engine may read, with strict mode and without; nothing else is."""
    if not mended:
        monkeypatch.setattr(link_local, "is_link_local", lambda _text: False)
    policy = make_policy(FakePaths(), strict=strict)
    request = parse_request(f"POST /v1.41{path} HTTP/1.1\r\n\r\n".encode())
    assert policy.body_limit(request) is not None
    check = policy.check(request, json.dumps(body).encode())
    refusal = ""
    try:
        assert asyncio.run(check).body
    except RequestRefused as refused:  # strict mode may have another reason
        refusal = str(refused)
    assert ("link-local" in refusal) is (mended and bad)
    assert strict or bool(refusal) is (mended and bad)
