"""Check what the launcher's role may do, by IAM's policy simulation, and what the task roles may.

PassRole is the usual one that is missing: RunTask is refused then, for either role.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from launcher.doctor.rights import list_launcher_rights, list_task_rights
from sidecar.aws.calls import AwsError
from sidecar.aws.policy import PERMISSION, simulate
from sidecar.examination.finding import Finding, failed, ok, unknown

if TYPE_CHECKING:
    from launcher.doctor.rights import Right
    from launcher.doctor.setup import Setup
    from sidecar.aws.policy import Decision

COMPARE = f"compare with docs/deploy.md, or allow who asks {PERMISSION}"


async def check(setup: Setup) -> list[Finding]:
    """Ask IAM about each call of a launch, and about those of the tasks' agents."""
    try:
        role = setup.settings.role or (await setup.identity()).role_arn
    except AwsError:
        return [unknown("the launcher's role is not known", "see the line identity")]
    if role is None:
        text = "whoever asks is no role: whose rights a launch has is not known"
        found = [unknown(text, "name the worker's role (--role)")]
    else:
        found = await _ask(setup, role, await list_launcher_rights(setup, role))
    for task_role, wanted in (await list_task_rights(setup)).items():
        found += await _ask(setup, task_role, wanted)
    return found


async def _ask(setup: Setup, role: str, wanted: list[Right]) -> list[Finding]:
    decisions: list[Decision] = []
    for context in dict.fromkeys(right.context for right in wanted):
        pairs = [(right.action, right.resource) for right in wanted if right.context == context]
        try:
            decisions += await simulate(
                role,
                pairs,
                setup.account.region,
                setup.account.session,
                setup.patience.aws,
                context=dict(context),
            )
        except AwsError as error:
            actions = ", ".join(dict.fromkeys(right.action for right in wanted))
            return [unknown(f"not asked without doing it: {actions} ({error})", COMPARE)]
    return _judge(role, decisions)


def _judge(role: str, decisions: list[Decision]) -> list[Finding]:
    found = []
    for one in decisions:
        if one.allowed:
            continue
        text = f"the policies of {role} refuse {one.action} on {one.resource}"
        if one.uncertain:
            change = "see whether the condition in the policy holds when the call is made"
            found.append(unknown(f"{text}, as far as a condition can be judged here", change))
        else:
            found.append(failed(text, f"allow {one.action} on it"))
    allowed = sorted({one.action for one in decisions if one.allowed})
    return [*found, ok(f"the policies of {role} allow {', '.join(allowed)}")] if allowed else found
