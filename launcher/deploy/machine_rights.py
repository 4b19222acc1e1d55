"""Find out what must be allowed for machines: launch templates, and roles of instance profiles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from launcher.deploy.aws import is_missing
from launcher.errors import Exit, LaunchError
from launcher.places.ec2_request import name_by_id_or_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from launcher.deploy.aws import Account
    from launcher.pools.pool import MachineKind


@dataclass(frozen=True, slots=True)
class MachineRights:
    """ARNs of what is used for machines; both are empty where no pool starts any."""

    launch_templates: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    """Those of the instance profiles."""


def find_machine_rights(
    account: Account, machines: Mapping[str, MachineKind], elsewhere: frozenset[str] = frozenset()
) -> MachineRights:
    """Look up what pools, given by name, start machines from. Raises LaunchError.

    A pool of `elsewhere` is left out where this account does not have its launch template.
    """
    templates: set[str] = set()
    roles: set[str] = set()
    for pool, kind in machines.items():
        try:
            template = _read_template(account, pool, kind)
        except LaunchError as error:
            if pool in elsewhere and is_missing(error):
                continue
            raise
        templates.add(account.arn("ec2", f"launch-template/{template['LaunchTemplateId']}"))
        named = template["LaunchTemplateData"].get("IamInstanceProfile", {})
        profile = kind.instance_profile or named.get("Name") or named.get("Arn")
        if not profile:
            text = "has no instance profile, nor has its launch template: the agent needs one"
            raise LaunchError(Exit.SETTINGS, f"the pool {pool} {text} for its token")
        roles |= find_profile_roles(account, profile, f"the pool {pool}")
    return MachineRights(tuple(sorted(templates)), tuple(sorted(roles)))


def find_profile_roles(account: Account, profile: str, owner: str) -> set[str]:
    """Return the roles of an instance profile, which is given by its name or its ARN.

    `owner` is what names it in the document of pools. Raises LaunchError.
    """
    name = profile.rpartition("/")[2]
    action = f"cannot look at the instance profile {name} of {owner}"
    found = account.call("iam", "get_instance_profile", action, InstanceProfileName=name)
    roles = {each["Arn"] for each in found["InstanceProfile"]["Roles"]}
    if not roles:
        text = f"the instance profile {name} of {owner} has no role"
        raise LaunchError(Exit.SETTINGS, text)
    return roles


def _read_template(account: Account, pool: str, kind: MachineKind) -> dict[str, Any]:
    """Read the version of the launch template that a pool names."""
    found = account.call(
        "ec2",
        "describe_launch_template_versions",
        f"cannot look at the launch template {kind.launch_template} of the pool {pool}",
        **name_by_id_or_name(kind.launch_template),
        Versions=[kind.version],
    )["LaunchTemplateVersions"]
    if not found:
        text = f"the launch template {kind.launch_template} of the pool {pool} has no version"
        raise LaunchError(Exit.SETTINGS, f"{text} {kind.version}")
    version: dict[str, Any] = found[0]
    return version
