"""A job that binds the name by which an agent claims its network namespace keeps no agent out."""

import shutil
import subprocess
import sys
from contextlib import contextmanager

import pytest

from sidecar import host
from tests.support.namespace import in_namespace
from tests.unit.host.nobody import NOBODY

if sys.platform != "linux":
    pytest.skip("needs network namespaces", allow_module_level=True)

from sidecar.host import posix_claims

pytestmark = pytest.mark.root

ATTACK = """
import socket, sys
held = []
for name in ("\\0ecs-runner-sidecar", "\\0ecs-runner-sidecar-0123456789abcdef"):
    one = socket.socket(socket.AF_UNIX)
    one.bind(name)
    one.listen(0)
    held.append(one)
    while True:
        client = socket.socket(socket.AF_UNIX)
        client.setblocking(False)
        try:
            client.connect(name)
        except BlockingIOError:
            break
        held.append(client)
print("bound and full", flush=True)
input()
"""


@contextmanager
def attacked():
    """Let an unprivileged process bind such names, and fill the queues of its sockets."""
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin") or sys.executable
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([python, "-IS", "-c", ATTACK], **pipes, user=NOBODY.uid) as other:
        assert other.stdout.readline() == b"bound and full\n"
        try:
            yield
        finally:
            other.kill()


@pytest.mark.parametrize("mended", [True, False], ids=["mended", "unmended"])
def test_a_job_s_claim_does_not_count(mended, monkeypatch):
    """Although its queue is full; without asking the kernel, it is taken for an agent's."""
    if not mended:
        monkeypatch.setattr(posix_claims, "_list_owners", lambda: None)

    async def play():
        with attacked():
            claim = host.claim_network()
            assert (claim is not None) is mended
            if claim is not None:
                claim.close()

    in_namespace(play())


def test_an_agent_with_another_name_is_seen_by_the_next():
    """While the job has the usual name, and after it; once it has ended, the name is free."""

    async def play():
        with attacked():
            first = host.claim_network()
            assert host.claim_network() is None
        assert host.claim_network() is None
        first.close()
        host.claim_network().close()

    in_namespace(play())


def test_very_many_sockets_of_others_are_no_obstacle():
    """The kernel lists them in several messages."""
    import socket

    async def play():
        others = []
        for number in range(700):
            one = socket.socket(socket.AF_UNIX)
            one.bind(f"\0another-{number}-" + "x" * 60)
            one.listen(1)
            others.append(one)
        with host.claim_network():
            assert host.claim_network() is None
        for one in others:
            one.close()

    in_namespace(play())


@pytest.mark.parametrize("failure", ["error", "short", "silent"])
def test_a_kernel_that_does_not_tell_is_asked_the_old_way(failure, monkeypatch):
    """Before Linux 5.3 it knows no owner: a connection then tells whose the usual name is."""

    async def play():
        monkeypatch.setattr(posix_claims, "_read_claims", fail)
        with host.claim_network():
            assert host.claim_network() is None
        with attacked():
            assert host.claim_network() is None

    def fail(_kernel):
        raise {"error": LookupError, "short": posix_claims.struct.error, "silent": TimeoutError}[
            failure
        ]

    in_namespace(play())
