"""Where the proxy stands, and what containers are told: decided from settings and the relay's mode.

What real engines make of it is in `tests/engines/test_proxied.py`.
"""

from __future__ import annotations

import asyncio
import json
import socket
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from sidecar import host
from sidecar.docker import engine as engines
from sidecar.errors import ProxyError, SettingsError
from sidecar.lifecycle import job_docker
from sidecar.lifecycle.job_credentials import JobCredentials
from sidecar.lifecycle.job_docker import ContainerCredentials, JobDocker
from sidecar.relay.identities import Identities
from sidecar.relay.mode import Mode
from sidecar.settings.load import load
from sidecar.shutdown.cleanup import CleanupStack
from tests.unit.docker.fakes import obliging, pinged

URI = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
TASK_URI = "/v2/credentials/task"


@pytest.fixture
def configured(tmp_path, monkeypatch):
    """Give what makes a configuration of these variables."""
    monkeypatch.setattr(host, "is_root", lambda: False)
    monkeypatch.setattr(engines, "DEFAULT_SOCKET", str(tmp_path / "usual" / "docker.sock"))
    (tmp_path / "usual").mkdir()
    listener = tmp_path / "bin" / host.LISTENER.name
    listener.parent.mkdir()
    listener.touch()

    def make(**environ: str):
        common = {
            "SIDECAR_TOKEN_PARAMETER": "/t",
            "SIDECAR_RUNNER_DIR": str(tmp_path),
            "AWS_REGION": "eu-central-1",
            URI: TASK_URI,
        }
        return load([], common | environ)

    return make


@pytest.fixture
def shared():
    """Give a folder whose path is not as long as pytest's are."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@asynccontextmanager
async def standing(config, credentials=None):
    """Stand before the daemon; give what jobs are told, and the log. All is given back after it."""
    cleanup_stack = CleanupStack()
    with capture_logs() as logs:
        async with job_docker.job_docker(
            config, credentials or JobCredentials(mode=Mode.LOCAL), cleanup_stack
        ) as docker:
            yield docker, logs
        await asyncio.gather(*(cleanup_step.begin() for cleanup_step in cleanup_stack.steps))
    assert cleanup_stack.not_done == {}


@asynccontextmanager
async def daemon(path):
    """Listen as a daemon there."""
    server = await asyncio.start_unix_server(obliging, path)
    try:
        yield f"unix://{path}"
    finally:
        server.close()


def play(work) -> None:
    """Run to the end, in bounded time."""
    asyncio.run(asyncio.wait_for(work, 30))


def reason(logs, name="docker.proxy_disabled") -> str:
    """Return the reason of the one event of that name."""
    (event,) = [event for event in logs if event["event"] == name]
    return event["reason"]


# --- where it stands ----------------------------------------------------------------------------


def test_it_listens_where_clients_look_if_that_place_is_free(configured, tmp_path):
    """Then a job needs no DOCKER_HOST, and loses that of the daemon's own socket."""

    async def played():
        async with daemon(tmp_path / "engine.sock") as host_:
            async with standing(configured(DOCKER_HOST=host_)) as (docker, _):
                usual = tmp_path / "usual" / "docker.sock"
                assert docker.led({"DOCKER_HOST": host_, "A": "1"}) == {"A": "1"}
                assert docker.work_dir is None
                assert docker.told == {}
                assert (await pinged(usual)).startswith(b"HTTP/1.1 200 ")
            assert not usual.exists()

    play(played())


def test_it_listens_in_the_shared_folder_if_there_is_one(configured, tmp_path, shared):
    """Jobs are told where, and work beside it unless a setting says otherwise."""

    async def played():
        async with daemon(tmp_path / "engine.sock") as host_:
            env = {"DOCKER_HOST": host_, "SIDECAR_SHARED_DIR": str(shared)}
            async with standing(configured(**env)) as (docker, _):
                assert docker.led({"DOCKER_HOST": host_}) == {
                    "DOCKER_HOST": f"unix://{docker.socket}"
                }
                assert docker.work_dir == f"{docker.socket.parent}/_work"
                assert (await pinged(docker.socket)).startswith(b"HTTP/1.1 200 ")
            assert list(shared.iterdir()) == []
            env["SIDECAR_WORK_DIR"] = "_work"
            async with standing(configured(**env)) as (docker, _):
                assert docker.work_dir is None

    play(played())


def test_where_the_raw_socket_is_at_the_usual_place_there_is_none(configured, tmp_path):
    """By whatever name the daemon is told; the reason names what helps."""

    async def played():
        usual = tmp_path / "usual" / "docker.sock"
        async with daemon(usual):
            (tmp_path / "link").symlink_to(usual)
            for env in ({}, {"DOCKER_HOST": f"unix://{tmp_path}/link"}):
                async with standing(configured(**env)) as (docker, logs):
                    assert not docker.proxied
                    assert docker.led({"DOCKER_HOST": "x"}) == {"DOCKER_HOST": "x"}
                assert "SIDECAR_SHARED_DIR" in reason(logs)

    play(played())


def test_somebody_who_listens_at_the_usual_place_stays(configured, tmp_path):
    """It is not for the agent to take it from him."""

    async def played():
        async with daemon(tmp_path / "usual" / "docker.sock"), daemon(tmp_path / "e") as host_:
            async with standing(configured(DOCKER_HOST=host_)) as (docker, logs):
                assert not docker.proxied
            assert "address already in use (SIDECAR_SHARED_DIR" in reason(logs)
            assert (tmp_path / "usual" / "docker.sock").is_socket()

    play(played())


def test_a_dead_socket_at_the_usual_place_is_replaced(configured, tmp_path):
    """A predecessor that was killed left it."""
    usual = tmp_path / "usual" / "docker.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(usual))

    async def played():
        async with (
            daemon(tmp_path / "engine.sock") as host_,
            standing(configured(DOCKER_HOST=host_)) as (docker, _),
        ):
            assert docker.proxied
            assert (await pinged(usual)).startswith(b"HTTP/1.1 200 ")

    play(played())


@pytest.mark.parametrize(
    ("env", "why"),
    [
        ({}, "nothing names a docker daemon"),
        ({"DOCKER_HOST": "tcp://docker:2376"}, "DOCKER_HOST=tcp://docker:2376 is no socket"),
        ({"SIDECAR_DOCKER_PROXY": "off"}, "SIDECAR_DOCKER_PROXY=off"),
        (
            {"DOCKER_HOST": "unix:///nowhere/d.sock", "SIDECAR_SHARED_DIR": "/proc/x"},
            "(SIDECAR_SHARED_DIR)",
        ),
    ],
)
def test_why_there_is_none_is_told(configured, env, why):
    """And ends the life where the proxy is wanted; off is no wish for one."""

    async def played(**more: str):
        async with standing(configured(**env, **more)) as (_, logs):
            pass
        return logs

    assert why in reason(asyncio.run(played()))
    if "SIDECAR_DOCKER_PROXY" not in env:
        with pytest.raises(ProxyError, match="SIDECAR_DOCKER_PROXY=on") as failed:
            asyncio.run(played(SIDECAR_DOCKER_PROXY="on"))
        assert why in str(failed.value)


def test_strict_mode_does_not_go_without(configured):
    """Nothing would be refused; but where there is no daemon there is nothing to refuse."""

    async def played(**env: str):
        async with standing(configured(SIDECAR_DOCKER_STRICT="true", **env)):
            pass

    asyncio.run(played())
    with pytest.raises(ProxyError, match=r"is no socket .*SIDECAR_DOCKER_STRICT"):
        asyncio.run(played(DOCKER_HOST="tcp://docker:2376"))
    with pytest.raises(SettingsError, match="SIDECAR_DOCKER_STRICT contradicts"):
        asyncio.run(played(SIDECAR_DOCKER_PROXY="off"))


@pytest.mark.parametrize("path", ["shared", "/a:b", "/a,b", "/" + "a" * 80])
def test_a_shared_folder_that_cannot_be_one(configured, path):
    """It stands in binds, and a socket's path is bounded."""
    with pytest.raises(SettingsError, match="SIDECAR_SHARED_DIR"):
        configured(SIDECAR_SHARED_DIR=path)


# --- what containers are told -------------------------------------------------------------------


def netfilter() -> JobCredentials:
    """Return a relay that containers reach."""
    identities = Identities(SimpleNamespace(), lambda: 0.0)
    served = SimpleNamespace(identities=identities)
    return JobCredentials(served=served, redirected=True, mode=Mode.NETFILTER)


def test_where_rules_lead_to_the_relay_each_has_a_path_of_its_own(configured):
    """And may have the job's own instead, if it brings that."""

    async def played():
        credentials = netfilter()
        identities = credentials.served.identities
        way = ContainerCredentials.found(configured(), credentials)
        paths = {way.variables.mint() for _ in range(3)}
        assert len(paths) == 3
        assert all(identities.by_path(path) is not None for path in paths)
        assert way.variables.common == {identities.default_path}
        assert way.told[URI] == identities.default_path
        path = paths.pop()
        way.paths.tied(path, "c")
        assert identities.containers() == {"c"}
        way.paths.revoke(path)
        assert identities.by_path(path) is None

    play(played())


def test_where_the_ecs_agent_answers_all_have_the_task_s(configured):
    """There is nothing to end then."""
    way = ContainerCredentials.found(configured(), JobCredentials(mode=Mode.PASS_THROUGH))
    assert way.variables.mint() == TASK_URI
    assert way.told == {
        URI: TASK_URI,
        "AWS_REGION": "eu-central-1",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    way.paths.tied(TASK_URI, "c")
    way.paths.revoke(TASK_URI)


@pytest.mark.parametrize(
    "credentials",
    [
        JobCredentials(mode=Mode.LOCAL),
        JobCredentials(mode=Mode.OFF),
        JobCredentials(mode=Mode.PASS_THROUGH, separate_job_role=True),
    ],
)
def test_where_they_have_no_way_they_are_told_none(configured, credentials):
    """With a role for jobs, least of all the task's."""
    way = ContainerCredentials.found(configured(), credentials)
    assert way.variables is None
    assert way.told == {}


def test_without_a_proxy_the_job_s_hook_tells_them(configured):
    """What all may have alike."""

    async def played():
        async with standing(configured(), JobCredentials(mode=Mode.PASS_THROUGH)) as (docker, _):
            assert docker.told[URI] == TASK_URI

    play(played())


def test_containers_are_asked_for_where_they_are(configured, tmp_path):
    """The relay asks the daemon, and an image's variables are asked of it too."""
    inspected = {"NetworkSettings": {"Networks": {"a": {"IPAddress": "172.17.0.2"}}}}
    image = {"Config": {"Env": ["A=1"]}}

    async def telling(reader, writer):
        head = await reader.read(4096)
        path = (head or b"GET /nothing").split()[1].decode()
        known = {"/containers/c/json": inspected, "/images/a/b:1/json": image}
        body = json.dumps(known.get(path, {})).encode()
        writer.write(b"HTTP/1.1 200 X\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        writer.close()

    async def played():
        credentials = netfilter()
        server = await asyncio.start_unix_server(telling, tmp_path / "engine.sock")
        config = configured(DOCKER_HOST=f"unix://{tmp_path}/engine.sock")
        async with standing(config, credentials):
            inspect = credentials.served.identities.inspect
            assert await inspect("c") == {"172.17.0.2"}
            told = job_docker._image_variables(engines.Engine(config.task.docker_host))
            assert await told("a/b:1") == ["A=1"]
            assert await told("unknown") == ()
        server.close()
        assert await told("a/b:1") == ()

    play(played())


def test_nothing_secret_is_shown(configured):
    """Neither by what jobs get, nor by the way."""
    way = ContainerCredentials.found(configured(), JobCredentials(mode=Mode.PASS_THROUGH))
    assert TASK_URI not in repr(way)
    assert TASK_URI not in repr(JobDocker(told=way.told))
