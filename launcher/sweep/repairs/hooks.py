"""Find the webhooks that tell of jobs, and list their deliveries."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sidecar import github
from sidecar.github.answers import read_field, read_moment, read_number

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from datetime import datetime

    from launcher.sweep.hub import ConditionalApi, Hub

PAGE, PAGES = 100, 20
SUCCESS, FAILURE = "success", "failure"
OK = "OK"
_NEXT = re.compile(r'<[^>]*[?&](cursor=[^&>]+)[^>]*>; rel="next"')


@dataclass(frozen=True, slots=True)
class Delivery:
    """One attempt to send an event."""

    id: int
    guid: str
    """The same for all attempts."""
    at: datetime
    event: str
    action: str
    status: str
    code: int

    @property
    def is_ok(self) -> bool:
        """Say whether its receiver has taken it."""
        return self.status == OK or 200 <= self.code < 300


class Webhook:
    """One webhook, with the credential that may look at it. Every call raises GitHubError."""

    def __init__(self, name: str, api: ConditionalApi, path: str) -> None:
        self.name = name
        self._api = api
        self._path = f"{path}/deliveries"

    async def list_attempts(self, outcome: str, oldest: datetime) -> AsyncIterator[Delivery]:
        """List deliveries with an outcome, the newest first, as far back as `oldest`.

        A GitHub that does not know the outcome as a filter gives all of them.
        """
        cursor = ""
        for _ in range(PAGES):
            path = f"{self._path}?per_page={PAGE}&status={outcome}{cursor}"
            answer = await self._api.call("GET", path, expects={200: None}, tries=1)
            listed = answer.body if isinstance(answer.body, list) else []
            for delivery in map(read_delivery, listed):
                if delivery.at < oldest:
                    return
                yield delivery
            following = _NEXT.search(answer.headers.get("link", ""))
            if not listed or following is None:
                return
            cursor = f"&{following[1]}"

    async def read(self, delivery: Delivery) -> tuple[dict[str, str], Any]:
        """Read what was sent: the headers, in lower case, and the payload."""
        answer = await self._api.call(
            "GET", f"{self._path}/{delivery.id}", expects={200: None}, tries=1
        )
        request = read_field(answer.body, "request", dict)
        headers = request.get("headers") or {}
        return {name.lower(): str(value) for name, value in headers.items()}, request.get("payload")

    async def send_again(self, delivery: Delivery) -> None:
        """Have it sent again."""
        path = f"{self._path}/{delivery.id}/attempts"
        await self._api.call("POST", path, expects={202: None}, tries=1)


def read_delivery(body: Any) -> Delivery:
    """Read one item of the list of deliveries."""
    return Delivery(
        read_number(body, "id"),
        str(read_field(body, "guid")),
        read_moment(body, "delivered_at"),
        str(body.get("event") or ""),
        str(body.get("action") or ""),
        str(body.get("status") or ""),
        int(body.get("status_code") or 0),
    )


def find_app_hooks(hub: Hub) -> list[Webhook]:
    """Return the webhook of each App."""
    return [Webhook(f"App {app_id}", api, "/app/hook") for app_id, api in hub.apps()]


async def find_hooks(hub: Hub, url: str, scopes: Sequence[str]) -> list[Webhook]:
    """Return the webhooks of organizations and repositories that send to `url`.

    `scopes` are the URLs of both. Raises GitHubError.
    """
    found = []
    for each in scopes:
        scope, api = github.Scope.from_url(each), await hub.api(each)
        path = f"{scope.path}/hooks"
        expects = {200: None, 404: None}  # the owner of a repository may be a person
        answer = await api.call("GET", f"{path}?per_page={PAGE}", expects=expects, tries=1)
        listed = answer.body if isinstance(answer.body, list) else []
        own = [hook for hook in listed if hook.get("config", {}).get("url") == url]
        found += [Webhook(f"{each} {hook['id']}", api, f"{path}/{hook['id']}") for hook in own]
    return found
