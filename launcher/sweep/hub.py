"""Ask GitHub, and not again for what has not changed: an answer of 304 costs none of its limit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from sidecar import github
from sidecar.github.api import TRIES, Api

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sidecar.github.answers import Answer

KEPT = 2000
"""Answers that are kept, of one scope."""
UNCHANGED = 304


class Connections(Protocol):
    """The connections to one GitHub."""

    def connect_to(self, url: str) -> github.Connection | None:
        """Return the connection to a scope by its URL; None where it is of another GitHub."""

    def find_url(self, repository: str) -> str:
        """Return the URL at which a runner for a job of `repository` is registered."""

    def connect_as_apps(self) -> Sequence[tuple[str, Api]]:
        """Return the id of each App, and GitHub as this App itself asks it."""


class ConditionalApi(Api):
    """Calls of GitHub's API that remember the answers to what was asked before."""

    def __init__(self, api: Api) -> None:
        # The base class opens what it needs; all of it is in the given one.
        self._api = api
        self._answers: dict[str, Answer] = {}

    @property
    def share_left(self) -> float:
        """Return the share of the hour's calls that is left, as GitHub said last."""
        return self._api.left

    @property
    def calls_an_hour(self) -> int:
        """Return the calls of an hour."""
        return self._api.limit

    async def call(
        self,
        method: str,
        path: str,
        *,
        expects: Mapping[int, type[github.GitHubError] | None],
        body: object = None,
        etag: str | None = None,
        tries: int | None = TRIES,
    ) -> Answer:
        """Call as the given one does; what has not changed is answered from memory."""
        if method != "GET" or etag is not None:
            return await self._api.call(
                method, path, expects=expects, body=body, etag=etag, tries=tries
            )
        known = self._answers.get(path)
        tag = known.headers.get("etag") if known is not None else None
        meanings = {**expects, UNCHANGED: None} if tag is not None else expects
        answer = await self._api.call("GET", path, expects=meanings, etag=tag, tries=tries)
        if answer.status == UNCHANGED and known is not None:
            return known
        self._keep(path, answer)
        return answer

    def _keep(self, path: str, answer: Answer) -> None:
        self._answers.pop(path, None)
        if answer.status == 200 and "etag" in answer.headers:
            if len(self._answers) >= KEPT:
                self._answers.pop(next(iter(self._answers)))
            self._answers[path] = answer


class Hub:
    """One GitHub, by the scope of runners. Every call raises SidecarError."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._apis: dict[str, ConditionalApi] = {}
        self._apps: dict[str, ConditionalApi] = {}

    def knows(self, url: str) -> bool:
        """Say whether a scope is one of this GitHub's."""
        return self._connections.connect_to(url) is not None

    def find_url(self, repository: str) -> str:
        """Return the URL at which a runner for a job of `repository` is registered."""
        return self._connections.find_url(repository)

    def connect(self, url: str) -> github.Connection:
        """Return the connection to a scope that is known."""
        connection = self._connections.connect_to(url)
        if connection is None:
            raise github.GitHubError(f"{url} is of another GitHub than LAUNCHER_GITHUB_URL")
        return connection

    async def api(self, url: str) -> ConditionalApi:
        """Return the API with the credential for a scope."""
        if url not in self._apis:
            self._apis[url] = ConditionalApi(await self.connect(url).api())
        return self._apis[url]

    async def runners(self, url: str) -> github.Runners:
        """Return the calls for the runners of a scope."""
        return github.Runners(await self.api(url), github.Scope.from_url(url))

    def apps(self) -> list[tuple[str, ConditionalApi]]:
        """Return the id of each App, and GitHub as this App itself asks it."""
        for app_id, api in self._connections.connect_as_apps():
            self._apps.setdefault(app_id, ConditionalApi(api))
        return [*self._apps.items()]
