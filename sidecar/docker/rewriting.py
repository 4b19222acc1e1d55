"""Decide which requests the proxy checks, and rewrite those that create a container.

The variables to add are in credential_variables, the mounts to replace in binds and folder_copy,
and what is refused (SIDECAR_DOCKER_STRICT) in strict_mode. The record of what a job creates is kept
by recording, and the engine's responses are read in checked_requests.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

import structlog

from sidecar.docker import container_create, created, link_local, recording, strict_mode
from sidecar.docker.bind_sources import BindSources
from sidecar.docker.binds import find_binds
from sidecar.docker.checked_requests import (
    CreateRequest,
    NotedRequest,
    RecordedCreate,
    StartRequest,
    UnchangedRequest,
)
from sidecar.docker.connection import RequestRefused
from sidecar.docker.container_create import ContainerCreate
from sidecar.docker.engine import EngineError, NotFound
from sidecar.docker.json_documents import UnreadableBody, parse_object
from sidecar.docker.own_containers import CONNECT_PATH, OwnContainers, read_query
from sidecar.docker.warning_limit import WarningLimit, shorten

if TYPE_CHECKING:
    from sidecar.docker.binds import Sockets
    from sidecar.docker.checked_requests import PathRegistry
    from sidecar.docker.connection import CheckedRequest
    from sidecar.docker.created import ObjectRecord
    from sidecar.docker.credential_variables import CredentialVariables
    from sidecar.docker.engine import Engine
    from sidecar.docker.folder_copy import FolderCopy
    from sidecar.docker.heads import RequestHead
    from sidecar.docker.recording import AskEngine, Run

log = structlog.get_logger()

MAX_BODY = 4 << 20
"""Bytes of a body that is checked."""
SMALL_BODY, FEW_OBJECTS = 16 << 10, 256
"""Bytes and objects of a body that is checked at once, in the event loop: in less than 5 ms."""
_BUILD_PATHS = frozenset({"/build", "/libpod/build", "/grpc", "/session"})
"""Requests that build images; BuildKit's names no image that could be read."""
ReadImageVariables = Callable[[str], Awaitable[Sequence[object]]]
"""Returns the variables of an image, as a list of `NAME=value`."""


@dataclass(slots=True)
class RequestRewriter:
    """The proxy's request policy (see `connection.RequestPolicy`)."""

    sockets: Sockets
    variables: CredentialVariables | None
    """None: containers get no variables."""
    paths: PathRegistry
    read_image_variables: ReadImageVariables
    folder_copy: FolderCopy | None = None
    strict: bool = False
    record: ObjectRecord | None = None
    """Where everything is recorded that is created; None: nothing is."""
    ask_engine: AskEngine | None = None
    """Asks the engine which volumes exist, and what a container is called; with a record."""
    bind_sources: BindSources = field(default_factory=BindSources)
    """The folders that containers may mount in strict mode."""
    own: OwnContainers | None = None
    """The containers that a job may use in strict mode; None: all."""
    warnings: WarningLimit = field(default_factory=WarningLimit)
    engine: Engine | None = None
    """Commits containers, with a record."""
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while a large body is judged: one at a time is built."""

    def allow_http2(self) -> None:
        """Let a client use HTTP/2, which the proxy cannot follow. Raises RequestRefused."""
        if self.strict:
            self._refuse("HTTP/2 without an upgrade: its requests cannot be checked")

    def body_limit(self, request: RequestHead) -> int | None:
        """Return the size limit of a body that must be checked; None: pass the request on.

        Raises RequestRefused.
        """
        checked = self.strict and self._check_head(request)
        if request.method.upper() != "POST":
            leaves = self.record is not None and recording.leaves_volumes(request)
            return MAX_BODY if checked or leaves else None
        path = request.path
        if self.record is not None and path in _BUILD_PATHS:
            self.record.note_build()
        checked = (
            checked
            or path in (container_create.PATH, container_create.LIBPOD_PATH)
            or recording.NETWORK_PATH.fullmatch(path) is not None
            or (self.record is not None and recording.is_recorded(path))
            or (self._has_rules and _gives_address(path))
        )
        return MAX_BODY if checked else None

    @property
    def _has_rules(self) -> bool:
        """Whether there are rules for containers: a container is known by its address, then."""
        return self.variables is not None and self.variables.mint_for is not None

    def _check_head(self, request: RequestHead) -> bool:
        """Return whether a request's body must be checked in strict mode. Raises RequestRefused."""
        problem = strict_mode.check_request(request)
        if self.own is not None and problem is None:
            problem = self.own.check_request(request)
        if problem is not None:
            self._refuse(problem)
        return strict_mode.has_judged_body(request)

    async def check(self, request: RequestHead, body: bytes) -> CheckedRequest:
        """Check a request and rewrite it if necessary. Raises RequestRefused."""
        if _is_small(body):
            return await self._check(request, body, _call)
        # The loop would stand still meanwhile; and what is built of a body is larger than itself.
        async with self._turn:
            return await self._check(request, body, asyncio.to_thread)

    async def _check(self, request: RequestHead, body: bytes, run: Run) -> CheckedRequest:
        """Check a request; what takes time is done by `run`."""
        try:
            if request.path in (container_create.PATH, container_create.LIBPOD_PATH):
                libpod = request.path == container_create.LIBPOD_PATH
                name = read_query(request, "name")
                return await self._rewrite_create(body, run, name, libpod=libpod)
            if recording.NETWORK_PATH.fullmatch(request.path) and body.strip():
                self._refuse_link_local(await run(_check_network, body))
            if self.record is not None and recording.leaves_volumes(request):
                await recording.note_volumes(request, self.record, self.ask_engine, run)
            if self.strict:
                await self._check_strictly(request, body, run)
                if self.own is not None and (note := self.own.find_change(request)):
                    return NotedRequest(body, note)
            return await self._note(request, body, run)
        except UnreadableBody as error:
            raise RequestRefused(400, shorten(str(error))) from error

    async def _note(self, request: RequestHead, body: bytes, run: Run) -> CheckedRequest:
        """Have noted what a request does that creates no container."""
        if self._has_rules and _gives_address(request.path):
            return self._begin_start(request, body)
        if self.record is not None:
            return await self._record(request, body, self.record, run)
        return UnchangedRequest(body)

    def _begin_start(self, request: RequestHead, body: bytes) -> CheckedRequest:
        """Let a container get an address; its network stays as it was created."""
        starts = strict_mode.START_PATH.fullmatch(request.path) is not None
        if starts and (problem := strict_mode.check_start(body)) is not None:
            self._refuse(problem, " (SIDECAR_ROLES has rules for containers)")
        self.paths.begin_start()
        return StartRequest(body, self.paths)

    async def _check_strictly(self, request: RequestHead, body: bytes, run: Run) -> None:
        problem = await run(self._judge_strictly, request, body)
        start = strict_mode.START_PATH.fullmatch(request.path)
        if problem is None and start is not None:
            problem = await self._check_mounts(start[2])
        if problem is not None:
            self._refuse(problem)

    def _judge_strictly(self, request: RequestHead, body: bytes) -> str | None:
        problem = strict_mode.check_body(request, body, self.bind_sources, self.sockets)
        if problem is None and self.own is not None and CONNECT_PATH.fullmatch(request.path):
            problem = self.own.check_connect(parse_object(body))
        return problem

    async def _check_mounts(self, container: str) -> str | None:
        """Look again at the folders of a container that is started: the engine mounts them now."""
        if self.ask_engine is None:
            return None
        try:
            inspected = await self.ask_engine(f"/containers/{quote(container, safe='')}/json")
        except NotFound:
            return None  # the engine says so itself
        except EngineError as error:
            return f"a start of a container that the engine does not describe: {error!s:.128}"
        config = inspected.get("HostConfig") if isinstance(inspected, dict) else None
        # There may be as many folders as a create request may have.
        found: str | None = await asyncio.to_thread(self._judge_mounts, config)
        return found

    def _judge_mounts(self, config: object) -> str | None:
        fields = parse_object(json.dumps({"HostConfig": config}).encode())
        return strict_mode.check_sources(fields, self.bind_sources, self.sockets)

    async def _rewrite_create(
        self, body: bytes, run: Run, name: str | None, *, libpod: bool
    ) -> CheckedRequest:
        create, judged = await run(self._judge_create, body, libpod)
        self._refuse_link_local(judged.link_local)
        if judged.problem is not None:
            self._refuse(judged.problem)
        self._warn_exposed(judged.exposed)
        if self.folder_copy is not None:
            await self._copy_binds(create, self.folder_copy)
        path = None
        if self.variables is not None and create.accepts(self.variables):
            image_env = await self.read_image_variables(create.image) if create.image else ()
            path = create.add_variables(self.variables, image_env)
        if path is None and self.variables is not None and self.variables.mint_for is not None:
            path = self.variables.mint_for(create.container)  # it has rules without variables too
        rendered = await run(create.render)
        request = CreateRequest(rendered, path, self.paths, self.own, name)
        if self.record is None:
            return request
        names = created.find_volume_names(create.fields)
        since, volumes = time.time(), await recording.find_missing_volumes(self.ask_engine, names)
        self.record.begin()
        return RecordedCreate(self.record, request, create.originals, volumes, since)

    def _judge_create(self, body: bytes, libpod: bool) -> tuple[ContainerCreate, _Judged]:
        """Parse a create request, judge it and replace its binds. Raises UnreadableBody."""
        create = ContainerCreate(body, libpod=libpod)
        problem = self._judge_create_strictly(create) if self.strict else None
        sources = [] if self.strict else [bind.source for bind in find_binds(create.fields)]
        exposed = [one for one in sources if self.sockets.any_in_folder(one)]
        create.replace_binds(self.sockets.find_replacement)
        return create, _Judged(problem, link_local.check_ports(create.fields), exposed)

    def _judge_create_strictly(self, create: ContainerCreate) -> str | None:
        problem = strict_mode.check_create(create, self.bind_sources, self.sockets)
        if problem is None and self.own is not None:
            problem = self.own.check_create(create.fields)
        return problem

    async def _record(
        self, request: RequestHead, body: bytes, record: ObjectRecord, run: Run
    ) -> CheckedRequest:
        """Have recorded what a request creates, or do in its stead what it asks."""
        ask = self.ask_engine
        if request.path != recording.COMMIT_PATH:
            return await recording.record_creation(request, body, record, ask, run)
        if ask is not None and self.engine is not None:
            await recording.commit(request, body, record, ask, self.engine)
        return UnchangedRequest(body)

    async def _copy_binds(self, create: ContainerCreate, folder_copy: FolderCopy) -> None:
        replacements = {}
        try:
            for bind in find_binds(create.fields):
                replacements[bind.source] = await folder_copy.provide_copy(bind.source)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise RequestRefused(
                500,
                f"the agent cannot copy {shorten(bind.source)} for the docker daemon: "
                f"{reason.lower()} (SIDECAR_SHARED_DIR)",
            ) from error
        create.replace_binds(replacements.get)

    def _warn_exposed(self, sources: list[str]) -> None:
        for source in sources:
            if (counts := self.warnings.admit("exposed", source)) is not None:
                log.warning(
                    "docker.socket_exposed",
                    source=shorten(source),
                    reason="a container gets a folder that holds a docker socket, and so the "
                    "daemon itself; SIDECAR_DOCKER_STRICT refuses it",
                    **counts,
                )

    def _refuse(self, problem: str, setting: str = " (SIDECAR_DOCKER_STRICT)") -> None:
        problem, kind = shorten(problem), _find_kind(problem)
        if (counts := self.warnings.admit(kind, problem)) is not None:
            log.warning("docker.request_refused", reason=problem, **counts)
        raise RequestRefused(403, f"refused by the runner's agent: {problem}{setting}")

    def _refuse_link_local(self, problem: str | None) -> None:
        """Refuse this in every mode: it is an attack on the agent's own way to AWS."""
        if problem is not None:
            self._refuse(problem, "")


class _Judged(NamedTuple):
    """The judgement of a create request."""

    problem: str | None
    """The reason why strict mode refuses it; None: it does not."""
    link_local: str | None
    """The reason why every mode refuses it; None: none does."""
    exposed: list[str]
    """The sources of binds that hold a docker socket, where strict mode does not refuse them."""


def _gives_address(path: str) -> bool:
    """Return whether a container may have another address after a request."""
    return bool(strict_mode.START_PATH.fullmatch(path) or CONNECT_PATH.fullmatch(path))


def _is_small(body: bytes) -> bool:
    return len(body) <= SMALL_BODY and body.count(b"{") <= FEW_OBJECTS


async def _call(do: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function at once, as `asyncio.to_thread` does in a thread."""
    return do(*arguments)


def _check_network(body: bytes) -> str | None:
    return link_local.check_network(parse_object(body))


def _find_kind(problem: str) -> str:
    """Return the kind of a problem: its first words; what a job chose comes later, or is a path."""
    return "a path" if problem.startswith("/") else " ".join(problem.split(maxsplit=2)[:2])
