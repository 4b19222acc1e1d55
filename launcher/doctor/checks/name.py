"""Check the names of the runners: each must be its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from launcher.doctor.errors import explain_github
from sidecar.errors import SidecarError
from sidecar.examination.finding import Finding, failed, ok

if TYPE_CHECKING:
    from launcher.doctor.setup import Setup

NAME = "SIDECAR_NAME"


async def check(setup: Setup) -> list[Finding]:
    """Look for definitions that give all of their tasks one name, which may be taken already."""
    found = []
    for target in await setup.list_targets():
        definition = await setup.find_definition(target)
        if definition is None or target.just_in_time:
            continue  # just in time, the launcher names the runner
        name = definition.read_variables(target.container).get(NAME)
        if name:
            found += await _judge(setup, f"{definition.name} ({target.name})", name)
    return found or [ok(f"each runner has a name of its own: {setup.settings.name_prefix}…")]


async def _judge(setup: Setup, where: str, name: str) -> list[Finding]:
    change = f"leave {NAME} out of the task definition: the launcher names each runner"
    for repository in await setup.list_repositories():
        try:
            runners = await setup.connections.connect(repository).runners()
            taken = await runners.find(name)
        except SidecarError as error:
            return [explain_github(error, "let the credential list runners")]
        if taken is not None:
            text = f"{where} sets {NAME}={name}, and a runner of this name is registered already"
            return [failed(text, change)]
    text = f"{where} sets {NAME}={name}: only one runner can have the name"
    return [failed(text, change)]
