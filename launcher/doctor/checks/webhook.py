"""Check the webhook: that it has a secret, and what became of its last deliveries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from launcher.doctor.errors import explain_github
from launcher.doctor.permissions import EVENT
from launcher.sweep.repairs.hooks import Delivery, read_delivery
from sidecar.errors import SidecarError
from sidecar.examination.finding import Finding, failed, ok, unknown, warning
from sidecar.examination.patience import GITHUB_TRIES
from sidecar.github import Scope

if TYPE_CHECKING:
    from launcher.doctor.setup import Setup
    from sidecar.github.api import Api

LOOKED_AT = 30
"""Deliveries, the newest first."""
CHANGE = "give the credential the right to read webhooks, or look at Recent deliveries yourself"
OF_CODE = {
    401: (
        "it refuses the signature, so the webhook's secret is another one than the launcher's",
        "write one secret into both (LAUNCHER_WEBHOOK_SECRETS)",
    ),
    403: ("it refuses the repository", "name its owner in the allow list (LAUNCHER_ALLOW)"),
    404: (
        "there is nothing at the payload URL",
        "correct the payload URL in GitHub's settings (LAUNCHER_WEBHOOK_PATH)",
    ),
    503: ("its queue does not take it", "look at the log of the webhook, and at the queue"),
}
"""The meaning of a status of the receiver, and the change that helps."""
OTHERWISE = ("nobody takes it", "correct the payload URL, and let GitHub reach it")


async def check(setup: Setup) -> list[Finding]:
    """Look at the webhook of each App, and at those that send to the webhook's URL."""
    known = {id_ for id_, app in await setup.apps() if not isinstance(app, SidecarError)}
    found = []
    for id_, api in setup.connections.connect_as_apps():
        if id_ in known:
            found += await _check_hook(f"App {id_}", api, "/app/hook", "/app/hook/config")
    if setup.settings.webhook_url is not None:
        found += await _check_url(setup, setup.settings.webhook_url)
    if found or setup.settings.apps:
        return found
    return [
        unknown("no App and no URL name a webhook", "set LAUNCHER_WEBHOOK_URL, if there is one")
    ]


async def _check_url(setup: Setup, url: str) -> list[Finding]:
    """Look for webhooks of repositories and their owners that send to `url`."""
    found, refused = [], []
    names = await setup.list_repositories()
    owners = dict.fromkeys(name.partition("/")[0] for name in names)
    for each in (*owners, *names):
        connection = setup.connections.connect_to(f"{setup.server}/{each}")
        if connection is None:
            continue
        path, api = Scope.from_url(f"{setup.server}/{each}").path, await connection.api()
        try:
            answer = await api.call(
                "GET",
                f"{path}/hooks?per_page=100",
                expects={200: None, 404: None},
                tries=GITHUB_TRIES,
            )
        except SidecarError as error:
            refused.append(explain_github(error, CHANGE))
            continue
        listed = answer.body if isinstance(answer.body, list) else []
        for hook in listed:
            if (hook.get("config") or {}).get("url") == url:
                found += _judge_hook(each, hook)
                found += await _check_hook(each, api, f"{path}/hooks/{hook['id']}", None)
    if found or refused:
        return found or refused
    where = ", ".join((*owners, *names)) or "no repository that is known"
    text = f"no webhook of {where} sends to {url}"
    return [failed(text, "add it there, or correct LAUNCHER_WEBHOOK_URL")]


def _judge_hook(name: str, hook: dict[str, Any]) -> list[Finding]:
    if not hook.get("active", True):
        return [failed(f"the webhook of {name} is not active", "make it active in its settings")]
    if not {EVENT, "*"} & {*(hook.get("events") or ())}:
        text = f"the webhook of {name} is not told of jobs: it lacks the event {EVENT}"
        return [failed(text, "choose Workflow jobs in its settings")]
    return _judge_config(name, hook.get("config") or {})


def _judge_config(name: str, config: dict[str, Any]) -> list[Finding]:
    if not config.get("url"):
        return [failed(f"{name} has no payload URL", "write the launcher's into its settings")]
    if not config.get("secret"):
        text = f"the webhook of {name} has no secret: the launcher refuses all that it sends"
        return [failed(text, "write the secret of LAUNCHER_WEBHOOK_SECRETS into its settings")]
    if config.get("content_type") != "json":
        text = f"the webhook of {name} does not send JSON"
        return [failed(text, "choose application/json in its settings")]
    return []


async def _check_hook(name: str, api: Api, path: str, config: str | None) -> list[Finding]:
    found: list[Finding] = []
    try:
        if config is not None:
            answer = await api.call("GET", config, expects={200: None}, tries=GITHUB_TRIES)
            found = _judge_config(name, answer.body if isinstance(answer.body, dict) else {})
        query = f"{path}/deliveries?per_page={LOOKED_AT}"
        answer = await api.call("GET", query, expects={200: None}, tries=GITHUB_TRIES)
    except SidecarError as error:
        return [explain_github(error, CHANGE)]
    listed = answer.body if isinstance(answer.body, list) else []
    return [*found, *_judge_deliveries(name, [read_delivery(each) for each in listed])]


def _judge_deliveries(name: str, deliveries: list[Delivery]) -> list[Finding]:
    """Judge the newest delivery; older ones that failed are told beside a good one."""
    if not deliveries:
        text = f"the webhook of {name} has delivered nothing in the last days"
        return [unknown(text, "queue a job, and look again")]
    newest, failures = deliveries[0], [each for each in deliveries if not each.is_ok]
    if not newest.is_ok:
        meaning, change = OF_CODE.get(newest.code, OTHERWISE)
        text = f"the last delivery of {name} failed ({newest.status}): {meaning}"
        return [failed(text, change)]
    if failures:
        text = f"{len(failures)} of the last {len(deliveries)} deliveries of {name} failed"
        return [warning(text, "have them sent again: the command sweep does")]
    return [ok(f"the last {len(deliveries)} deliveries of {name} were taken")]
