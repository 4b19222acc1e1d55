"""The docker daemon as jobs reach it: through the agent, so that each container has credentials."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import structlog

from sidecar import host, relay
from sidecar.docker import container_listener, proxy
from sidecar.docker import engine as engines
from sidecar.docker.binds import Sockets, plain
from sidecar.docker.credential_variables import Offer, proxied
from sidecar.docker.engine import Engine, Unanswered
from sidecar.docker.folder_copy import FolderCopy
from sidecar.docker.rewriting import Rules
from sidecar.docker.socket_path import DefaultSocket, SharedSocket
from sidecar.errors import ProxyError
from sidecar.relay.mode import Mode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from sidecar.docker.rewriting import ImageVariables
    from sidecar.lifecycle.job_credentials import JobCredentials
    from sidecar.relay.identities import Identities
    from sidecar.settings.model import Configuration
    from sidecar.shutdown.cleanup import CleanupStack

log = structlog.get_logger()

DOCKER_HOST = "DOCKER_HOST"
EXTERNALS = "externals"
"""Where the runner keeps node; it mounts this folder into every job container."""


class ProxyUnavailable(Exception):
    """There can be no proxy; the text says why, and what would help."""

    def __init__(self, why: str, *, daemon: bool = True) -> None:
        super().__init__(why)
        self.daemon = daemon
        """Whether there is a daemon that jobs then reach by themselves."""


@dataclass(frozen=True, slots=True)
class JobDocker:
    """How jobs come to the daemon."""

    proxied: bool = False
    socket: Path | None = None
    """What a job's DOCKER_HOST names; None: what is at the usual place."""
    work_dir: str | None = None
    """Where a job works, unless a setting says otherwise."""
    told: Mapping[str, str] = field(default_factory=dict, repr=False)
    """What the job's containers are told by its first hook, where there is no proxy."""

    @property
    def withheld(self) -> tuple[str, ...]:
        """Variables that no file of the runner's own may set."""
        return (DOCKER_HOST,) if self.proxied else ()

    def led(self, passed_on: Mapping[str, str]) -> Mapping[str, str]:
        """Return `passed_on` with the proxy in the daemon's place."""
        if not self.proxied:
            return passed_on
        kept = {name: value for name, value in passed_on.items() if name != DOCKER_HOST}
        return kept if self.socket is None else {**kept, DOCKER_HOST: f"unix://{self.socket}"}


@asynccontextmanager
async def job_docker(
    config: Configuration, credentials: JobCredentials, cleanup_stack: CleanupStack
) -> AsyncIterator[JobDocker]:
    """Stand before the docker daemon within the block, as far as that can be.

    Raises ProxyError if it cannot, and a setting says that it must.
    """
    settings = config.settings
    way = ContainerCredentials.found(config, credentials)
    async with AsyncExitStack() as standing:
        try:
            found = await _standing(config, way, cleanup_stack, standing)
        except ProxyUnavailable as why:
            wanted = "SIDECAR_DOCKER_PROXY=on; auto goes without"
            if settings.docker_strict:
                wanted = "SIDECAR_DOCKER_STRICT: without the proxy nothing would be refused"
            if settings.docker_proxy == "on" or (settings.docker_strict and why.daemon):
                message = f"cannot stand before the docker daemon: {why} ({wanted})"
                raise ProxyError(message) from why
            log.info("docker.proxy_disabled", reason=str(why))
            found = JobDocker(told=way.told)
        yield found


async def _standing(
    config: Configuration,
    way: ContainerCredentials,
    cleanup_stack: CleanupStack,
    standing: AsyncExitStack,
) -> JobDocker:
    """Listen in the daemon's place for as long as `standing` is open. Raises Unproxied."""
    settings = config.settings
    if settings.docker_proxy == "off":
        raise ProxyUnavailable("SIDECAR_DOCKER_PROXY=off")
    named, socket = _engine(config)
    engine = await standing.enter_async_context(named.opened())
    shared = settings.shared_dir
    place = DefaultSocket(_usual(socket)) if shared is None else SharedSocket(shared)
    path = place.socket
    rules = Rules(
        Sockets.of(str(path), str(socket), str(socket.resolve())),
        way.offer,
        way.paths,
        _image_variables(engine),
        _copies(place, settings.runner_dir) if isinstance(place, SharedSocket) else None,
        settings.docker_strict,
    )
    cleanup_step = cleanup_stack.register_step(
        "docker proxy", partial(asyncio.to_thread, place.remove)
    )
    standing.callback(
        cleanup_step.begin
    )  # once nobody listens any more; the farewell sees to its end
    await _listening(proxy.Listening(path, socket, rules, config.user), place, standing)
    if isinstance(place, SharedSocket):
        await standing.enter_async_context(relay.running_beside(asyncio.to_thread(place.sweep)))
    if way.identities is not None:
        way.identities.inspect = _inspect(engine)
        following_ = container_listener.followed(engine, _ContainerEvents(way.identities))
        await standing.enter_async_context(relay.running_beside(following_))
    log.info(
        "docker.proxy_started",
        socket=str(path),
        engine=str(socket),
        credentials=way.mode.value,
        strict=settings.docker_strict,
    )
    _tell_open(socket, config)
    if shared is None:
        return JobDocker(proxied=True)
    said = "work_dir" in settings.model_fields_set
    return JobDocker(proxied=True, socket=path, work_dir=None if said else f"{path.parent}/_work")


async def _listening(
    wanted: proxy.Listening, place: DefaultSocket | SharedSocket, standing: AsyncExitStack
) -> None:
    try:
        place.make()
        await standing.enter_async_context(proxy.listening(wanted))
        place.taken = True
    except OSError as error:
        why = error.strerror or type(error).__name__
        setting = "SIDECAR_SHARED_DIR"
        if isinstance(place, DefaultSocket):
            setting += " names another place"
        raise ProxyUnavailable(
            f"{wanted.path} cannot be made: {why.lower()} ({setting})"
        ) from error


# ---- where the daemon is, and what it tells ----------------------------------------------------


def _engine(config: Configuration) -> tuple[Engine, Path]:
    engine = Engine.named(config.task.docker_host)
    if engine is None:
        why = "nothing names a docker daemon (DOCKER_HOST, /var/run/docker.sock)"
        raise ProxyUnavailable(why, daemon=False)
    if engine.socket is None:
        raise ProxyUnavailable(f"DOCKER_HOST={engine.host} is no socket of the file system")
    return engine, engine.socket


def _usual(socket: Path) -> Path:
    """Return the place where clients look, if it is not the daemon's own. Raises Unproxied."""
    usual = Path(engines.DEFAULT_SOCKET)
    if plain(str(socket.resolve())) == plain(str(usual.resolve())):
        raise ProxyUnavailable(
            f"the daemon's own socket is at {usual}, where clients look (SIDECAR_SHARED_DIR names "
            "another place; or let the daemon listen elsewhere, and DOCKER_HOST tell where)"
        )
    return usual


def _tell_open(socket: Path, config: Configuration) -> None:
    """Tell of a daemon that jobs may go to themselves: nobody can be kept from what is his."""
    try:
        is_open = host.may_use(socket, config.user)
    except OSError:
        return  # it is not there yet
    if is_open:
        log.warning(
            "docker.socket_unprotected",
            engine=str(socket),
            reason="the runner's user may use the daemon's own socket, past the agent; let only "
            "root use it (dockerd --group root)",
        )


def _copies(own: SharedSocket, runner_dir: Path) -> FolderCopy | None:
    """Have the daemon find the runner's own folder, unless that is shared already."""
    if runner_dir.is_relative_to(own.shared):
        return None
    return FolderCopy(runner_dir / EXTERNALS, own.shared, own.path)


def _image_variables(engine: Engine) -> ImageVariables:
    async def told(image: str) -> Sequence[object]:
        try:
            found = await engine.get(f"/images/{quote(image)}/json")
        except Unanswered:  # it is not here; the create will say so
            return ()
        config = found.get("Config") if isinstance(found, dict) else None
        env = config.get("Env") if isinstance(config, dict) else None
        return env if isinstance(env, list) else ()

    return told


def _inspect(engine: Engine) -> relay.Inspect:
    async def inspect(container: str) -> frozenset[str] | None:
        return container_listener.addresses(await engine.get(f"/containers/{container}/json"))

    return inspect


# ---- by which way containers come to credentials -----------------------------------------------


@dataclass(frozen=True, slots=True)
class ContainerCredentials:
    """What containers can be told."""

    mode: Mode
    offer: Offer | None = None
    """None: they have no way that a variable could name."""
    uri: str | None = field(default=None, repr=False)
    """The path that is good for whoever knows it. Secret."""
    identities: Identities | None = None
    """Where each container has a path of its own."""

    @classmethod
    def found(cls, config: Configuration, credentials: JobCredentials) -> ContainerCredentials:
        """Choose by the relay's mode."""
        passed_on, uri = config.passed_on, config.task.credentials_relative_uri
        region = passed_on.get("AWS_REGION") or passed_on.get("AWS_DEFAULT_REGION")
        if credentials.mode is Mode.NETFILTER and credentials.served is not None:
            identities = credentials.served.identities
            uri = identities.default_path
            offer = Offer(region, identities.mint, frozenset({uri}), proxied(passed_on))
            return cls(credentials.mode, offer, uri, identities)
        if (
            credentials.mode is Mode.PASS_THROUGH
            and uri is not None
            and not credentials.separate_job_role
        ):
            given = uri
            offer = Offer(region, lambda: given, frozenset({given}), proxied(passed_on))
            return cls(credentials.mode, offer, given)
        return cls(credentials.mode)

    @property
    def told(self) -> dict[str, str]:
        """What a job's containers can be told all alike."""
        return {} if self.offer is None else self.offer.added({}, self.uri)

    @property
    def paths(self) -> _Paths:
        """Where the proxy ties and ends paths."""
        return _Paths(self.identities)


@dataclass(frozen=True, slots=True)
class _Paths:
    """The relay's identities, as the proxy needs them; without, all have the same path."""

    identities: Identities | None

    def tied(self, path: str, container: str) -> None:
        """Say whose a minted path is."""
        if self.identities is not None:
            self.identities.tied(path, container)

    def revoke(self, path: str) -> None:
        """End a minted path."""
        if self.identities is not None:
            self.identities.revoke(path)


class _ContainerEvents:
    """The relay's identities, as they hear of their containers."""

    def __init__(self, identities: Identities) -> None:
        self.runs = identities.runs
        self.rests = identities.rests
        self.died = identities.died
        self.known = identities.containers
