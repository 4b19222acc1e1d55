"""Run the docker proxy for a job, or decide that the job goes without."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import structlog

from sidecar import host, relay
from sidecar.docker import container_listener, network_listener, proxy
from sidecar.docker import engine as engines
from sidecar.docker.bind_sources import BindSources
from sidecar.docker.binds import Sockets, normalize_path
from sidecar.docker.created import ObjectRecord, read_objects
from sidecar.docker.credential_variables import CredentialVariables
from sidecar.docker.engine import Engine, EngineError, NotFound
from sidecar.docker.folder_copy import FolderCopy
from sidecar.docker.own_containers import OwnContainers
from sidecar.docker.removal import find_left, name_some, remove_objects
from sidecar.docker.rewriting import RequestRewriter
from sidecar.docker.socket_path import PRIVATE_NAMES, DefaultSocket, SharedSocket
from sidecar.errors import ProxyError
from sidecar.lifecycle import engine_folders
from sidecar.net.proxy import names_proxy
from sidecar.relay.mode import Mode
from sidecar.shutdown.cleanup import When

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from sidecar.docker.created import CreatedObject
    from sidecar.docker.rewriting import ReadImageVariables
    from sidecar.lifecycle.job_credentials import JobCredentials
    from sidecar.relay.identities import Identities
    from sidecar.settings.model import Configuration
    from sidecar.shutdown.cleanup import CleanupStack, CleanupStep
    from sidecar.shutdown.stop import Stop

log = structlog.get_logger()

DOCKER_HOST = "DOCKER_HOST"
CLASSIC_BUILDER = {"DOCKER_BUILDKIT": "0"}
"""Makes `docker build` ask by a request that can be checked, and not by BuildKit's stream."""
RECORD = ".sidecar-created"
"""The file in the runner's folder that records what a job created, without a shared folder."""
EXTERNALS = "externals"
"""The folder where the runner keeps node; it mounts it into every job container."""


class ProxyUnavailable(Exception):
    """There can be no proxy; the text says why, and what would help."""

    def __init__(
        self, message: str, *, has_engine: bool = True, misconfigured: bool = False
    ) -> None:
        super().__init__(message)
        self.has_engine = has_engine
        """Whether there is an engine, which jobs then use without the proxy."""
        self.misconfigured = misconfigured
        """True if a setting asks for a proxy and cannot be right."""


@dataclass(frozen=True, slots=True)
class JobDocker:
    """A job's way to the docker engine."""

    proxied: bool = False
    socket: Path | None = None
    """The socket for the job's DOCKER_HOST; None: clients use the default path."""
    work_dir: str | None = None
    """The job's work folder; None: as the settings say."""
    hook_variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The variables that the job's first hook sets for its containers, without a proxy."""
    record: ObjectRecord | None = field(default=None, repr=False)
    """What the job created, if there is a proxy."""
    strict: bool = False
    """True if the proxy lets only known requests pass."""
    bind_sources: BindSources | None = None
    """The folders that containers may mount in strict mode, if there is a proxy."""

    def allow_binds(self, work_folder: Path) -> None:
        """Let the job's containers mount its work folder in strict mode."""
        if self.bind_sources is not None:
            self.bind_sources.allow(work_folder)

    def set_runner_label(self, label: str | None) -> None:
        """Set the label that the runner gives to what it makes at the engine."""
        if self.record is not None:
            self.record.set_label(label)

    @property
    def withheld_variables(self) -> tuple[str, ...]:
        """The variables that the runner's own files must not set."""
        return (DOCKER_HOST,) if self.proxied else ()

    def set_variables(self, passed_on: Mapping[str, str]) -> Mapping[str, str]:
        """Return the variables `passed_on` with those by which docker's clients use the proxy."""
        if not self.proxied:
            return passed_on
        kept = {name: value for name, value in passed_on.items() if name != DOCKER_HOST}
        if self.strict:
            kept = {**CLASSIC_BUILDER, **kept}
        return kept if self.socket is None else {**kept, DOCKER_HOST: f"unix://{self.socket}"}


@asynccontextmanager
async def job_docker(
    config: Configuration,
    credentials: JobCredentials,
    cleanup_stack: CleanupStack,
    stop: Stop,
    on_network: Callable[[], None] | None = None,
) -> AsyncIterator[JobDocker]:
    """Run the docker proxy within the block, if there can be one.

    `on_network` is called when the engine reports a network.

    On leaving, what the job created is removed first: its containers may use the proxy till then.
    Raises ProxyError if there cannot, and a setting requires it.
    """
    settings = config.settings
    container_credentials = ContainerCredentials.choose(config, credentials)
    async with AsyncExitStack() as running:
        try:
            cleanup = _Cleanup(cleanup_stack, stop, running)
            docker = await _start_proxy(config, container_credentials, cleanup, running)
            if on_network is not None:
                engine, _ = find_engine(config)
                follow = network_listener.follow_networks(engine, on_network)
                await running.enter_async_context(relay.running_beside(follow))
        except ProxyUnavailable as error:
            required_by = "SIDECAR_DOCKER_PROXY=on; auto goes without"
            by_rules = credentials.containers is not None
            if by_rules:
                required_by = "[[container]] in SIDECAR_ROLES: only the proxy sees containers"
            if settings.docker_strict:
                required_by = "SIDECAR_DOCKER_STRICT: without the proxy nothing would be refused"
            needed = (settings.docker_strict or by_rules) and error.has_engine
            if settings.docker_proxy == "on" or needed:
                message = f"cannot run the docker proxy: {error} ({required_by})"
                raise ProxyError(message) from error
            if error.misconfigured:
                log.warning("docker.proxy_disabled", reason=str(error))
            else:
                log.info("docker.proxy_disabled", reason=str(error))
            docker = JobDocker(hook_variables=container_credentials.hook_variables)
        await _check_work_folder(config, docker, running)
        yield docker


async def _start_proxy(
    config: Configuration,
    container_credentials: ContainerCredentials,
    cleanup: _Cleanup,
    running: AsyncExitStack,
) -> JobDocker:
    """Run the proxy until `running` is closed. Raises ProxyUnavailable."""
    settings = config.settings
    if settings.docker_proxy == "off":
        raise ProxyUnavailable("SIDECAR_DOCKER_PROXY=off")
    found, socket = find_engine(config)
    engine = await running.enter_async_context(found.open_session())
    shared = settings.shared_dir
    place = choose_place(config, socket)
    path, record = place.socket, ObjectRecord(place.record)
    rewriter = RequestRewriter(
        Sockets.from_paths(str(path), str(socket), str(socket.resolve())),
        container_credentials.variables,
        container_credentials.paths,
        _make_image_reader(engine),
        _make_folder_copy(place, settings.runner_dir) if isinstance(place, SharedSocket) else None,
        settings.docker_strict,
        record,
        engine.get,
        bind_sources := _make_bind_sources(config),
        OwnContainers() if settings.docker_strict else None,
        engine=engine,
    )
    cleanup_step = cleanup.stack.register_step(
        "docker proxy", partial(asyncio.to_thread, place.remove), when=When.LAST
    )
    running.callback(cleanup_step.begin)  # after the proxy is closed; the stack waits for its end
    await _make_place(engine, place, running)
    await _listen(proxy.ProxyOptions(path, socket, rewriter, config.user), place, running)
    objects = JobObjects(found, record, keep=settings.docker_cleanup == "off")
    earlier = record.load()
    sweep = place.remove_leftovers(partial(objects.remove_earlier, earlier))
    await running.enter_async_context(relay.running_beside(sweep))
    if (identities := container_credentials.identities) is not None:
        identities.inspect = _make_inspect(engine)
        listener = container_listener.follow_containers(engine, _PathUpdates(identities))
        await running.enter_async_context(relay.running_beside(listener))
    log.info(
        "docker.proxy_started",
        socket=str(path),
        engine=str(socket),
        credentials=container_credentials.mode.value,
        strict=settings.docker_strict,
    )
    _warn_unprotected(socket, config)
    cleanup.remove_first(objects)
    docker = JobDocker(
        proxied=True, record=record, strict=settings.docker_strict, bind_sources=bind_sources
    )
    if shared is None:
        return docker
    work_dir = None if "work_dir" in settings.model_fields_set else f"{path.parent}/_work"
    return replace(docker, socket=path, work_dir=work_dir)


def _make_bind_sources(config: Configuration) -> BindSources:
    """Return what containers may mount in strict mode; the job's work folder comes later."""
    settings = config.settings
    sources = BindSources()
    sources.allow_reading(settings.runner_dir / EXTERNALS)
    if settings.shared_dir is not None:
        sources.shared = normalize_path(str(settings.shared_dir))
        sources.private_names = PRIVATE_NAMES
        sources.private_folder = normalize_path(str(settings.runner_dir))
    return sources


async def _listen(
    options: proxy.ProxyOptions, place: DefaultSocket | SharedSocket, running: AsyncExitStack
) -> None:
    try:
        await running.enter_async_context(proxy.serve(options))
        place.in_use = True
    except OSError as error:
        raise _cannot_be_made(place, error) from error


async def _make_place(
    engine: Engine, place: DefaultSocket | SharedSocket, running: AsyncExitStack
) -> None:
    """Make the place of the socket, and check that the daemon sees it. Raises ProxyUnavailable."""
    try:
        place.make()
        if isinstance(place, DefaultSocket):
            return
        shared = await engine_folders.is_shared(engine, place.path)
    except OSError as error:
        raise _cannot_be_made(place, error) from error
    if not shared:
        raise ProxyUnavailable(
            f"the docker daemon does not see {place.shared}: {engine_folders.UNSEEN} "
            "(SIDECAR_SHARED_DIR names a folder of its machine that is mounted at the same path)",
            misconfigured=True,
        )
    # Of a daemon that has not answered yet, this tells it later.
    watch = engine_folders.warn_if_unseen(engine, place.path, "SIDECAR_SHARED_DIR")
    await running.enter_async_context(relay.running_beside(watch))


def _cannot_be_made(place: DefaultSocket | SharedSocket, error: OSError) -> ProxyUnavailable:
    reason = error.strerror or type(error).__name__
    setting = "SIDECAR_SHARED_DIR"
    if isinstance(place, DefaultSocket):
        setting += " names another place"
    return ProxyUnavailable(f"{place.socket} cannot be made: {reason.lower()} ({setting})")


async def _check_work_folder(
    config: Configuration, docker: JobDocker, running: AsyncExitStack
) -> None:
    """Warn in the background if the daemon does not see the folder where the job works."""
    engine = Engine.find(config.task.docker_host)
    if engine is None or engine.socket is None or docker.work_dir is not None:
        return  # there is none, or the folder is in the one that is checked already
    folder = config.settings.runner_dir / config.settings.work_dir
    watch = engine_folders.warn_if_unseen(engine, folder, "SIDECAR_SHARED_DIR, SIDECAR_WORK_DIR")
    await running.enter_async_context(relay.running_beside(watch))


# ---- what a job created ------------------------------------------------------------------------


class JobObjects:
    """The objects that jobs created at the engine, this life's and those of killed agents."""

    def __init__(self, engine: Engine, record: ObjectRecord, *, keep: bool) -> None:
        self._engine = engine
        self._record = record
        self._keep = keep

    async def remove(self) -> None:
        """Remove what this life's job created, or name it in the log. Raises EngineError."""
        self._record.closed = True
        if self._record.objects:
            await self._remove(self._record, earlier=False)
        await asyncio.to_thread(self._record.delete)

    async def remove_earlier(self, earlier: Sequence[CreatedObject], path: Path) -> None:
        """Remove what the record at `path` names, if a killed agent wrote it. Raises EngineError.

        `earlier` is what this life's own record held from the start; it stays in that record.
        """
        objects = earlier or await asyncio.to_thread(read_objects, path)
        if objects:
            record = ObjectRecord(path)
            for one in objects:
                record.take(one)
            await self._remove(record, earlier=True)

    async def _remove(self, record: ObjectRecord, *, earlier: bool) -> None:
        async with self._engine.open_session() as engine:
            if self._keep:
                left = await find_left(engine, record.objects)
                if left:
                    log.info(
                        "docker.objects_kept",
                        objects=name_some([str(one) for one in left], len(left)),
                    )
                return
            removed = await remove_objects(engine, record)
        if removed:
            log.info("docker.objects_removed", killed_agent=earlier, **removed)


@dataclass(frozen=True, slots=True)
class _Cleanup:
    """The places in which the cleanup of the proxy is registered."""

    stack: CleanupStack
    stop: Stop
    running: AsyncExitStack

    def remove_first(self, objects: JobObjects) -> None:
        """Have what the job created removed before the proxy is closed; call this last."""
        step = self.stack.register_step("containers", objects.remove, when=When.JOB_ENDED)
        self.running.push_async_callback(self._wait_for, step)

    async def _wait_for(self, step: CleanupStep) -> None:
        self.stop.start_clock()
        await self.stop.wait_for_steps([step.begin()], lambda budget: budget.containers)


# ---- the engine --------------------------------------------------------------------------------


def find_engine(config: Configuration) -> tuple[Engine, Path]:
    """Return the engine and its socket. Raises ProxyUnavailable if there can be no proxy to it."""
    engine = Engine.find(config.task.docker_host)
    if engine is None:
        message = f"nothing names a docker daemon (DOCKER_HOST, {host.DOCKER_PLACE})"
        raise ProxyUnavailable(message, has_engine=False)
    if engine.socket is None:
        raise ProxyUnavailable(f"DOCKER_HOST={engine.host} is no socket of the file system")
    return engine, engine.socket


def choose_place(config: Configuration, socket: Path) -> DefaultSocket | SharedSocket:
    """Choose where the proxy listens; `socket` is the engine's. Raises ProxyUnavailable."""
    settings = config.settings
    if settings.shared_dir is not None:
        return SharedSocket(settings.shared_dir)
    return DefaultSocket(_default_path(socket), settings.runner_dir / RECORD)


def _default_path(socket: Path) -> Path:
    """Return the default path of docker clients. Raises ProxyUnavailable if the engine has it."""
    default = Path(engines.DEFAULT_SOCKET)
    if normalize_path(str(socket.resolve())) == normalize_path(str(default.resolve())):
        raise ProxyUnavailable(
            f"the daemon's own socket is at {default}, where clients look (SIDECAR_SHARED_DIR "
            "names another place; or let the daemon listen elsewhere, and set DOCKER_HOST to that)"
        )
    return default


def _warn_unprotected(socket: Path, config: Configuration) -> None:
    """Warn if the runner's user may use the engine's socket: jobs can then bypass the proxy."""
    try:
        is_open = host.may_connect(socket, config.user)
    except OSError:
        return  # the engine has not started yet
    if is_open:
        log.warning(
            "docker.socket_unprotected",
            engine=str(socket),
            reason="the runner's user may use the daemon's own socket, past the agent; let only "
            "root use it (dockerd --group root)",
        )


def _make_folder_copy(place: SharedSocket, runner_dir: Path) -> FolderCopy | None:
    """Return a copy of the runner's externals for the engine; None if it sees them already."""
    if runner_dir.is_relative_to(place.shared):
        return None
    return FolderCopy(runner_dir / EXTERNALS, place.shared, place.path)


def _make_image_reader(engine: Engine) -> ReadImageVariables:
    async def read(image: str) -> Sequence[object]:
        try:
            fields = await engine.get(f"/images/{quote(image)}/json")
        except EngineError:  # there is no such image: the create request will fail
            return ()
        config = fields.get("Config") if isinstance(fields, dict) else None
        env = config.get("Env") if isinstance(config, dict) else None
        return env if isinstance(env, list) else ()

    return read


def _make_inspect(engine: Engine) -> relay.Inspect:
    async def inspect(container: str) -> frozenset[str] | None:
        try:
            found = await engine.get(f"/containers/{container}/json")
        except NotFound:
            return frozenset()
        return container_listener.read_addresses(found)

    return inspect


# ---- the credentials of containers -------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ContainerCredentials:
    """A container's way to credentials."""

    mode: Mode
    variables: CredentialVariables | None = None
    """None: there are no credentials that variables could point to."""
    shared_path: str | None = field(default=None, repr=False)
    """The path that all containers may use. Secret."""
    identities: Identities | None = None
    """The relay's paths, if each container has its own."""

    @classmethod
    def choose(cls, config: Configuration, credentials: JobCredentials) -> ContainerCredentials:
        """Choose by the relay mode."""
        passed_on, task_path = config.passed_on, config.task.credentials_relative_uri
        region = passed_on.get("AWS_REGION") or passed_on.get("AWS_DEFAULT_REGION")
        uses_proxy = names_proxy(passed_on)
        if credentials.mode is Mode.NETFILTER and credentials.relay is not None:
            identities = credentials.relay.identities
            shared = identities.default_path
            variables = CredentialVariables(
                region,
                identities.mint,
                frozenset({shared}),
                identities.is_minted,
                None if credentials.containers is None else credentials.containers.mint,
                uses_proxy,
            )
            return cls(credentials.mode, variables, shared, identities)
        if (
            credentials.mode is Mode.PASS_THROUGH
            and task_path is not None
            and not credentials.separate_job_role
        ):
            path = task_path
            variables = CredentialVariables(
                region, lambda: path, frozenset({path}), uses_proxy=uses_proxy
            )
            return cls(credentials.mode, variables, path)
        return cls(credentials.mode)

    @property
    def hook_variables(self) -> dict[str, str]:
        """The variables that all containers of a job may have in common."""
        return {} if self.variables is None else self.variables.select({}, self.shared_path)

    @property
    def paths(self) -> _PathRegistry:
        """The registry to which the proxy assigns the containers' paths."""
        return _PathRegistry(self.identities)


@dataclass(frozen=True, slots=True)
class _PathRegistry:
    """Assigns paths in the relay; does nothing if all containers share one path."""

    identities: Identities | None

    def assign(self, path: str, container: str) -> None:
        """Note that a minted path belongs to this container."""
        if self.identities is not None:
            self.identities.assign(path, container)

    def revoke(self, path: str) -> None:
        """End a minted path."""
        if self.identities is not None:
            self.identities.revoke(path)

    def begin_start(self) -> None:
        """Note that a container is about to get an address."""
        if self.identities is not None:
            self.identities.begin_start()

    def end_start(self) -> None:
        """Note that it has it, if it gets one."""
        if self.identities is not None:
            self.identities.end_start()


class _PathUpdates:
    """Passes the events of containers on to their paths in the relay."""

    def __init__(self, identities: Identities) -> None:
        self.on_start = identities.resume
        self.on_stop = identities.suspend
        self.on_removed = identities.end
        self.on_join = identities.join
        self.on_leave = identities.leave
        self.known = identities.containers
