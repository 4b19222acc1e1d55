"""GitHub's runner services, asked with a registration token or with a runner's own key.

The requests are those of the runner's program (`config.sh remove`) and of GitHub's open client for
scale sets. This module knows neither a runner's folder nor a task's life: values in, values out.

Which hosts are asked: the API of the GitHub URL in the settings, the URL that the exchange gives,
and for a runner's key an authorization URL that `is_service_url` accepts. Nothing of `.runner`:
a job can write it.

Errors, for every call (`sidecar.github.errors` has the classes):
- PermissionDenied: 401, 403, 404: the token is refused, expired, or for another scope. Final.
- RunnerBusy: the runner has a job. Final. After a kill GitHub keeps the job for about ten minutes.
- RateLimited: rate limit; repeated after the seconds that GitHub names.
- TransientError: no answer in 10 s, a broken connection, 5xx, an unreadable answer; repeated.
- GitHubError: any other answer, redirects among them. Final.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from sidecar.github import api
from sidecar.github.errors import GitHubError, PermissionDenied, RunnerBusy, TransientError
from sidecar.github.registration_exchange import Exchange, is_service_url
from sidecar.github.scope import Scope
from sidecar.github.service_call import ServiceCalls

if TYPE_CHECKING:
    from collections.abc import Callable

    from sidecar.github.runner_key import RunnerKey
    from sidecar.github.service_call import ServiceAnswer
    from sidecar.net.retry import Backoff

ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
FRESH_TRIES = 2
"""How often a refused exchange is repeated for a token that was minted a moment ago."""


class ClockDiffers(GitHubError):
    """GitHub refuses a signature for its time: this machine's clock is minutes off."""


class ActionsService:
    """The runner services of one GitHub; open it with `async with`."""

    def __init__(self, github_url: str, now: Callable[[], float] = time.time) -> None:
        self._url = github_url
        self._now = now
        self._calls = ServiceCalls()

    async def __aenter__(self) -> ActionsService:
        await self._calls.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._calls.__aexit__()

    async def exchange(
        self,
        token: str,
        event: Literal["register", "remove"] = "remove",
        *,
        fresh: bool = False,
        tries: int | None = None,
    ) -> Exchange:
        """Give a registration token, get the service's URL and a bearer token.

        `fresh` repeats a 401 or 403 twice: a new token is not known everywhere at once. An expired
        token gives a 404, which is final. Raises PermissionDenied.
        """
        return await self._calls.call(
            "POST",
            f"{self._scope.api}/actions/runner-registration",
            self._read_exchange,
            authorization=f"RemoteAuth {token}",
            document={"url": self._url, "runner_event": event},
            tries=tries,
            backoff=_backoff_with_fresh_token() if fresh else None,
        )

    async def deregister(
        self,
        token: str,
        runner_id: int,
        *,
        admin_flow: bool | None = None,
        pool_id: int = 0,
        tries: int | None = None,
    ) -> bool:
        """Remove a runner with a registration token; False if it was gone already.

        False also if the answer of an earlier try was lost: the runner is gone in both cases.

        `admin_flow` is how the runner was registered, from the agent's own copy of `.runner` or
        from an exchange made at that time; None asks the exchange. `runner_id` is the id that
        `configure` wrote, from the same copy. Raises RunnerBusy, and PermissionDenied if the token
        is refused.
        """
        if admin_flow:
            if await self.delete_runner(token, runner_id, tries=tries):
                return True
            # A refused token gets a 404 too: only a token that is still good proves anything.
            await self.exchange(token, tries=tries)
            return False
        exchange = await self.exchange(token, tries=tries)
        if admin_flow is None and exchange.use_v2_flow:
            return await self.delete_runner(token, runner_id, tries=tries)
        return await self.delete_agent(exchange, runner_id, pool_id=pool_id, tries=tries)

    async def delete_agent(
        self, exchange: Exchange, agent_id: int, *, pool_id: int = 0, tries: int | None = None
    ) -> bool:
        """Remove a runner from its pool (tenant flow). Raises RunnerBusy.

        Pool 0 stands for every pool, as in the program's own request. False means that the service
        said so: many answer 204 for an unknown id too.
        """
        return await self._calls.call(
            "DELETE",
            exchange.agents(pool_id, f"/{agent_id}"),
            _read_agent_deletion,
            authorization=f"Bearer {exchange.token}",
            tries=tries,
        )

    async def delete_runner(self, token: str, runner_id: int, *, tries: int | None = None) -> bool:
        """Remove a runner by REST (admin flow); one request. Raises RunnerBusy.

        False (404) means gone only if the token is still good; `deregister` makes sure.
        """
        return await self._calls.call(
            "DELETE",
            f"{self._runners}/{runner_id}",
            _read_runner_deletion,
            authorization=f"RemoteAuth {token}",
            tries=tries,
        )

    async def has_runner(
        self,
        token: str,
        runner_id: int,
        name: str,
        *,
        admin_flow: bool | None = None,
        tries: int | None = None,
    ) -> bool:
        """Ask whether GitHub still knows the runner of this id and name, with a registration token.

        Both flows list the runners of that name, so a refused token (PermissionDenied) and a runner
        that is gone (False) have different answers. A namesake with another id does not count.
        """
        url, authorization = f"{self._runners}?name={quote(name, safe='')}", f"RemoteAuth {token}"
        if not admin_flow:
            exchange = await self.exchange(token, tries=tries)
            if admin_flow is False or not exchange.use_v2_flow:
                query = f"agentName={quote(name, safe='')}&includeCapabilities=False&"
                url, authorization = exchange.agents(0, "", query), f"Bearer {exchange.token}"
        return await self._calls.call(
            "GET",
            url,
            lambda answer: _is_listed(answer, runner_id, name),
            authorization=authorization,
            tries=tries,
        )

    async def knows_key(
        self, key: RunnerKey, *, service_url: str | None = None, tries: int | None = None
    ) -> bool:
        """Ask whether GitHub still knows a runner, with the runner's own key; False if it is gone.

        Needs no registration token, so it also works after an hour. `key` must be made of texts
        that no job could write (see RunnerKey); `service_url` is the URL of an exchange that the
        caller made itself, or None. Raises ClockDiffers, which says nothing about the runner, and
        GitHubError without any request if the authorization URL is none of this GitHub's.
        """
        if not is_service_url(key.authorization_url, self._url, service_url):
            raise GitHubError("cannot ask as the runner: its authorization URL is not GitHub's")
        # In a thread: to import and to sign takes the time of many other requests.
        assertion = await asyncio.to_thread(key.assertion, self._now())
        return await self._calls.call(
            "POST",
            key.authorization_url,
            _read_grant,
            form={
                "grant_type": "client_credentials",
                "client_assertion_type": ASSERTION,
                "client_assertion": assertion,
            },
            tries=tries,
        )

    def _read_exchange(self, answer: ServiceAnswer) -> Exchange:
        if 200 <= answer.status < 300:
            return Exchange.of(answer, self._url.partition(":")[0])
        raise answer.error()

    @property
    def _scope(self) -> Scope:
        return Scope.from_url(self._url)

    @property
    def _runners(self) -> str:
        scope = self._scope
        return f"{scope.api}{scope.path}/actions/runners"


def _read_agent_deletion(answer: ServiceAnswer) -> bool:
    if 200 <= answer.status < 300:
        return True
    if "JobStillRunningException" in answer.exception:
        raise RunnerBusy(answer.text(), answer.status)
    if answer.status == 404 or "AgentNotFoundException" in answer.exception:
        return False
    raise answer.error()


def _read_runner_deletion(answer: ServiceAnswer) -> bool:
    if 200 <= answer.status < 300:
        return True
    if answer.status == 422:
        raise RunnerBusy(answer.text(), answer.status)
    if answer.status == 404:
        return False
    raise answer.error()


def _is_listed(answer: ServiceAnswer, runner_id: int, name: str) -> bool:
    """Read `{count, value: [...]}` of a pool, or `{total_count, runners: [...]}` of REST."""
    if not 200 <= answer.status < 300:
        raise answer.error()
    listed = answer.fields.get("value", answer.fields.get("runners"))
    if not isinstance(listed, list):
        raise TransientError(f"cannot {answer.call}: GitHub's answer holds no list of runners")
    if any(_field(one, "id") == runner_id for one in listed):
        return True
    if any(str(_field(one, "name")).lower() != name.lower() for one in listed):
        raise GitHubError(f"cannot {answer.call}: GitHub lists runners of other names")
    return False


def _field(listed: Any, name: str) -> Any:
    return listed.get(name) if isinstance(listed, dict) else None


def _read_grant(answer: ServiceAnswer) -> bool:
    """Read an OAuth answer; its errors come with status 400, and the runner takes 200 as well."""
    if answer.status >= 500 or answer.status == 429:
        raise answer.error()
    if "Current server time is" in answer.message:
        raise ClockDiffers(answer.text(), answer.status)
    if answer.fields.get("error") == "invalid_client":
        return False
    if answer.status != 200:
        raise answer.error()
    if not isinstance(answer.fields.get("access_token"), str):
        raise TransientError(f"cannot {answer.call}: GitHub's answer holds no access token")
    return True


def _backoff_with_fresh_token() -> Backoff:
    """Make a stamina backoff hook that also repeats a refusal, FRESH_TRIES times."""
    pause, left = api.backoff(), FRESH_TRIES

    def pause_fresh(error: Exception) -> bool | float:
        nonlocal left
        if isinstance(error, PermissionDenied) and error.status in (401, 403) and left > 0:
            left -= 1
            return pause(TransientError(str(error)))
        return pause(error)

    return pause_fresh
