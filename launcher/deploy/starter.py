"""Write a first document of pools for the cluster that runners.yaml has made."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

STARTER = """\
# What can be started, and for which jobs. After a change: python -m launcher.deploy pools
[[pool]]
name = "linux"
labels = ["ecs"]                      # a job asks for it: runs-on: [self-hosted, ecs]
architecture = "{architecture}"
cluster = "{cluster}"
task_definition = "{family}"
capacities = ["FARGATE_SPOT", "FARGATE"]
subnets = [{subnets}]
security_groups = ["{group}"]
public_ip = {public_ip}
maximum = 20

[pool.access]
{access}
"""
ALL = "# Nobody is named here, so every repository whose webhook arrives may use it; forks may not."
CPUS = {"ARM64": "arm64", "X86_64": "x64"}


def make_pools(outputs: Mapping[str, str], architecture: str, allow: str) -> str:
    """Return the document. `outputs` are the stack's, `allow` are owners and repositories."""
    return STARTER.format(
        architecture=CPUS[architecture],
        cluster=outputs["ClusterArn"],
        family=outputs["Family"],
        subnets=", ".join(f'"{subnet}"' for subnet in outputs["SubnetIds"].split(",")),
        group=outputs["SecurityGroupId"],
        public_ip=outputs["PublicIp"],
        access=_make_access(allow),
    )


def _make_access(allow: str) -> str:
    names = [name.strip() for name in allow.split(",") if name.strip()]
    lists = {
        "owners": [name for name in names if "/" not in name],
        "repositories": [name for name in names if "/" in name],
    }
    lines = [
        f"{key} = [{', '.join(f'{chr(34)}{name}{chr(34)}' for name in found)}]"
        for key, found in lists.items()
        if found
    ]
    return "\n".join(lines) or ALL
