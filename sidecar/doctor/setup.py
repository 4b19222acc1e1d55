"""Hold what the checks look at: the settings, the clients, and the answers that several need."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

import aiohttp

from sidecar import host
from sidecar.aws.identity import Identity, read_identity
from sidecar.aws.instance_metadata import MetadataError, read_machine
from sidecar.aws.secrets import SecretReader
from sidecar.docker.engine import Engine
from sidecar.doctor import endpoints, stored_token
from sidecar.examination.once import Once
from sidecar.examination.patience import AWS_ERRORS, EMPTY_TRIES
from sidecar.examination.patient_calls import call_aws
from sidecar.examination.probe import Answer, ask
from sidecar.lifecycle import registration
from sidecar.lifecycle.facts import read_facts
from sidecar.lifecycle.job_credentials import Access
from sidecar.lifecycle.job_roles import read_rules
from sidecar.relay.mode import DaemonLocation, locate_daemon
from sidecar.settings.load import find_question, read

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from aiobotocore.session import AioSession

    from sidecar import github
    from sidecar.aws.calls import Service
    from sidecar.aws.instance_facts import Facts
    from sidecar.doctor.stored_token import StoredToken
    from sidecar.examination.patience import Patience
    from sidecar.roles.rules import Roles
    from sidecar.settings.model import Configuration, Settings

T = TypeVar("T")


class Setup:
    """The set-up that is examined. Nothing in it is changed."""

    def __init__(
        self,
        config: Configuration,
        problems: Sequence[str],
        http: aiohttp.ClientSession,
        patience: Patience,
        container: str | None = None,
    ) -> None:
        self.config = config
        """The settings, with a default in the place of what is wrong."""
        self.problems = problems
        """What is wrong with the settings, one line each."""
        self.http = http
        """A session for requests without a credential."""
        self.patience = patience
        self.container = container
        """The image of which a container may be started; None: none may."""
        self.access = Access(config)
        self._session: AioSession | None = None
        self.engine = Engine.find(config.task.docker_host)
        """The docker engine that is named; None for none."""
        self.facts = Once(self._read_facts)
        """Who and where this is: the task or the machine; empty elsewhere."""
        self.identity = Once(self._read_identity)
        """Whom AWS takes the agent for. Raises AwsError."""
        self.endpoints = Once(self._find_endpoints)
        """Where the services of AWS are that a life calls. Raises AwsError."""
        self.token = Once(self._read_token)
        """The token that a launcher stored for this life. Raises SidecarError."""
        self.credential = Once(self._read_credential)
        """The agent's own credential for GitHub; None for none. Raises SidecarError."""
        self.rules = Once(self._read_rules)
        """The rules of SIDECAR_ROLES; None for none. Raises SidecarError."""
        self.daemon = Once(self._locate_daemon)
        """Where the docker daemon is, and how that is known."""

    @property
    def settings(self) -> Settings:
        """The settings."""
        return self.config.settings

    @property
    def variables(self) -> Mapping[str, str]:
        """The environment, without the agent's own settings."""
        return self.config.passed_on

    @property
    def signs_for_github(self) -> bool:
        """Whether the agent is a GitHub App, whose signatures hold the time."""
        return self.settings.github_app_id is not None

    @property
    def relays(self) -> bool:
        """Whether jobs get the addresses of their credentials from the agent."""
        return self.settings.relay != "off"

    def session(self) -> AioSession:
        """Return the session of the AWS library with the agent's own credentials.

        It is one for all checks: it reads the library's files, and fetches credentials, once.
        """
        if self._session is None:
            self._session = self.access.session()
        return self._session

    async def call_aws(self, call: Callable[[float], Awaitable[T]]) -> T:
        """Make a call of AWS; `call` is given the seconds for one try. Raises AwsError."""
        return await call_aws(call, self.patience.aws)

    async def ask(self, url: str) -> Answer:
        """Ask a server for anything, as the agent would reach it. Raises NoAnswer."""
        return await ask(self.http, url, self.patience.request)

    async def find_github_url(self) -> str | None:
        """Return where the runner is to be registered; None if nothing says it."""
        if self.settings.github_url is not None:
            return self.settings.github_url
        try:
            found = await self.token()
        except Exception:  # noqa: BLE001  the check of the token tells it
            return None
        return found.url if found is not None else None

    async def list_urls(self) -> list[str]:
        """List what a life connects to: the API of GitHub first, then the services of AWS."""
        from sidecar.github import Scope

        github_url = await self.find_github_url()
        urls = [] if github_url is None else [Scope.from_url(github_url).api, github_url]
        try:
            urls += (await self.endpoints()).values()
        except Exception:  # noqa: BLE001  the calls of these services tell it
            return urls
        return urls

    async def _read_facts(self) -> Facts:
        so_mark, is_task = self.access.so_mark, self.config.task.metadata_uri is not None
        for _ in range(EMPTY_TRIES if is_task else 1):
            facts = await read_facts(self.config, so_mark=so_mark)
            if facts.id:
                break
        return facts

    async def _read_identity(self) -> Identity:
        region = self.config.task.region
        return await self.call_aws(lambda seconds: read_identity(region, self.session, seconds))

    async def _find_endpoints(self) -> dict[Service, str]:
        return await endpoints.find_endpoints(self.config, self.session)

    async def _read_token(self) -> StoredToken | None:
        return await stored_token.read_token(
            self.config, self.session, self.facts, timeout=self.patience.aws
        )

    async def _read_credential(self) -> github.Credential | None:
        if self.settings.github_app_id is None and self.settings.github_pat is None:
            return None
        return await registration.read_credential(self.settings, self._make_reader())

    async def _read_rules(self) -> Roles | None:
        return await read_rules(self.settings, self._make_reader())

    def _make_reader(self) -> SecretReader:
        return SecretReader(
            self.config.task.region, self.session, timeout=self.patience.aws, tries=AWS_ERRORS
        )

    async def _locate_daemon(self) -> tuple[DaemonLocation, str]:
        return await locate_daemon(self.engine)


@asynccontextmanager
async def open_setup(
    options: Sequence[str],
    environ: Mapping[str, str],
    patience: Patience,
    container: str | None = None,
) -> AsyncIterator[Setup]:
    """Read the settings as a life would, and open what the checks ask with.

    Raises SettingsError only for options that are none.
    """
    machine, reason = await _read_machine(options, environ, patience)
    config, problems = read(options, environ, machine, reason)
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
        yield Setup(config, problems, http, patience, container)


async def _read_machine(
    options: Sequence[str], environ: Mapping[str, str], patience: Patience
) -> tuple[Mapping[str, str], str]:
    """Read what machine this is, where it may be one; return that, or why it is unknown."""
    question = find_question(options, environ)
    if question is None:
        return {}, ""
    end = time.monotonic() + patience.request
    try:
        machine = await read_machine(
            question.url,
            expected=question.expected,
            so_mark=host.may_filter(),
            is_stopped=lambda: time.monotonic() > end,
        )
    except MetadataError as error:
        return {}, str(error)
    return machine, ""
