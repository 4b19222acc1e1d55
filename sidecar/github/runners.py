"""The runners of one scope: create tokens and just-in-time configurations, find and delete."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sidecar import values
from sidecar.github.answers import read_field, read_moment, read_number
from sidecar.github.errors import NameTaken, RunnerBusy
from sidecar.log import masks

if TYPE_CHECKING:
    from datetime import datetime

    from sidecar.github.api import Api
    from sidecar.github.scope import Scope

PAGE = 100
PAGES = 100
"""A runner group holds 10,000 runners at most."""


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A token that GitHub issued to register or remove runners with; it is valid for an hour."""

    secret: str = field(repr=False)
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class JitConfig:
    """A just-in-time configuration and the runner that it belongs to."""

    blob: str = field(repr=False)
    runner_id: int
    name: str


@dataclass(frozen=True, slots=True)
class Runner:
    """A registered runner, as GitHub knows it."""

    id: int
    name: str
    busy: bool
    online: bool
    ephemeral: bool = True
    """Whether it is deregistered after its job; an older GitHub does not say."""


class Runners:
    """The calls of GitHub's API for the runners of one scope."""

    def __init__(self, api: Api, scope: Scope) -> None:
        self._api = api
        self._path = f"{scope.path}/actions/runners"

    async def create_registration_token(self, *, tries: int | None = 6) -> IssuedToken:
        """Create a registration token; it also removes runners."""
        answer = await self._api.call(
            "POST", f"{self._path}/registration-token", expects={201: None}, tries=tries
        )
        token = str(read_field(answer.body, "token"))
        masks.hide(token)
        return IssuedToken(token, read_moment(answer.body, "expires_at"))

    async def find_new_url(self) -> str | None:
        """Return the URL of a repository that was found by an old name; None if it was not."""
        moved = re.match(r"/repositories/\d+", self._api.moved_to or "")
        if moved is None:
            return None
        answer = await self._api.call("GET", moved[0], expects={200: None}, tries=2)
        try:
            return values.check_github_url(str(read_field(answer.body, "html_url")))
        except ValueError:
            return None

    async def create_jit_config(
        self,
        name: str,
        labels: tuple[str, ...],
        group: int,
        work: str,
        *,
        tries: int | None = 6,
    ) -> JitConfig:
        """Register a runner just in time.

        Raises NameTaken, also where an earlier try registered it and only its answer was lost.
        """
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
            tries=tries,
        )
        runner = _runner(read_field(answer.body, "runner"))
        blob = str(read_field(answer.body, "encoded_jit_config"))
        masks.hide(blob)
        return JitConfig(blob, runner.id, runner.name)

    async def find(self, name: str) -> Runner | None:
        """Return the runner of that name, or None.

        An old GitHub Enterprise Server ignores the filter, so names are compared here too.
        """
        for page in range(1, PAGES + 1):
            query = f"?name={quote(name, safe='')}&per_page={PAGE}&page={page}"
            answer = await self._api.call("GET", self._path + query, expects={200: None})
            listed = read_field(answer.body, "runners", list)
            for runner in map(_runner, listed):
                if runner.name == name:
                    return runner
            if len(listed) < PAGE:
                return None
        return None

    async def list_all(self) -> list[Runner]:
        """List all runners of the scope. One that is registered meanwhile may be missing."""
        found: dict[int, Runner] = {}
        for page in range(1, PAGES + 1):
            query = f"?per_page={PAGE}&page={page}"
            answer = await self._api.call("GET", self._path + query, expects={200: None})
            listed = read_field(answer.body, "runners", list)
            found |= {runner.id: runner for runner in map(_runner, listed)}
            if len(listed) < PAGE:
                break
        return [*found.values()]

    async def get(self, runner_id: int) -> Runner | None:
        """Return the runner, or None if it is gone."""
        answer = await self._api.call(
            "GET", f"{self._path}/{runner_id}", expects={200: None, 404: None}
        )
        return None if answer.status == 404 else _runner(answer.body)

    async def delete(self, runner_id: int) -> bool:
        """Delete the runner; return False if it was gone already. Raises RunnerBusy."""
        answer = await self._api.call(
            "DELETE",
            f"{self._path}/{runner_id}",
            expects={204: None, 404: None, 422: RunnerBusy},
        )
        return answer.status == 204


def _runner(body: Any) -> Runner:
    return Runner(
        read_number(body, "id"),
        str(read_field(body, "name")),
        bool(read_field(body, "busy")),
        read_field(body, "status") == "online",
        body.get("ephemeral") is not False,
    )
