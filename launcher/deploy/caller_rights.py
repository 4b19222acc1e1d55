"""Find out what each function must be allowed, also for what callers of the API have started."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from launcher.deploy.machine_rights import find_profile_roles
from launcher.deploy.rights import Rights, find_rights, yes_or_no
from launcher.pools.callers import Caller

if TYPE_CHECKING:
    from launcher.deploy.aws import Account
    from launcher.pools.callers import GaroCaller
    from launcher.pools.pool import Pool, Pools

PROFILE, ROLE = ":instance-profile/", ":role/"


@dataclass(frozen=True, slots=True)
class ApiRights:
    """The things that the API uses in its own account, and the roles that it assumes in others."""

    own: Rights
    assumed: tuple[str, ...]
    """ARNs of the callers' roles."""
    tagged: tuple[str, ...]
    """Those of them whose sessions get tags: GARO's contract has none."""

    def parameters(self) -> dict[str, str]:
        """Return them as parameters of api.yaml."""
        return {
            **self.own.parameters(),
            "Accounts": yes_or_no(self.assumed),
            "AccountRoleArns": ",".join(self.assumed),
            "TagsSessions": yes_or_no(self.tagged),
            "TaggedRoleArns": ",".join(self.tagged),
        }


def find_worker_rights(account: Account, pools: Pools) -> Rights:
    """Look up what the worker uses. Raises LaunchError.

    It starts what a webhook asks for, and again what a caller ordered and a fault has ended.
    """
    rights = find_rights(account, pools, pools.names_elsewhere)
    for caller in _list_own_callers(pools):
        rights = _add_choices(account, rights, caller, _list_pools(pools, caller))
    return rights


def find_api_rights(account: Account, pools: Pools) -> ApiRights:
    """Look up what the API uses: only what is listed for its callers. Raises LaunchError."""
    own = _list_own_callers(pools)
    names = {name for caller in own for name in caller.pools}
    rights = find_rights(account, [pool for pool in pools if pool.name in names])
    for caller in own:
        rights = _add_choices(account, rights, caller, _list_pools(pools, caller))
    tagged = {caller.account.role for caller in pools.callers if caller.account is not None}
    assumed = tagged | {caller.account.role for caller in pools.garo}
    return ApiRights(rights, tuple(sorted(assumed)), tuple(sorted(tagged)))


def find_account_rights(account: Account, pools: Pools, caller: Caller | GaroCaller) -> Rights:
    """Look up, in a caller's own account, what is started there for it. Raises LaunchError."""
    found = _list_pools(pools, caller)
    return _add_choices(account, find_rights(account, found), caller, found)


def _list_own_callers(pools: Pools) -> list[Caller]:
    """List the callers whose runners are started in the launcher's own account."""
    return [caller for caller in pools.callers if caller.account is None]


def _list_pools(pools: Pools, caller: Caller | GaroCaller) -> list[Pool]:
    names = caller.pools if isinstance(caller, Caller) else caller.types.values()
    return [pool for pool in pools if pool.name in names]


def _add_choices(
    account: Account, rights: Rights, caller: Caller | GaroCaller, pools: list[Pool]
) -> Rights:
    """Add the roles that a start may name instead of the pool's own.

    One is a task role, or an instance profile where the caller has pools of machines. A name alone
    does not tell which; where both may be meant, it is both.
    """
    roles, machine_roles = set(rights.tasks.roles), set(rights.machines.roles)
    has_tasks = any(pool.machine is None for pool in pools)
    has_machines = any(pool.machine is not None for pool in pools)
    for role in caller.choices.roles:
        if has_tasks and PROFILE not in role:
            roles.add(_name_role(account, role))
        if has_machines and ROLE not in role:
            machine_roles |= find_profile_roles(account, role, f"the caller {caller.name}")
    return Rights(
        replace(rights.tasks, roles=tuple(sorted(roles))),
        replace(rights.machines, roles=tuple(sorted(machine_roles))),
    )


def _name_role(account: Account, role: str) -> str:
    """Return the ARN of a role, which is given by its ARN or its name."""
    named = role.startswith("arn:")
    return role if named else f"arn:{account.partition}:iam::{account.id}:role/{role}"
