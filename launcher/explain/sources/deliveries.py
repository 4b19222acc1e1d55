"""Tell how the webhook answered GitHub's deliveries about the job."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from launcher.explain.case import Attempt
from launcher.explain.entries import Entry, Mark, Source, clean, read_time
from launcher.explain.sources.jobs import ask
from sidecar.github.answers import read_field, read_number

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from launcher.explain.case import Case
    from launcher.record.launch import Launch
    from sidecar.github.api import Api

PAGE, PAGES = 100, 10
"""Deliveries of one page, and pages that are read at most."""
MOST_READ = 20
"""Deliveries that are read one by one: only so it is known which job they are about."""
BEFORE, AFTER = 60.0, 600.0
"""Seconds around the moment at which the job was queued; what was sent again comes later."""
SKEW = 5.0
"""Seconds by which the clocks of GitHub and of the launcher may differ."""
EVENT = "workflow_job"
_NEXT = re.compile(r'<[^>]*[?&](cursor=[^&>]+)[^>]*>; rel="next"')
ADVICE = {
    401: "the webhook's secret at GitHub is not LAUNCHER_WEBHOOK_SECRETS",
    403: "the repository is not in LAUNCHER_ALLOW, or something in front refuses GitHub",
    404: "the webhook's URL has another path than LAUNCHER_WEBHOOK_PATH",
    415: "the webhook's content type at GitHub must be application/json",
    502: "GitHub cannot reach the URL: look at its address, its certificate, its firewall",
    503: "the webhook could not write to the queue or read its secrets: look for webhook.failed",
    504: "the webhook did not answer within 10 s",
}
"""What to change, by the code with which a delivery was answered."""


async def list_repository_hooks(api: Api, repository: str) -> list[str]:
    """List the paths of a repository's active webhooks. Raises GitHubError."""
    path = f"/repos/{repository}/hooks"
    body = (await ask(api, f"{path}?per_page={PAGE}")).body
    listed = body if isinstance(body, list) else []
    wanted = ({EVENT}, {"*"})
    return [
        f"{path}/{read_number(hook, 'id')}"
        for hook in listed
        if any(events <= set(hook.get("events") or []) for events in wanted)
    ]


async def read_events(api: Api) -> list[str]:
    """Read the events that an App is subscribed to; `api` asks as the App. Raises GitHubError."""
    body = (await ask(api, "/app")).body
    return [str(each) for each in read_field(body, "events", list)]


async def read_attempts(
    api: Api, path: str, hook: str, job: int, repository: int | None, queued_at: float
) -> list[Attempt]:
    """List the attempts to tell of the job, by one webhook. Raises GitHubError."""
    found: list[Attempt] = []
    read = 0
    async for listed in _list_since(api, path, queued_at - BEFORE):
        if not _may_concern(listed, repository, queued_at):
            continue
        if (read := read + 1) > MOST_READ:
            break
        body = (await ask(api, f"{path}/deliveries/{read_number(listed, 'id')}")).body
        payload = read_field(body, "request", dict).get("payload")
        told = payload.get(EVENT) if isinstance(payload, dict) else None
        if isinstance(told, dict) and told.get("id") == job:
            found.append(_read(body, hook))
    found.sort(key=lambda each: each.at or 0.0)
    return found


async def _list_since(api: Api, path: str, oldest: float) -> AsyncIterator[Mapping[str, Any]]:
    cursor = ""
    for _ in range(PAGES):
        answer = await ask(api, f"{path}/deliveries?per_page={PAGE}{cursor}")
        listed = answer.body if isinstance(answer.body, list) else []
        for each in listed:
            if (read_time(each.get("delivered_at")) or 0.0) < oldest:
                return
            yield each
        following = _NEXT.search(answer.headers.get("link", ""))
        if not listed or following is None:
            return
        cursor = f"&{following[1]}"


def _may_concern(listed: Mapping[str, Any], repository: int | None, queued_at: float) -> bool:
    """Whether a delivery may be about the job, as far as the list tells."""
    if listed.get("event") != EVENT or listed.get("action") not in ("queued", "waiting"):
        return False
    if repository is not None and listed.get("repository_id") not in (None, repository):
        return False
    at = read_time(listed.get("delivered_at")) or 0.0
    return bool(listed.get("redelivery")) or at < queued_at + AFTER


def _read(body: Any, hook: str) -> Attempt:
    response = body.get("response")
    answer = response.get("payload") if isinstance(response, dict) else None
    return Attempt(
        read_number(body, "id"),
        str(read_field(body, "guid")),
        read_time(body.get("delivered_at")),
        str(body.get("action") or ""),
        clean(body.get("status") or "", 100),
        int(body.get("status_code") or 0),
        clean(answer, 200) if isinstance(answer, str) else "",
        hook,
    )


def tell(case: Case) -> Iterator[Entry]:
    """Yield how each attempt was answered."""
    attempts = case.attempts
    if attempts is None or case.job is None:
        return
    taken = {each.guid for each in attempts if each.is_ok}
    for each in attempts:
        text = f"`{each.action}` of {each.hook}, delivery {each.id}: "
        if each.code == 0:
            yield Entry(Source.WEBHOOK, f"{text}no answer yet", each.at, Mark.WAITS)
            continue
        text += f"answered {each.code}" if each.is_ok else f"{each.status} ({each.code})"
        text += f": {each.answer}" if each.answer else ""
        if each.is_ok:
            yield Entry(Source.WEBHOOK, text, each.at, Mark.DONE)
        elif each.guid in taken:
            yield Entry(Source.WEBHOOK, f"{text}; sent again, it was taken", each.at)
        elif each.at is not None and _has_come(case.launch, each.at):
            yield Entry(Source.WEBHOOK, f"{text}; a worker has the job all the same", each.at)
        else:
            advice = ADVICE.get(each.code, "look at what answers at the webhook's URL")
            advice += "; then send it again (GitHub does not by itself)"
            yield Entry(Source.WEBHOOK, text, each.at, Mark.FAILED, advice)
    if not attempts and case.launch is None and not case.job.began and case.job.status == "queued":
        yield _tell_nothing(case)


def _has_come(launch: Launch | None, at: float) -> bool:
    """Return true if a worker learned of the job, though a delivery of that moment has failed.

    A queue that answers too late may have the message. A launch that is over tells nothing of a
    delivery that came after it.
    """
    if launch is None:
        return False
    return not launch.settled or launch.first_seen > at - SKEW


def _tell_nothing(case: Case) -> Entry:
    """Tell that no delivery is listed, and of whose events that is known."""
    text = "GitHub lists no delivery that tells of the job"
    advice = (
        "the App or webhook must be active, be subscribed to the event `workflow_job`, and "
        "reach the repository; deliveries older than three days are not listed"
    )
    if case.deaf_apps:
        apps = ", ".join(case.deaf_apps)
        text += f": the App {apps} is not subscribed to the event {EVENT}"
        advice = "subscribe it to Workflow jobs in the App's settings"
    after = case.job.created_at if case.job is not None else None
    return Entry(Source.WEBHOOK, text, None, Mark.FAILED, advice, after=after)
