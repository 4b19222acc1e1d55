"""Check the permissions and events of each GitHub App."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from launcher.doctor.permissions import EVENT, describe_lacks, list_wanted
from sidecar.errors import SidecarError
from sidecar.examination.finding import Finding, failed, ok

if TYPE_CHECKING:
    from launcher.doctor.setup import Setup


async def check(setup: Setup) -> list[Finding]:
    """Compare what each App has with what a launch needs."""
    wanted = await list_wanted(setup)
    found = []
    for id_, app in await setup.apps():
        if not isinstance(app, SidecarError):  # else the line credential tells it
            found += _judge(id_, app, wanted)
    return found


def _judge(id_: str, app: dict[str, Any], wanted: dict[str, str]) -> list[Finding]:
    found = []
    if lacks := describe_lacks(app.get("permissions") or {}, wanted):
        change = "give it them in the App's settings, and let the owners of its accounts accept"
        found.append(failed(f"the App {id_} lacks permissions: {lacks}", change))
    if EVENT not in (app.get("events") or ()):
        text = f"the App {id_} is not told of jobs: the event {EVENT} is not among its events"
        found.append(failed(text, "subscribe it to Workflow jobs in the App's settings"))
    shown = ", ".join(f"{name}: {level}" for name, level in wanted.items())
    return found or [ok(f"the App {id_} has {shown} and the event {EVENT}")]
