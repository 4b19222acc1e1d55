"""Check the containers' health checks: one that asks for something else kills every task."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from sidecar import defaults
from sidecar.examination.finding import Finding, failed, ok, unknown, warning

if TYPE_CHECKING:
    from launcher.doctor.setup import Setup

SETTING = "SIDECAR_HEALTH_ADDRESS"
OWN = re.compile(r"\brunner-sidecar[\s,\"']+health\b|\bsidecar[\s,\"']+health\b")
ADDRESS = re.compile(
    r"https?://(?:localhost|127\.0\.0\.1|\[::1\])(?::(?P<port>\d+))?(?P<path>/\S*)?"
)
LEAST_TIME = 5.0
"""Seconds that the agent's own health check may take on a busy machine."""
CHANGE = 'let it be ["CMD", "runner-sidecar", "health"]'


async def check(setup: Setup) -> list[Finding]:
    """Look at the health check of the agent's container in each task definition."""
    found = []
    for target in await setup.list_targets():
        definition = await setup.find_definition(target)
        if definition is None or target.container not in definition.containers:
            continue
        wanted = definition.containers[target.container].get("healthCheck")
        address = definition.read_variables(target.container).get(SETTING)
        finding = judge(wanted, address or defaults.HEALTH_ADDRESS)
        found.append(Finding(finding.level, f"{target.name}: {finding.text}", finding.change))
    return found


def judge(wanted: dict[str, Any] | None, address: str) -> Finding:
    """Judge a health check; `address` is where the agent answers, or off."""
    if not wanted or wanted.get("command", ["NONE"])[0] == "NONE":
        return ok("there is no health check")
    command = " ".join(wanted["command"][1:])
    url = ADDRESS.search(command)
    if not OWN.search(command) and url is None:
        text = f"nobody here knows what the health check asks: {command}"
        return unknown(text, f"{CHANGE}: ECS kills a task that is not healthy")
    if address == "off":
        text = f"{SETTING} is off, and the health check asks the agent: ECS kills every task"
        return failed(text, f"leave the health check out, or {SETTING}=off")
    if url is not None and (wrong := _explain_url(url, address)):
        return failed(f"the health check {wrong}: ECS kills every task", CHANGE)
    if float(wanted.get("timeout", LEAST_TIME)) < LEAST_TIME:
        text = f"the health check has {wanted['timeout']} s, and may need more on a busy machine"
        return warning(text, f"give it {LEAST_TIME:g} s (timeout)")
    return ok("the health check asks the agent")


def _explain_url(url: re.Match[str], address: str) -> str:
    """Say what is wrong with a URL that is asked; "" where it is the agent's own."""
    port, path = url["port"] or "80", url["path"] or "/"
    own = address.rpartition(":")[2]
    if port != own:
        return f"asks port {port}, where nobody listens: the agent answers at port {own}"
    if path not in ("/healthz", "/metrics"):
        return f"asks for {path}, which is not whether the agent is healthy: that is /healthz"
    return ""
