"""Docker on Windows: its named pipe stands where a socket does elsewhere."""

import asyncio
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

if sys.platform != "win32":
    pytest.skip("needs Windows (make test-windows)", allow_module_level=True)

from sidecar import host
from sidecar.docker.engine import Engine
from sidecar.lifecycle import job_docker
from sidecar.relay.daemon_location import DaemonLocation, locate_daemon


def test_docker_s_pipe_is_found_where_its_clients_look():
    """By its usual name, or another; a missing one is no engine."""

    async def life():
        async with host.open_hook_channel(Path(), None, print) as pipe:
            found = await asyncio.to_thread(Engine.find, None, str(pipe))
            assert found.host == "npipe:////./pipe/" + pipe.name
            assert (found.socket, found.hostname) == (None, None)
        assert Engine.find(None, str(pipe)) is None

    with asyncio.Runner(loop_factory=host.loop_factory()) as runner:
        runner.run(asyncio.wait_for(life(), 60))
    assert Path(host.DOCKER_PLACE).name == "docker_engine"


def test_strict_mode_is_refused_beside_docker_s_pipe():
    """No proxy stands before a pipe: without an error nothing would be refused."""
    config = SimpleNamespace(task=SimpleNamespace(docker_host="npipe:////./pipe/docker_engine"))
    with pytest.raises(job_docker.ProxyUnavailable, match=r"npipe:////\./pipe/docker_engine") as no:
        job_docker.find_engine(config)
    assert no.value.has_engine


def test_a_missing_daemon_is_told_by_the_pipe_s_name():
    """Nobody looks for a socket there."""
    location, reason = asyncio.run(locate_daemon(None))
    assert location is DaemonLocation.ABSENT
    assert r"\\.\pipe\docker_engine" in reason
