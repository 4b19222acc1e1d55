"""Webhooks: `workflow_job` goes to whoever wants it; on order a delivery is lost, late or twice.

As on GitHub, a delivery that failed is not sent again by itself. One that is sent again keeps its
GUID and gets an id of its own.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import itertools
import json
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from local.github import payloads
from local.github.scope import Scope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from local.github.apps import App, Apps, Installation
    from local.github.changes import Changes
    from local.github.jobs import Job

TIMEOUT = 10.0
"""Seconds that a receiver has for its answer (GitHub, "Best practices for using webhooks")."""
KEPT = 3 * 86400.0
"""Seconds for which a delivery is listed and can be sent again."""
KINDS = ("lose", "hold", "twice")


class Post(Protocol):
    """Sends one request; returns status, headers and body of the answer. Raises OSError."""

    async def __call__(
        self, url: str, body: bytes, headers: dict[str, str]
    ) -> tuple[int, dict[str, str], str]:
        """Send it."""


class WrongHookError(ValueError):
    """A webhook, or a disturbance of one, that cannot be had."""


@dataclass
class Hook:
    """A webhook of an App, or of a repository or organization."""

    id: int
    url: str
    secret: str
    app: App | None = None
    scope: Scope | None = None

    def find_installation(self, repository: str) -> Installation | None:
        """Return the App's installation that reaches a repository."""
        owner, _, name = repository.partition("/")
        scope = Scope("repos", owner, name)
        found = self.app.installations if self.app else []
        return next((each for each in found if each.covers(scope)), None)

    def wants(self, repository: str) -> bool:
        """Whether it is told of jobs of this repository."""
        if self.app is not None:
            found = self.find_installation(repository)
            listens = found is not None and found.suspended_at is None
            return listens and "workflow_job" in self.app.events
        return self.scope is None or self.scope.holds(repository)


@dataclass
class Delivery:
    """One delivery: what was sent, and what the receiver answered."""

    id: int
    guid: str
    hook: Hook
    action: str
    payload: dict[str, Any]
    at: float
    redelivery: bool = False
    event: str = "workflow_job"
    headers: dict[str, str] = field(default_factory=dict)
    status: str = "pending"
    status_code: int = 0
    duration: float = 0.0
    answer: str = ""
    answer_headers: dict[str, str] = field(default_factory=dict)

    @property
    def body(self) -> bytes:
        """The bytes that are sent and signed."""
        return json.dumps(self.payload, separators=(",", ":"), ensure_ascii=False).encode()

    @property
    def installation_id(self) -> int | None:
        """The installation that it was sent for."""
        found = self.payload.get("installation")
        return int(found["id"]) if found else None


@dataclass
class Disturbance:
    """A disturbance of the next `times` deliveries of `action` ("" is any).

    lose: nobody gets it. hold: it is kept until it is released. twice: it is sent again at once.
    """

    kind: str
    action: str = ""
    times: int = 1
    skip: int = 0
    """How many go through before."""

    def concerns(self, action: str) -> bool:
        """Whether it concerns a delivery; counts it."""
        if self.action not in ("", action) or self.times == 0:
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        self.times -= 1
        return True


class Hooks:
    """All webhooks, and what was sent by them."""

    def __init__(self, now: Callable[[], float], changes: Changes, apps: Apps) -> None:
        self._now = now
        self._changes = changes
        self._apps = apps
        self._all: dict[int, Hook] = {}
        self._ids = itertools.count(601)
        self._delivery_ids = itertools.count(12345678901)
        self._sending: set[asyncio.Task[None]] = set()
        self.post: Post = _refuse
        """What sends; `serving` sets it."""
        self.deliveries: list[Delivery] = []
        """All of them, oldest first."""
        self.disturbances: list[Disturbance] = []
        self.held: list[Delivery] = []
        """Deliveries that are not sent before they are released."""
        self.groups: list[str] = ["Default"]

    def __iter__(self) -> Iterator[Hook]:
        return iter(list(self._all.values()))

    def add(
        self, url: str, secret: str, *, app: App | None = None, scope: Scope | None = None
    ) -> Hook:
        """Send to `url` from now on; begins with a ping."""
        hook = Hook(next(self._ids), url, secret, app, scope)
        self._all[hook.id] = hook
        ping = {"zen": "Keep it logically awesome.", "hook_id": hook.id, "hook": describe(hook)}
        self._deliver(self._make(hook, "", ping, event="ping"))
        return hook

    def remove(self, hook: Hook) -> None:
        """Send no more."""
        self._all.pop(hook.id, None)

    def disturb(self, kind: str, action: str = "", times: int = 1, skip: int = 0) -> None:
        """Disturb the next deliveries (Disturbance). Raises WrongHookError."""
        if kind not in KINDS:
            raise WrongHookError(f"kind must be {', '.join(KINDS)}, not {kind!r}")
        self.disturbances.append(Disturbance(kind, action, times, skip))

    def announce(self, job: Job, action: str) -> None:
        """Send `workflow_job` to everybody who wants it; nobody waits for the answers."""
        name = job.run.full_name
        for hook in self:
            if hook.wants(name):
                installation = hook.find_installation(name)
                payload = payloads.workflow_job(job, action, installation, self.groups)
                self._send_or_disturb(self._make(hook, action, payload))

    def _send_or_disturb(self, delivery: Delivery) -> None:
        found = next((each for each in self.disturbances if each.concerns(delivery.action)), None)
        kind = found.kind if found else ""
        if kind == "lose":
            delivery.status, delivery.status_code = "failed to connect to host", 502
            self._changes.ring()
        elif kind == "hold":
            self.held.append(delivery)
            self._changes.ring()
        else:
            self._deliver(delivery)
        if kind == "twice":
            self.redeliver(delivery)

    def release(self, seconds: float = 0.0) -> int:
        """Send what was held, after so many seconds; returns how many those are."""
        held, self.held = self.held, []
        for delivery in held:
            self._deliver(delivery, seconds)
        return len(held)

    def redeliver(self, delivery: Delivery) -> Delivery:
        """Send it again: the same GUID, another id."""
        again = self._make(
            delivery.hook, delivery.action, delivery.payload, delivery.event, delivery.guid
        )
        self._deliver(again)
        return again

    def find(self, delivery_id: int, hooks: Callable[[Hook], bool]) -> Delivery | None:
        """Return a delivery of one of these hooks, unless it is too old."""
        return next((each for each in self.list_kept(hooks) if each.id == delivery_id), None)

    def list_kept(self, hooks: Callable[[Hook], bool]) -> list[Delivery]:
        """List the deliveries of these hooks that are kept, newest first."""
        oldest = self._now() - KEPT
        return [each for each in reversed(self.deliveries) if each.at > oldest and hooks(each.hook)]

    def of_job(self, job_id: int, action: str = "") -> list[Delivery]:
        """List the deliveries that concern a job, oldest first."""
        return [
            each
            for each in self.deliveries
            if each.payload.get("workflow_job", {}).get("id") == job_id
            and action in ("", each.action)
        ]

    async def close(self) -> None:
        """End all that is being sent."""
        for task in self._sending:
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)

    def _make(
        self,
        hook: Hook,
        action: str,
        payload: dict[str, Any],
        event: str = "workflow_job",
        guid: str = "",
    ) -> Delivery:
        made = Delivery(
            next(self._delivery_ids),
            guid or str(uuid.uuid4()),
            hook,
            action,
            payload,
            self._now(),
            redelivery=bool(guid),
            event=event,
        )
        made.headers = make_headers(made)
        self.deliveries.append(made)
        return made

    def _deliver(self, delivery: Delivery, seconds: float = 0.0) -> None:
        sending = asyncio.get_running_loop().create_task(self._send(delivery, seconds))
        self._sending.add(sending)
        sending.add_done_callback(self._sending.discard)

    async def _send(self, delivery: Delivery, seconds: float) -> None:
        if seconds:
            await asyncio.sleep(seconds)
        begun = self._now()
        try:
            async with asyncio.timeout(TIMEOUT):
                answer = await self.post(delivery.hook.url, delivery.body, delivery.headers)
            delivery.status_code, delivery.answer_headers, delivery.answer = answer
            good = 200 <= delivery.status_code < 300
            delivery.status = "OK" if good else f"Invalid HTTP Response: {delivery.status_code}"
        except TimeoutError:
            delivery.status, delivery.status_code = "timed out", 504
        except OSError:
            delivery.status, delivery.status_code = "failed to connect to host", 502
        delivery.duration = round(self._now() - begun, 2)
        self._changes.ring()


async def _refuse(url: str, body: bytes, headers: dict[str, str]) -> Any:  # noqa: ARG001
    raise OSError("this GitHub is not served")


def make_headers(delivery: Delivery) -> dict[str, str]:
    """Make the headers that GitHub sends; the signature is that of the raw bytes."""
    hook, body = delivery.hook, delivery.body
    kind, target = "organization", 0
    if hook.app is not None:
        kind, target = "integration", hook.app.id
    elif hook.scope is not None and hook.scope.kind == "repos":
        kind = "repository"
        target = payloads.number_of(f"{hook.scope.owner}/{hook.scope.repository}")
    elif hook.scope is not None:
        target = payloads.number_of(hook.scope.owner)
    headers = {
        "Accept": "*/*",
        "Content-Type": "application/json",
        "User-Agent": "GitHub-Hookshot/044aadd",
        "X-GitHub-Delivery": delivery.guid,
        "X-GitHub-Event": delivery.event,
        "X-GitHub-Hook-ID": str(hook.id),
        "X-GitHub-Hook-Installation-Target-ID": str(target),
        "X-GitHub-Hook-Installation-Target-Type": kind,
    }
    if hook.secret:
        secret = hook.secret.encode()
        for name, digest in (("", hashlib.sha1), ("-256", hashlib.sha256)):
            signature = hmac.new(secret, body, digest).hexdigest()
            word = "sha1" if not name else "sha256"
            headers[f"X-Hub-Signature{name}"] = f"{word}={signature}"
    return headers


def describe(hook: Hook) -> dict[str, Any]:
    """Describe a webhook as REST and its first delivery do."""
    kind = "Organization" if hook.scope and hook.scope.kind == "orgs" else "Repository"
    return {
        "type": "App" if hook.app else kind,
        "id": hook.id,
        "name": "web",
        "active": True,
        "events": ["workflow_job"],
        "config": {"content_type": "json", "insecure_ssl": "0", "url": hook.url},
        **({"app_id": hook.app.id} if hook.app else {}),
    }
