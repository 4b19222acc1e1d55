"""Check how jobs and their containers would get credentials: the relay mode, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.errors import RelayError
from sidecar.examination.finding import Finding, failed, ok, warning
from sidecar.lifecycle.credentials_route import CredentialsRoute
from sidecar.relay import mode, network_rules
from sidecar.relay.mode import DaemonLocation, Mode
from sidecar.shutdown.cleanup import CleanupStack

if TYPE_CHECKING:
    from sidecar.doctor.setup import Setup

MEANING = {
    Mode.LOCAL: "steps of a job ask the relay, at its own address",
    Mode.NETFILTER: "rules lead steps and containers to the relay",
    Mode.PASS_THROUGH: "containers ask the ECS agent itself",
    Mode.OFF: "nothing is relayed",
}


async def check(setup: Setup) -> list[Finding]:
    """Choose the mode as a life would; no rule is added."""
    settings, access = setup.settings, setup.access
    if settings.relay == "off":
        return [ok("off: SIDECAR_RELAY=off")]
    if access.endpoint_error is not None:
        change = "correct the variable, or set SIDECAR_RELAY=off"
        return [_judge_lack(setup, str(access.endpoint_error), change)]
    if access.endpoint is None and not access.separate_job_role:
        lacking = "the machine has no instance profile" if setup.config.machine else "no task role"
        change = "give the task a taskRoleArn, the machine a profile, or leave the setting out"
        return [_judge_lack(setup, f"none is relayed: {lacking}", change)]
    try:
        choice, facts = await _choose(setup)
    except RelayError as error:
        return [failed(str(error), "set SIDECAR_RELAY=auto, or change what stands in its way")]
    found = [ok(f"{choice.mode}: {MEANING[choice.mode]} ({choice.reason})")]
    return found + _list_lacks(choice, facts, settings.relay)


async def _choose(setup: Setup) -> tuple[mode.Choice, mode.Facts]:
    modes = (await setup.facts()).network_modes
    access = setup.access
    route = CredentialsRoute(access.endpoint, access.separate_job_role, modes, CleanupStack())
    facts = route.list_facts(setup.config, *await setup.daemon())
    return mode.choose(setup.settings.relay, facts), facts


def _judge_lack(setup: Setup, text: str, change: str) -> Finding:
    """Judge that there is nothing to relay: a life goes on without, unless a setting forbids."""
    settings = setup.settings
    if settings.relay_required or settings.relay != "auto":
        return failed(text, change)
    if setup.access.endpoint_error is not None:
        return warning(text, change)
    return ok(text)


def _list_lacks(choice: mode.Choice, facts: mode.Facts, wanted: str) -> list[Finding]:
    """Say what the mode lacks that people mostly want; `wanted` is SIDECAR_RELAY."""
    if choice.mode is Mode.NETFILTER and not network_rules.find_tools():
        text = "neither iptables nor nft is installed: there will be no rules"
        say = failed if wanted == Mode.NETFILTER else warning
        return [say(text, "install iptables in the image")]
    here = facts.location in (DaemonLocation.HERE, DaemonLocation.SILENT)
    if choice.mode is not Mode.NETFILTER and here and facts.obstacle is not None:
        text = f"containers of jobs are not led to the relay: {facts.obstacle}"
        change = "add NET_ADMIN (linuxParameters), as root, in a namespace of the task's own"
        return [warning(text, change)]
    return []
