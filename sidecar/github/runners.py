"""The runners of one scope: minting the right to register, looking one up, letting it go."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sidecar.github.api import Api, GitHubError, field_of, moment_of, number_of
from sidecar.log import events

if TYPE_CHECKING:
    from datetime import datetime

    from sidecar.github.scope import Scope

PAGE = 100
PAGES = 100
"""A runner group holds 10,000 runners at most."""


class Busy(GitHubError):
    """422: the runner has a job and stays."""


class NameTaken(GitHubError):
    """409: another runner has the name."""


@dataclass(frozen=True, slots=True)
class Token:
    """A registration or remove token, good for an hour."""

    secret: str = field(repr=False)
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Jit:
    """A just-in-time configuration and the runner that it belongs to."""

    blob: str = field(repr=False)
    runner_id: int
    name: str


@dataclass(frozen=True, slots=True)
class Runner:
    """A registered runner, as GitHub sees it."""

    id: int
    name: str
    busy: bool
    online: bool


class Runners:
    """The calls."""

    def __init__(self, api: Api, scope: Scope) -> None:
        self._api = api
        self._path = f"{scope.path}/actions/runners"

    async def registration_token(self, *, tries: int | None = 6) -> Token:
        """Mint a registration token; it also removes."""
        answer = await self._api.call(
            "POST", f"{self._path}/registration-token", expects={201: None}, tries=tries
        )
        token = str(field_of(answer.body, "token"))
        events.hide(token)
        return Token(token, moment_of(answer.body, "expires_at"))

    async def jit(self, name: str, labels: tuple[str, ...], group: int, work: str) -> Jit:
        """Register a runner just in time. Raises NameTaken, also when an answer was lost."""
        answer = await self._api.call(
            "POST",
            f"{self._path}/generate-jitconfig",
            body={
                "name": name,
                "runner_group_id": group,
                "labels": list(labels),
                "work_folder": work,
            },
            expects={201: None, 409: NameTaken},
        )
        runner = _runner(field_of(answer.body, "runner"))
        blob = str(field_of(answer.body, "encoded_jit_config"))
        events.hide(blob)
        return Jit(blob, runner.id, runner.name)

    async def find(self, name: str) -> Runner | None:
        """Return the runner of that name; old GHES ignores the filter, so it is compared again."""
        for page in range(1, PAGES + 1):
            query = f"?name={quote(name, safe='')}&per_page={PAGE}&page={page}"
            answer = await self._api.call("GET", self._path + query, expects={200: None})
            listed = field_of(answer.body, "runners", list)
            for runner in map(_runner, listed):
                if runner.name == name:
                    return runner
            if len(listed) < PAGE:
                return None
        return None

    async def get(self, runner_id: int) -> Runner | None:
        """Return the runner, or None if it is gone."""
        answer = await self._api.call(
            "GET", f"{self._path}/{runner_id}", expects={200: None, 404: None}
        )
        return None if answer.status == 404 else _runner(answer.body)

    async def delete(self, runner_id: int) -> bool:
        """Take the runner away; False if it was gone already. Raises Busy."""
        answer = await self._api.call(
            "DELETE",
            f"{self._path}/{runner_id}",
            expects={204: None, 404: None, 422: Busy},
        )
        return answer.status == 204


def _runner(body: Any) -> Runner:
    return Runner(
        number_of(body, "id"),
        str(field_of(body, "name")),
        bool(field_of(body, "busy")),
        field_of(body, "status") == "online",
    )
