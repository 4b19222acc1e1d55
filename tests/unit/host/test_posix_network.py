"""The network namespace on POSIX."""

import shutil
import subprocess
import sys
from contextlib import contextmanager

import pytest

from sidecar import host
from tests.support.namespace import in_namespace
from tests.unit.host.nobody import NOBODY

if sys.platform == "win32":
    pytest.skip("needs POSIX", allow_module_level=True)


def list_loopback() -> str:
    """Return the addresses of `lo` in this namespace."""
    argv = ["ip", "-oneline", "address", "show", "lo"]
    return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=30).stdout


@pytest.mark.root
@pytest.mark.skipif(sys.platform != "linux", reason="needs network namespaces")
def test_a_loopback_address_is_added_and_removed():
    """It has a label of ours; adding or removing it twice is no error."""

    async def play():
        for _ in range(2):
            host.add_loopback_address("169.254.170.23")
            assert list_loopback().count("169.254.170.23/32 scope host lo:sidecar") == 1
        for _ in range(2):
            host.remove_loopback_address("169.254.170.23")
            assert "169.254.170.23" not in list_loopback()

    in_namespace(play())


CLAIMING = """
import socket
one = socket.socket(socket.AF_UNIX)
one.bind("\\0ecs-runner-sidecar")
one.listen()
print("bound", flush=True)
input()
"""


@pytest.mark.root
@pytest.mark.skipif(sys.platform != "linux", reason="needs network namespaces")
def test_a_network_namespace_has_one_agent():
    """Until that agent ends, however it ends; a claim by another user does not count."""

    async def play():
        with host.claim_network():
            for _ in range(4):
                assert host.claim_network() is None
        with claimed_by_nobody():
            host.claim_network().close()

    in_namespace(play())


@contextmanager
def claimed_by_nobody():
    """Let the user nobody claim the namespace."""
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin") or sys.executable
    argv = [python, "-IS", "-c", CLAIMING]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(argv, **pipes, user=NOBODY.uid) as other:
        assert other.stdout.readline() == b"bound\n"
        try:
            yield
        finally:
            other.kill()
