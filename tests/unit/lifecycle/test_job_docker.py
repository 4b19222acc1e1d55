"""Where the docker proxy listens, and which variables containers get, by settings and relay mode.

`tests/engines/test_proxied.py` tests the same with real engines.
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
from sidecar.docker.created import ObjectRecord
from sidecar.errors import ProxyError, SettingsError
from sidecar.lifecycle import engine_folders, job_docker
from sidecar.lifecycle.job_credentials import JobCredentials
from sidecar.lifecycle.job_docker import ContainerCredentials, JobDocker
from sidecar.relay.identities import Identities
from sidecar.relay.mode import Mode
from sidecar.settings.load import load
from sidecar.shutdown.cleanup import CleanupStack
from sidecar.shutdown.stop import Stop
from tests.support.servers import serving
from tests.unit.docker.fakes import (
    CREATED,
    ID,
    NO_IMAGE,
    answer_all,
    answer_probe,
    is_probe,
    ping,
    post,
    read_request,
    response,
)

URI = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
TASK_URI = "/v2/credentials/task"


@pytest.fixture
def make_config(tmp_path, monkeypatch):
    """Return a function that makes a configuration of these variables."""
    monkeypatch.setattr(host, "is_root", lambda: False)
    monkeypatch.setattr(engines, "DEFAULT_SOCKET", str(tmp_path / "usual" / "docker.sock"))
    monkeypatch.setattr(engines, "DEADLINE", 60.0)  # the machine may be busy
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
    """Return a folder with a short path: a socket's path is limited."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@asynccontextmanager
async def run_proxy(config, credentials=None):
    """Run the proxy; yield the job's docker and the log. Checks that all cleanup steps succeed."""
    cleanup_stack = CleanupStack()
    with capture_logs() as logs:
        async with job_docker.job_docker(
            config, credentials or JobCredentials(mode=Mode.LOCAL), cleanup_stack, Stop(30)
        ) as docker:
            yield docker, logs
        await asyncio.gather(*(cleanup_step.begin() for cleanup_step in cleanup_stack.steps))
    assert cleanup_stack.not_done == {}


@asynccontextmanager
async def run_engine(path):
    """Run a fake engine at this path."""
    async with serving(answer_all, path):
        yield f"unix://{path}"


def run_bounded(work) -> None:
    """Run a coroutine to its end, for at most 120 s."""
    asyncio.run(asyncio.wait_for(work, 120))


def read_reason(logs, name="docker.proxy_disabled") -> str:
    """Return the reason of the one event of that name."""
    (event,) = [event for event in logs if event["event"] == name]
    return event["reason"]


# --- where the proxy listens --------------------------------------------------------------------


def test_it_listens_at_the_default_path_if_that_is_free(make_config, tmp_path):
    """A job then needs no DOCKER_HOST, and does not get that of the engine's own socket."""

    async def scenario():
        async with run_engine(tmp_path / "engine.sock") as docker_host:
            async with run_proxy(make_config(DOCKER_HOST=docker_host)) as (docker, _):
                default = tmp_path / "usual" / "docker.sock"
                assert docker.set_variables({"DOCKER_HOST": docker_host, "A": "1"}) == {"A": "1"}
                assert docker.work_dir is None
                assert docker.hook_variables == {}
                assert (await ping(default)).startswith(b"HTTP/1.1 200 ")
            assert not default.exists()

    run_bounded(scenario())


def test_it_listens_in_the_shared_folder_if_one_is_set(make_config, tmp_path, shared):
    """DOCKER_HOST names its socket; the work folder is beside it unless a setting says else."""

    async def scenario():
        async with run_engine(tmp_path / "engine.sock") as docker_host:
            env = {"DOCKER_HOST": docker_host, "SIDECAR_SHARED_DIR": str(shared)}
            async with run_proxy(make_config(**env)) as (docker, _):
                assert docker.set_variables({"DOCKER_HOST": docker_host}) == {
                    "DOCKER_HOST": f"unix://{docker.socket}"
                }
                assert docker.work_dir == f"{docker.socket.parent}/_work"
                assert (await ping(docker.socket)).startswith(b"HTTP/1.1 200 ")
            assert list(shared.iterdir()) == []
            env["SIDECAR_WORK_DIR"] = "_work"
            async with run_proxy(make_config(**env)) as (docker, _):
                assert docker.work_dir is None

    run_bounded(scenario())


@pytest.mark.parametrize(
    ("passed_on", "expected"), [({}, "0"), ({"DOCKER_BUILDKIT": "1"}, "1")], ids=["unset", "set"]
)
def test_a_strict_job_builds_by_requests_that_can_be_checked(
    make_config, tmp_path, passed_on, expected
):
    """Newer clients ask by a stream otherwise; what the task definition sets stays."""

    async def scenario():
        async with run_engine(tmp_path / "engine.sock") as docker_host:
            config = make_config(DOCKER_HOST=docker_host, SIDECAR_DOCKER_STRICT="true")
            async with run_proxy(config) as (docker, _):
                assert docker.set_variables(passed_on) == {"DOCKER_BUILDKIT": expected}

    run_bounded(scenario())


def test_an_engine_at_the_default_path_leaves_no_place_for_the_proxy(make_config, tmp_path):
    """By whatever path the engine is named; the reason names the setting that helps."""

    async def scenario():
        default = tmp_path / "usual" / "docker.sock"
        async with run_engine(default):
            (tmp_path / "link").symlink_to(default)
            for env in ({}, {"DOCKER_HOST": f"unix://{tmp_path}/link"}):
                async with run_proxy(make_config(**env)) as (docker, logs):
                    assert not docker.proxied
                    assert docker.set_variables({"DOCKER_HOST": "x"}) == {"DOCKER_HOST": "x"}
                assert "SIDECAR_SHARED_DIR" in read_reason(logs)

    run_bounded(scenario())


def test_another_listener_at_the_default_path_stays(make_config, tmp_path):
    """The agent does not take the socket from another process."""

    async def scenario():
        async with (
            run_engine(tmp_path / "usual" / "docker.sock"),
            run_engine(tmp_path / "e") as docker_host,
        ):
            async with run_proxy(make_config(DOCKER_HOST=docker_host)) as (docker, logs):
                assert not docker.proxied
            assert "address already in use (SIDECAR_SHARED_DIR" in read_reason(logs)
            assert (tmp_path / "usual" / "docker.sock").is_socket()

    run_bounded(scenario())


def test_an_unused_socket_at_the_default_path_is_replaced(make_config, tmp_path):
    """A killed agent leaves such a socket."""
    default = tmp_path / "usual" / "docker.sock"
    with socket.socket(socket.AF_UNIX) as unused:
        unused.bind(str(default))

    async def scenario():
        async with (
            run_engine(tmp_path / "engine.sock") as docker_host,
            run_proxy(make_config(DOCKER_HOST=docker_host)) as (docker, _),
        ):
            assert docker.proxied
            assert (await ping(default)).startswith(b"HTTP/1.1 200 ")

    run_bounded(scenario())


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
def test_a_missing_proxy_has_a_reason(make_config, env, why):
    """It is logged, and an error where a setting requires the proxy. Off requires none."""

    async def scenario(**more: str):
        async with run_proxy(make_config(**env, **more)) as (_, logs):
            pass
        return logs

    assert why in read_reason(asyncio.run(scenario()))
    if "SIDECAR_DOCKER_PROXY" not in env:
        with pytest.raises(ProxyError, match="SIDECAR_DOCKER_PROXY=on") as failed:
            asyncio.run(scenario(SIDECAR_DOCKER_PROXY="on"))
        assert why in str(failed.value)


def test_strict_mode_requires_the_proxy(make_config):
    """Nothing would be refused without it. With no engine there is nothing to refuse."""

    async def scenario(**env: str):
        async with run_proxy(make_config(SIDECAR_DOCKER_STRICT="true", **env)):
            pass

    asyncio.run(scenario())
    with pytest.raises(ProxyError, match=r"is no socket .*SIDECAR_DOCKER_STRICT"):
        asyncio.run(scenario(DOCKER_HOST="tcp://docker:2376"))
    with pytest.raises(SettingsError, match="SIDECAR_DOCKER_STRICT contradicts"):
        asyncio.run(scenario(SIDECAR_DOCKER_PROXY="off"))


async def read_status(socket, request: bytes) -> int:
    """Send a request to the proxy; return the response's status."""
    reader, writer = await asyncio.open_unix_connection(socket)
    writer.write(request)
    status = (await reader.readline()).split()[1]
    writer.close()
    return int(status)


@pytest.mark.parametrize("strict", ["true", "false"])
def test_strict_mode_knows_the_job_s_folders_and_containers(make_config, tmp_path, shared, strict):
    """Its work folder, the shared folder and externals; of the containers, those it has made."""

    async def scenario():
        async with run_engine(tmp_path / "engine.sock") as docker_host:
            env = {"DOCKER_HOST": docker_host, "SIDECAR_SHARED_DIR": str(shared)}
            config = make_config(SIDECAR_DOCKER_STRICT=strict, **env)
            (tmp_path / "externals").mkdir()
            async with run_proxy(config) as (docker, _):
                docker.allow_binds(Path(docker.work_dir))
                statuses = []
                for source, options in (
                    (docker.work_dir, ""),
                    (shared / "cache", ""),
                    (tmp_path / "externals", ":ro"),
                    (tmp_path / "externals", ""),
                    (docker.socket.parent / "created", ""),
                    (shared / "runner-other", ""),
                    ("/etc", ":ro"),
                ):
                    body = {"HostConfig": {"Binds": [f"{source}:/x{options}"]}}
                    request = post("/containers/create", json.dumps(body).encode())
                    statuses.append(await read_status(docker.socket, request))
                for name in (ID, "ecs-agent"):
                    request = post(f"/containers/{name}/wait")
                    statuses.append(await read_status(docker.socket, request))
                return statuses

    refused = 403 if strict == "true" else 201
    expected = [201, 201, 201, *[refused] * 4, 200, 403 if strict == "true" else 200]
    assert asyncio.run(asyncio.wait_for(scenario(), 120)) == expected


@pytest.mark.parametrize("path", ["shared", "/a:b", "/a,b", "/" + "a" * 80])
def test_an_unusable_shared_folder_is_an_error(make_config, path):
    """The path is used in binds, and a socket's path is limited."""
    with pytest.raises(SettingsError, match="SIDECAR_SHARED_DIR"):
        make_config(SIDECAR_SHARED_DIR=path)


# --- what the daemon sees -----------------------------------------------------------------------


@asynccontextmanager
async def run_distant_engine(path, *, seen: str = "/nowhere"):
    """Run a fake engine whose machine has the agent's files in one folder alone."""

    async def answer(reader, writer):
        while True:
            try:
                _, body = await read_request(reader)
            except (asyncio.IncompleteReadError, ConnectionError):
                break
            writer.write(answer_probe(body, seen) if is_probe(body) else response(200, b"{}"))
        writer.close()

    async with serving(answer, path):
        yield f"unix://{path}"


class FirstWarning:
    """A log that keeps the first warning, for which a test may wait."""

    def __init__(self) -> None:
        self.facts = asyncio.get_running_loop().create_future()

    def warning(self, event, **facts):
        """Keep it."""
        self.facts.set_result({"event": event, **facts})


@pytest.mark.parametrize("wanted", ["on", "auto"])
def test_a_shared_folder_that_only_the_agent_has_is_found_out(
    make_config, tmp_path, shared, wanted
):
    """An error where the proxy is required, else a warning; containers would get empty folders."""

    async def scenario():
        async with run_distant_engine(tmp_path / "engine.sock") as docker_host:
            env = {"DOCKER_HOST": docker_host, "SIDECAR_SHARED_DIR": str(shared)}
            async with run_proxy(make_config(**env, SIDECAR_DOCKER_PROXY=wanted)) as (docker, logs):
                assert not docker.proxied
                assert docker.work_dir is None
            (event,) = [one for one in logs if one["event"] == "docker.proxy_disabled"]
            assert event["log_level"] == "warning"
            assert f"does not see {shared}" in event["reason"]
            assert "SIDECAR_SHARED_DIR" in event["reason"]
            assert list(shared.iterdir()) == []

    if wanted == "on":
        with pytest.raises(ProxyError, match=r"does not see .*SIDECAR_SHARED_DIR"):
            run_bounded(scenario())
    else:
        run_bounded(scenario())


def test_a_shared_folder_is_looked_at_when_a_late_engine_answers(
    make_config, tmp_path, shared, monkeypatch
):
    """An engine that starts later delays the agent for some seconds only."""
    monkeypatch.setattr(engine_folders, "STARTING", 0.0)

    async def scenario():
        env = {
            "DOCKER_HOST": f"unix://{tmp_path}/engine.sock",
            "SIDECAR_SHARED_DIR": str(shared),
        }
        monkeypatch.setattr(engine_folders, "log", log := FirstWarning())
        async with run_proxy(make_config(**env)) as (docker, _):
            assert docker.proxied
            async with run_distant_engine(tmp_path / "engine.sock"):
                facts = await log.facts
            assert facts["event"] == "docker.folder_unseen"
            assert facts["folder"] == str(docker.socket.parent)
            assert "SIDECAR_SHARED_DIR" in facts["reason"]

    run_bounded(scenario())


@pytest.mark.parametrize("proxied", [True, False])
def test_a_work_folder_that_the_daemon_does_not_see_is_found_out(
    make_config, tmp_path, monkeypatch, proxied
):
    """With a proxy and without; the job may have no containers, so it is a warning."""
    place = tmp_path / ("engine.sock" if proxied else "usual/docker.sock")

    async def scenario():
        monkeypatch.setattr(engine_folders, "log", log := FirstWarning())
        async with (
            run_distant_engine(place) as docker_host,
            run_proxy(make_config(DOCKER_HOST=docker_host)) as (docker, _),
        ):
            assert docker.proxied is proxied
            facts = await log.facts
            assert facts["event"] == "docker.folder_unseen"
            assert facts["folder"] == str(tmp_path / "_work")
        assert not list(tmp_path.glob(".sidecar-probe*"))

    run_bounded(scenario())


# --- what a job created -------------------------------------------------------------------------


class ListingEngine:
    """An engine with one container, whose removal a test watches."""

    def __init__(self, path):
        self.path = path
        self.containers = []
        self.on_delete = lambda: None

    async def answer(self, reader, writer):
        """Answer the requests of one connection."""
        while True:
            try:
                head, body = await read_request(reader)
            except (asyncio.IncompleteReadError, ConnectionError):
                break
            method, target = head.decode().split()[:2]
            probe = response(404, NO_IMAGE)
            writer.write(probe if is_probe(body) else self.respond(method, target))
        writer.close()

    def respond(self, method, target):
        """Return the response to one request."""
        if method == "POST":
            self.containers.append(ID)
            return response(201, CREATED)
        if method == "DELETE":
            self.on_delete()
            self.containers.clear()
            return response(200)
        if target.startswith("/containers/json"):
            return response(200, json.dumps([{"Id": one} for one in self.containers]).encode())
        return response(404)


@asynccontextmanager
async def run_listing_engine(folder):
    """Run such an engine; yield it and its DOCKER_HOST."""
    engine = ListingEngine(folder / "engine.sock")
    async with serving(engine.answer, engine.path):
        yield engine, f"unix://{engine.path}"


async def create_container(path) -> None:
    """Create a container through the proxy at `path`."""
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(post("/containers/create", b"{}"))
    assert b" 201 " in await reader.readline()
    writer.close()


def test_a_job_s_containers_are_removed_before_the_proxy_is_closed(make_config, tmp_path, shared):
    """Until then they, and the job's own clean-up, may use it."""

    async def scenario():
        async with run_listing_engine(tmp_path) as (engine, docker_host):
            env = {"DOCKER_HOST": docker_host, "SIDECAR_SHARED_DIR": str(shared)}
            seen = []
            async with run_proxy(make_config(**env)) as (docker, logs):
                await create_container(docker.socket)
                engine.on_delete = lambda: seen.append(docker.socket.exists())
            assert seen == [True]
            assert list(shared.iterdir()) == []
            (event,) = [event for event in logs if event["event"] == "docker.objects_removed"]
            assert (event["containers"], event["killed_agent"]) == (1, False)

    run_bounded(scenario())


def test_without_cleanup_they_stay_and_are_named(make_config, tmp_path, shared):
    """The folder is removed all the same."""

    async def scenario():
        async with run_listing_engine(tmp_path) as (engine, docker_host):
            env = {
                "DOCKER_HOST": docker_host,
                "SIDECAR_SHARED_DIR": str(shared),
                "SIDECAR_DOCKER_CLEANUP": "off",
            }
            async with run_proxy(make_config(**env)) as (docker, logs):
                await create_container(docker.socket)
            assert engine.containers == [ID]
            (event,) = [event for event in logs if event["event"] == "docker.objects_kept"]
            assert event["objects"] == [f"container {ID[:12]}"]
            assert list(shared.iterdir()) == []

    run_bounded(scenario())


def test_what_cannot_be_removed_in_time_does_not_keep_the_life(make_config, tmp_path, shared):
    """The rest of the cleanup begins; the record stays for the next agent."""

    async def scenario():
        async with run_listing_engine(tmp_path) as (engine, docker_host):
            env = {"DOCKER_HOST": docker_host, "SIDECAR_SHARED_DIR": str(shared)}
            cleanup_stack, stop = CleanupStack(), Stop(1)
            async with job_docker.job_docker(
                make_config(**env), JobCredentials(mode=Mode.LOCAL), cleanup_stack, stop
            ) as docker:
                await create_container(docker.socket)
                engine.respond = lambda *_: response(500)
            with capture_logs():
                steps = {step.name: step for step in cleanup_stack.steps}
                await steps["containers"].begin()
                await steps["docker proxy"].begin()
            assert "answered 500" in cleanup_stack.not_done["containers"]
            (record,) = [path for path in shared.glob("*/*") if path.name != "lock"]
            assert ID in record.read_text()

    run_bounded(scenario())


@pytest.mark.parametrize("is_shared", [True, False])
def test_the_next_life_removes_what_a_killed_one_left(make_config, tmp_path, shared, is_shared):
    """From the record in its folder, or in the runner's folder without a shared one."""

    async def scenario():
        async with run_listing_engine(tmp_path) as (engine, docker_host):
            engine.containers.append(ID)
            folder = shared / "runner-1" if is_shared else tmp_path
            folder.mkdir(exist_ok=True)
            ObjectRecord(folder / ("created" if is_shared else job_docker.RECORD)).add(
                "container", ID
            )
            removed = asyncio.Event()
            engine.on_delete = removed.set
            env = {"DOCKER_HOST": docker_host}
            if is_shared:
                env["SIDECAR_SHARED_DIR"] = str(shared)
            async with run_proxy(make_config(**env)):
                await removed.wait()
                while is_shared and folder.exists():  # noqa: ASYNC110  a thread removes it
                    await asyncio.sleep(0)
            assert list(shared.iterdir()) == []
            assert not (tmp_path / job_docker.RECORD).exists()

    run_bounded(scenario())


# --- the variables of containers ----------------------------------------------------------------


def make_netfilter() -> JobCredentials:
    """Return credentials that containers reach through network rules."""
    identities = Identities(SimpleNamespace(), lambda: 0.0)
    relay = SimpleNamespace(identities=identities)
    return JobCredentials(relay=relay, redirected=True, mode=Mode.NETFILTER)


def test_in_netfilter_mode_each_container_has_its_own_path(make_config):
    """A container may set the job's own path instead."""

    async def scenario():
        credentials = make_netfilter()
        identities = credentials.relay.identities
        container_credentials = ContainerCredentials.choose(make_config(), credentials)
        paths = {container_credentials.variables.mint() for _ in range(3)}
        assert len(paths) == 3
        assert all(identities.by_path(path) is not None for path in paths)
        assert container_credentials.variables.shared_paths == {identities.default_path}
        assert container_credentials.hook_variables[URI] == identities.default_path
        path = paths.pop()
        container_credentials.paths.assign(path, "c")
        assert identities.containers() == {"c"}
        container_credentials.paths.revoke(path)
        assert identities.by_path(path) is None

    run_bounded(scenario())


def test_in_pass_through_mode_containers_share_the_task_s_path(make_config):
    """Nothing is assigned or revoked then."""
    container_credentials = ContainerCredentials.choose(
        make_config(), JobCredentials(mode=Mode.PASS_THROUGH)
    )
    assert container_credentials.variables.mint() == TASK_URI
    assert container_credentials.hook_variables == {
        URI: TASK_URI,
        "AWS_REGION": "eu-central-1",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    container_credentials.paths.assign(TASK_URI, "c")
    container_credentials.paths.revoke(TASK_URI)


@pytest.mark.parametrize(
    "credentials",
    [
        JobCredentials(mode=Mode.LOCAL),
        JobCredentials(mode=Mode.OFF),
        JobCredentials(mode=Mode.PASS_THROUGH, separate_job_role=True),
    ],
)
def test_in_other_modes_containers_get_no_variables(make_config, credentials):
    """Least of all the task role's, if jobs have a separate job role."""
    container_credentials = ContainerCredentials.choose(make_config(), credentials)
    assert container_credentials.variables is None
    assert container_credentials.hook_variables == {}


def test_without_a_proxy_the_job_s_hook_sets_the_variables(make_config):
    """It sets the variables that all containers can share."""

    async def scenario():
        async with run_proxy(make_config(), JobCredentials(mode=Mode.PASS_THROUGH)) as (docker, _):
            assert docker.hook_variables[URI] == TASK_URI

    run_bounded(scenario())


def test_containers_and_images_are_inspected(make_config, tmp_path):
    """The relay inspects containers by it, and the proxy reads an image's variables."""
    inspected = {"NetworkSettings": {"Networks": {"a": {"IPAddress": "172.17.0.2"}}}}
    image = {"Config": {"Env": ["A=1"]}}

    async def answer(reader, writer):
        head = await reader.read(4096)
        path = (head or b"GET /nothing").split()[1].decode()
        known = {"/containers/c/json": inspected, "/images/a/b:1/json": image}
        body = json.dumps(known.get(path, {})).encode()
        writer.write(b"HTTP/1.1 200 X\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        writer.close()

    async def scenario():
        credentials = make_netfilter()
        config = make_config(DOCKER_HOST=f"unix://{tmp_path}/engine.sock")
        async with (
            serving(answer, tmp_path / "engine.sock") as server,
            run_proxy(config, credentials),
        ):
            inspect = credentials.relay.identities.inspect
            assert await inspect("c") == {"172.17.0.2"}
            read = job_docker._make_image_reader(engines.Engine(config.task.docker_host))
            assert await read("a/b:1") == ["A=1"]
            assert await read("unknown") == ()
            server.close()
            assert await read("a/b:1") == ()

    run_bounded(scenario())


def test_nothing_secret_is_shown(make_config):
    """Neither by the repr of a job's docker, nor by that of its containers' credentials."""
    container_credentials = ContainerCredentials.choose(
        make_config(), JobCredentials(mode=Mode.PASS_THROUGH)
    )
    assert TASK_URI not in repr(container_credentials)
    assert TASK_URI not in repr(JobDocker(hook_variables=container_credentials.hook_variables))
