"""List all checks of the launcher's doctor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from launcher.doctor.checks import (
    app,
    cluster,
    credential,
    definition,
    group,
    health,
    identity,
    image,
    installation,
    machines,
    name,
    network,
    pools,
    quota,
    rights,
    roles,
    settings,
    stop,
    webhook,
)
from sidecar.examination.network import clock, dns, proxy

if TYPE_CHECKING:
    from launcher.doctor.setup import Setup
    from sidecar.examination.lines import Check

CHECKS: dict[str, Check[Setup]] = {
    "settings": settings.check,
    "dns": dns.check,
    "proxy": proxy.check,
    "clock": clock.check,
    "identity": identity.check,
    "credential": credential.check,
    "app": app.check,
    "installation": installation.check,
    "webhook": webhook.check,
    "pools": pools.check,
    "group": group.check,
    "name": name.check,
    "cluster": cluster.check,
    "definition": definition.check,
    "roles": roles.check,
    "rights": rights.check,
    "network": network.check,
    "image": image.check,
    "machines": machines.check,
    "quota": quota.check,
    "stop": stop.check,
    "health": health.check,
}
"""Every check by its name, what may be the cause of others first."""
