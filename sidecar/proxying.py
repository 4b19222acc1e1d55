"""The docker daemon as jobs reach it: through the agent, so that each container has credentials."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from sidecar import host, relay
from sidecar.docker import engine as engines
from sidecar.docker import following, proxy
from sidecar.docker.binds import Sockets, plain
from sidecar.docker.engine import Engine
from sidecar.docker.rules import Rules
from sidecar.docker.variables import Offer
from sidecar.errors import ProxyError
from sidecar.relay.mode import Mode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from sidecar.relay.identities import Identities
    from sidecar.relaying import Relaying
    from sidecar.settings import Configuration
    from sidecar.undo import Farewell

log = structlog.get_logger()

DOCKER_HOST = "DOCKER_HOST"
_SOCKET = "docker.sock"


class Unproxied(Exception):
    """There can be no proxy; the text says why, and what would help."""


@dataclass(frozen=True, slots=True)
class Docker:
    """How jobs come to the daemon."""

    proxied: bool = False
    socket: Path | None = None
    """What a job's DOCKER_HOST names; None: what is at the usual place."""
    work_dir: str | None = None
    """Where a job works, unless a setting says otherwise."""
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    """What containers are told by the job's hook, where there is no proxy."""

    def led(self, passed_on: Mapping[str, str]) -> Mapping[str, str]:
        """Return `passed_on` with the proxy in the daemon's place."""
        if not self.proxied:
            return passed_on
        kept = {name: value for name, value in passed_on.items() if name != DOCKER_HOST}
        return kept if self.socket is None else {**kept, DOCKER_HOST: f"unix://{self.socket}"}


@asynccontextmanager
async def proxying(
    config: Configuration, relayed: Relaying, owed: Farewell
) -> AsyncIterator[Docker]:
    """Stand before the docker daemon within the block, as far as that can be.

    Raises ProxyError if it cannot, and SIDECAR_DOCKER_PROXY=on says that it must.
    """
    async with AsyncExitStack() as standing:
        try:
            found = await _proxied(config, relayed, owed, standing)
        except Unproxied as why:
            if config.settings.docker_proxy == "on":
                raise ProxyError(
                    f"cannot stand before the docker daemon: {why} (SIDECAR_DOCKER_PROXY=on; auto "
                    "goes without)"
                ) from why
            log.info("docker.unproxied", reason=str(why))
            found = Docker()
        yield found


async def _proxied(
    config: Configuration, relayed: Relaying, owed: Farewell, standing: AsyncExitStack
) -> Docker:
    """Listen in the daemon's place. Raises Unproxied."""
    settings = config.settings
    if settings.docker_proxy == "off":
        raise Unproxied("SIDECAR_DOCKER_PROXY=off")
    engine, socket = _engine(config)
    folder = None if settings.shared_dir is None else settings.shared_dir / _fresh()
    path = _usual(socket) if folder is None else folder / _SOCKET
    offer, paths = _offer(config, relayed, engine)
    debt = owed.owe("docker proxy", lambda: asyncio.to_thread(_removed, folder or path))
    rules = Rules(Sockets.of(str(path), str(socket), str(socket.resolve())), offer, paths)
    try:
        if folder is not None:
            _made(folder)
        await standing.enter_async_context(proxy.listening(path, socket, rules, config.user))
    except OSError as error:
        await debt.begin()
        raise Unproxied(
            f"{path} cannot be made: {error.strerror or error} ({_wanted(folder)})"
        ) from error
    standing.callback(debt.begin)
    if isinstance(paths, _Paths):
        await standing.enter_async_context(relay.alongside(following.followed(engine, paths)))
    log.info("docker.proxied", socket=str(path), engine=str(socket), mode=relayed.mode.value)
    own = folder is not None and "work_dir" not in settings.model_fields_set
    work_dir = f"{folder}/_work" if own else None
    return Docker(proxied=True, socket=path if folder else None, work_dir=work_dir)


def _engine(config: Configuration) -> tuple[Engine, Path]:
    engine = Engine.named(config.task.docker_host)
    if engine is None:
        raise Unproxied("nothing names a docker daemon (DOCKER_HOST, /var/run/docker.sock)")
    if engine.socket is None:
        raise Unproxied(f"DOCKER_HOST={engine.host} is no socket of the file system")
    return engine, engine.socket


def _usual(socket: Path) -> Path:
    """Return the place where clients look, if it is not the daemon's own. Raises Unproxied."""
    usual = Path(engines.DEFAULT_SOCKET)
    if plain(str(socket.resolve())) == plain(str(usual.resolve())):
        raise Unproxied(
            f"the daemon's own socket is at {usual}, where clients look (SIDECAR_SHARED_DIR, or a "
            "daemon that listens elsewhere and DOCKER_HOST)"
        )
    return usual


def _wanted(folder: Path | None) -> str:
    return "SIDECAR_SHARED_DIR" if folder else "SIDECAR_SHARED_DIR names another place"


def _fresh() -> str:
    return f"runner-{secrets.token_hex(6)}"


def _made(folder: Path) -> None:
    """Make the folder of this life alone, which others may enter and not change."""
    folder.mkdir(parents=True)
    folder.chmod(0o755)


def _removed(path: Path) -> None:
    if path.is_dir():
        host.remove_folder(path)
    with suppress(FileNotFoundError):
        path.unlink()


def _offer(
    config: Configuration, relayed: Relaying, engine: Engine
) -> tuple[Offer | None, _Paths | _NoPaths]:
    """Choose what containers are told, by the way that they have."""
    passed_on = config.passed_on
    region = passed_on.get("AWS_REGION") or passed_on.get("AWS_DEFAULT_REGION")
    proxied = any(name.lower() in ("http_proxy", "https_proxy", "all_proxy") for name in passed_on)
    if relayed.mode is Mode.NETFILTER and relayed.served is not None:
        identities = relayed.served.identities
        identities.inspect = _inspect(engine)
        common = frozenset({identities.default_path})
        return Offer(region, identities.mint, common, proxied), _Paths(identities)
    uri = config.task.credentials_relative_uri
    if relayed.mode is Mode.PASS_THROUGH and uri is not None and not relayed.apart:
        return Offer(region, lambda: uri, frozenset({uri}), proxied), _NoPaths()
    return None, _NoPaths()


def _inspect(engine: Engine) -> relay.Inspect:
    async def inspect(container: str) -> frozenset[str] | None:
        return following.addresses(await engine.get(f"/containers/{container}/json"))

    return inspect


class _Paths:
    """The relay's identities, as the proxy needs them."""

    def __init__(self, identities: Identities) -> None:
        self.tied = identities.tied
        self.revoke = identities.revoke
        self.runs = identities.runs
        self.rests = identities.rests
        self.died = identities.died
        self.known = identities.containers


class _NoPaths:
    """Nobody has a path of his own."""

    def tied(self, path: str, container: str) -> None:
        """Tie nothing."""

    def revoke(self, path: str) -> None:
        """End nothing."""
