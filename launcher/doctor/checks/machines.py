"""Check the launch templates of pools whose runners live on machines of EC2."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from launcher.doctor.account import explain_unseen
from launcher.places.ec2 import EC2
from sidecar.aws.calls import AwsError
from sidecar.examination.finding import Finding, failed, ok

if TYPE_CHECKING:
    from launcher.doctor.setup import Setup
    from launcher.pools.pool import MachineKind


async def check(setup: Setup) -> list[Finding]:
    """Ask for the version of each template."""
    return [
        await _check(setup, pool.name, pool.machine)
        for pool in await setup.list_pools()
        if pool.machine is not None
    ]


async def _check(setup: Setup, pool: str, kind: MachineKind) -> Finding:
    template = kind.launch_template
    key = "LaunchTemplateId" if template.startswith("lt-") else "LaunchTemplateName"
    given: dict[str, Any] = {key: template, "Versions": [kind.version]}
    try:
        answer = await setup.account.ask(EC2, "describe_launch_template_versions", **given)
    except AwsError as error:
        return explain_unseen(error, f"look for the launch template {template} in the console")
    if not (answer or {}).get("LaunchTemplateVersions"):
        text = f"pool {pool}: there is no version {kind.version} of the launch template {template}"
        return failed(text, "make it, or correct its name, version or region")
    return ok(f"pool {pool}: the launch template {template} is there")
