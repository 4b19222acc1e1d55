"""Ask all sources about one job. What cannot be asked becomes a line; the rest is still told."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from launcher import identity
from launcher.errors import LaunchError, describe, describe_refusal
from launcher.explain import causes
from launcher.explain.case import Case, Home
from launcher.explain.entries import Entry, Mark, Source, clean
from launcher.explain.sources import agent, deliveries, logs, pools, record, runners
from launcher.explain.subject import Subject
from launcher.explain.target import Kind
from sidecar import github
from sidecar.errors import SidecarError
from sidecar.github.errors import CredentialRefused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from launcher.demand.delivery import Demand
    from launcher.explain.homes import Homes
    from launcher.explain.target import Target
    from launcher.pools.pool import Pools
    from launcher.record.records import Records
    from sidecar.github.api import Api

T = TypeVar("T")

PATIENCE = 30.0
"""Seconds for all calls of one question; then it is told as not seen."""
RUNNERS = "needs Self-hosted runners: read, of a repository Administration: read"
HOOKS = "needs the webhooks' permission: an App asks for its own; a token needs admin:repo_hook"
EARLIER = 5
"""Tasks of earlier tries that are asked for, at most."""
ORGANIZATION = "/orgs/"


class Connections(Protocol):
    """The connections to one GitHub."""

    def connect(
        self, repository: str, installation: int | None = None, app: str | None = None
    ) -> github.Connection:
        """Return the connection for a repository."""

    def connect_as_apps(self) -> Sequence[tuple[str, Api]]:
        """Return the id of each App, and GitHub as this App itself asks it."""


class Counts(Protocol):
    """A queue whose messages can be counted."""

    async def count(self) -> Mapping[str, int]:
        """Count them. Raises AwsError."""


@dataclass(frozen=True)
class Sources:
    """All that can be asked; None: no setting says where it is."""

    homes: Homes
    deployment: str
    connections: Connections | None = None
    records: Records | None = None
    pools: Callable[[], Awaitable[Pools]] | None = None
    queue: Counts | None = None
    maximum: int | None = None
    repository_maximum: int | None = None
    home: str | None = None
    """The repository (`owner/name`) or the owner (`owner/-`) that the settings name, if any."""
    log_lines: Sequence[str] | None = None
    """Of a log that was given."""


class Gathering:
    """Asks all sources about one thing, and fills its case."""

    def __init__(self, sources: Sources, target: Target, now: float) -> None:
        self._around = sources
        self.case = Case(target, now)

    async def gather(self) -> Case:
        """Ask; return what is known."""
        self._note_unset()
        await Subject(self, self._around.records, self._around.deployment, self._around.home).find()
        case = self.case
        async with asyncio.TaskGroup() as group:
            for question in (self._ask_pools, self._ask_queue, self._ask_deliveries):
                group.create_task(question())
            group.create_task(self._ask_homes())
        await self._ask_runner()
        return case

    def _note_unset(self) -> None:
        around, note = self._around, self.case.note_unseen
        if around.connections is None:
            credentials = "LAUNCHER_GITHUB_APP_ID and its key, or LAUNCHER_GITHUB_PAT"
            note(Source.GITHUB, f"GitHub was not asked: set {credentials}")
        if around.records is None:
            note(Source.RECORD, "no launch records were read: set LAUNCHER_TABLE")
        if around.pools is None:
            note(Source.POOLS, "no pools were read: set LAUNCHER_POOLS")
        if around.queue is None:
            note(Source.QUEUE, "the queue was not asked: set LAUNCHER_QUEUE_URL")

    async def ask(self, source: Source, work: Awaitable[T], permission: str = "") -> T | None:
        """Ask one question; None where there is no answer, which is noted with its reason."""
        return (await self.find_out(source, work, permission))[1]

    async def find_out(
        self, source: Source, work: Awaitable[T], permission: str = ""
    ) -> tuple[bool, T | None]:
        """Ask one question; say whether there was an answer, and which."""
        try:
            async with asyncio.timeout(PATIENCE):
                return True, await work
        except TimeoutError:
            reason = f"no answer within {PATIENCE:g} s"
        except github.GitHubError as error:
            reason = describe_refusal(error, permission) if permission else describe(error)
            if is_of_credential(error):
                self._note_refused(reason)
        except (SidecarError, LaunchError) as error:
            reason = describe(error)
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            reason = f"an answer that is not understood: {type(error).__name__}"
        self.case.note_unseen(source, reason)
        return False, None

    def _note_refused(self, reason: str) -> None:
        text = f"GitHub refuses the credential: {clean(reason)}"
        advice = causes.explain(reason) or "replace the credential"
        advice += "; the launcher's own calls fail too, if it has the same"
        entry = Entry(Source.GITHUB, text, None, Mark.FAILED, advice, after=self.case.now)
        if entry not in self.case.refused:
            self.case.refused.append(entry)

    async def open_api(self, repository: str, demand: Demand | None) -> Api | None:
        """Return GitHub's API with the credential for a repository; None where there is none."""
        connection = self._connect(repository, demand)
        return await self.ask(Source.GITHUB, connection.api()) if connection is not None else None

    def _connect(self, repository: str, demand: Demand | None) -> github.Connection | None:
        if self._around.connections is None or not repository:
            return None
        if demand is None:
            return self._around.connections.connect(repository)
        return self._around.connections.connect(repository, demand.installation, demand.app)

    # -- tasks and machines ------------------------------------------------------------------

    async def _ask_homes(self) -> None:
        case, around = self.case, self._around
        if case.launch is not None and case.launch.tries > 1 and around.records is not None:
            ledger = await self.ask(Source.RECORD, around.records.read_all())
            known = {identity.task_id(home.place) for home in case.homes}
            found = record.find_earlier(ledger, case.launch) if ledger is not None else []
            cluster, container, definition = record.read_request(case.launch)
            for task in [each for each in found if each not in known][:EARLIER]:
                case.homes.insert(0, Home(task, cluster, container, definition, is_current=False))
        for home in case.homes:
            await around.homes.ask(self, home)
        if around.log_lines is not None:
            self._take_log(around.log_lines)

    def _take_log(self, given: Sequence[str]) -> None:
        """Take a log that was given: its agent is that of the newest task."""
        case = self.case
        events, lines = logs.parse(given)
        agents, case.launcher_events = agent.split(case, events)
        if not case.homes:
            case.homes.append(Home(case.target.home or "", is_current=True))
        home = case.homes[-1]
        home.events, home.lines = agents, lines

    # -- everything else ---------------------------------------------------------------------

    async def _ask_pools(self) -> None:
        case, around = self.case, self._around
        if around.pools is not None and case.labels:
            found = await self.ask(Source.POOLS, around.pools())
            if found is not None:
                pools.match(case, found)
                pool = pools.find_pool(case)
                case.group = pool.runner_group if pool is not None else None
        if around.records is None:
            return
        rooms = pools.read_rooms(around.records, case, around.maximum, around.repository_maximum)
        case.rooms = await self.ask(Source.RECORD, rooms) or []
        name = case.launch.pool if case.launch is not None else None
        if name:
            case.state = await self.ask(Source.RECORD, around.records.pools.read(name))

    async def _ask_queue(self) -> None:
        if self._around.queue is not None:
            self.case.messages = await self.ask(Source.QUEUE, self._around.queue.count())

    async def _ask_deliveries(self) -> None:
        case, connections = self.case, self._around.connections
        if case.job is None or connections is None:
            return
        begun = case.job.created_at or case.now
        found: list[tuple[Api, str, str]] = [
            (api, "/app/hook", f"the App {app}") for app, api in connections.connect_as_apps()
        ]
        if not found:
            api = await self.open_api(case.job.repository, case.demand)
            if api is not None:
                listing = deliveries.list_repository_hooks(api, case.job.repository)
                paths = await self.ask(Source.WEBHOOK, listing, HOOKS)
                found = [(api, path, f"webhook {path.rpartition('/')[2]}") for path in paths or ()]
        for api, path, hook in found:
            reading = deliveries.read_attempts(
                api, path, hook, case.job.id, case.repository_id, begun
            )
            attempts = await self.ask(Source.WEBHOOK, reading, HOOKS)
            if attempts is not None:
                case.attempts = [*(case.attempts or []), *attempts]
        if case.attempts == [] and case.launch is None:
            await self._ask_events(connections)

    async def _ask_events(self, connections: Connections) -> None:
        """Ask each App for its events, where no delivery tells of the job."""
        for app, api in connections.connect_as_apps():
            events = await self.ask(Source.WEBHOOK, deliveries.read_events(api))
            if events is not None and deliveries.EVENT not in events:
                self.case.deaf_apps.append(app)

    async def _ask_runner(self) -> None:
        case, target = self.case, self.case.target
        name = target.name if target.kind is Kind.RUNNER else None
        if name is None and case.launch is not None:
            name = case.launch.runner_name
        repository = case.repository or self._around.home
        connection = self._connect(repository or "", case.demand)
        if connection is None:
            return
        if name is not None:
            reading = runners.read_runner(connection, name)
            answered, case.runner = await self.find_out(Source.GITHUB, reading, RUNNERS)
            case.runner_name = name if answered else None
        url = connection.url or ""
        scope = github.Scope.from_url(url).path if url else ""
        waits = case.job is not None and case.job.status == "queued"
        if repository is not None and scope.startswith(ORGANIZATION) and waits:
            organization = scope.removeprefix(ORGANIZATION)
            api = await self.ask(Source.GITHUB, connection.api())
            if api is not None:
                asked = runners.read_visible_groups(api, organization, repository)
                case.visible_groups = await self.ask(Source.GITHUB, asked, RUNNERS)


def is_of_credential(error: github.GitHubError) -> bool:
    """Whether GitHub refuses whoever asks, and not what is asked.

    An App gets a token by a call of its own: what refuses that, refuses the App.
    """
    refused = isinstance(error, github.PermissionDenied) and "/access_tokens:" in str(error)
    return refused or isinstance(error, CredentialRefused)
