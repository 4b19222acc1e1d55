"""Check the clusters: that they exist, and have the capacity providers that are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from launcher.doctor.account import explain_unseen
from sidecar.aws.calls import ECS, AwsError
from sidecar.examination.finding import Finding, failed, ok

if TYPE_CHECKING:
    from launcher.doctor.setup import Setup
    from launcher.doctor.target import Target


async def check(setup: Setup) -> list[Finding]:
    """Describe each cluster once."""
    targets = await setup.list_targets()
    found = []
    for name in dict.fromkeys(target.cluster for target in targets):
        try:
            answer = await setup.account.ask(ECS, "describe_clusters", clusters=[name])
        except AwsError as error:
            found.append(explain_unseen(error, "look at it in the console"))
            continue
        described: dict[str, Any] = next(iter((answer or {}).get("clusters", [])), {})
        own = [target for target in targets if target.cluster == name]
        found += _judge(name, described, own)
    return found


def _judge(name: str, cluster: dict[str, Any], targets: list[Target]) -> list[Finding]:
    if cluster.get("status") != "ACTIVE":
        state = f"it is {cluster['status']}" if cluster else "there is none"
        return [failed(f"the cluster {name} cannot be used: {state}", "correct its name or region")]
    had = set(cluster.get("capacityProviders", []))
    found = []
    for target in targets:
        if missing := [each for each in target.capacities if each not in had]:
            text = f"{target.name}: the cluster {name} lacks the capacity provider"
            change = "add it to the cluster (PutClusterCapacityProviders)"
            found.append(failed(f"{text} {' and '.join(missing)}", change))
    return found or [ok(f"the cluster {name} is active")]
