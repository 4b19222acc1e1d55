"""A job with a role of its own does not reach the instance's metadata by their IPv6 address."""

import asyncio
import errno
import subprocess
import sys
from contextlib import asynccontextmanager

import aiohttp
import pytest

from sidecar.net.marked_sockets import connector
from sidecar.relay.network_rules import Iptables, Nft, Redirect
from tests.support.namespace import ECS_AGENT, in_namespace
from tests.support.servers import serving
from tests.unit.conftest import spare_children  # noqa: F401  a fixture

if sys.platform != "linux":
    pytest.skip("needs network namespaces", allow_module_level=True)

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("spare_children")]

IMDS6 = "fd00:ec2::254"


async def answer(reader, writer):
    """Answer as an instance would."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 X\r\nContent-Length: 8\r\n\r\ninstance")
    writer.close()


async def wait_for_route():
    """Connect until the kernel has the route, which it adds a moment after the address."""
    while True:
        try:
            _, writer = await asyncio.open_connection(IMDS6, 80)
        except OSError as error:
            if error.errno != errno.ENETUNREACH:
                raise
        else:
            writer.close()
            return


@asynccontextmanager
async def an_instance():
    """Give this namespace an instance's metadata by IPv6, an ECS agent, and a relay."""
    adding = ["ip", "-6", "addr", "add", f"{IMDS6}/128", "dev", "lo", "nodad"]
    await asyncio.to_thread(subprocess.run, adding, check=True, timeout=30)
    async with (
        serving(answer, host=IMDS6, port=80),
        serving(answer, host=ECS_AGENT, port=80),
        serving(answer, host="127.0.0.1", port=0) as relay,
    ):
        await asyncio.wait_for(wait_for_route(), 30)
        yield relay.sockets[0].getsockname()[1]


async def reaches_instance(*, so_mark):
    """Return whether a request of a job, or of the agent itself, gets an answer."""
    try:
        async with (
            aiohttp.ClientSession(connector=connector(so_mark=so_mark)) as session,
            session.get(f"http://[{IMDS6}]/latest/meta-data/") as got,
        ):
            return await got.text() == "instance"
    except aiohttp.ClientConnectorError:
        return False


class Relay:
    """A relay, as far as the rules need one."""

    host = "127.0.0.1"
    relative_uri = "/v2/credentials/secret"

    def __init__(self, port):
        self.port = port


async def without_ipv6(self, tool):
    """Add no rule for IPv6, as in the mode `local` once."""


@pytest.mark.parametrize(
    ("mended", "tool", "containers"),
    [
        pytest.param(True, Iptables, False, id="mended-iptables-local"),
        pytest.param(True, Iptables, True, id="mended-iptables-netfilter"),
        pytest.param(True, Nft, False, id="mended-nft-local"),
        pytest.param(False, Iptables, False, id="unmended"),
    ],
)
def test_only_the_agent_reaches_the_instance(mended, tool, containers, monkeypatch):
    """In every mode with rules, and with each tool; when the rules are removed all is as before."""
    if not mended:
        monkeypatch.setattr(Redirect, "_refuse_ipv6", without_ipv6)
    if tool is Nft:
        monkeypatch.setattr(Iptables, "add_rules", Nft().add_rules)
        monkeypatch.setattr(Iptables, "refuse_ipv6", Nft().refuse_ipv6)
        monkeypatch.setattr(Iptables, "remove_rules", Nft().remove_rules)

    async def play():
        async with an_instance() as port:
            redirect = Redirect(frozenset({"awsvpc"}), containers=containers)
            assert await reaches_instance(so_mark=False)
            redirect.prepare()
            await redirect.add_rules(Relay(port))
            assert await reaches_instance(so_mark=False) is not mended
            assert await reaches_instance(so_mark=True)
            await redirect.remove_rules()
            assert await reaches_instance(so_mark=False)

    in_namespace(play())
