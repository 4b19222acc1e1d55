"""Deploy what belongs to the API: its function, and the role in a caller's own account."""

from __future__ import annotations

from typing import TYPE_CHECKING

from launcher.deploy.caller_rights import find_account_rights, find_api_rights
from launcher.deploy.stack import TAG, Stack, delete, deploy, read_status, read_template, stack_name
from launcher.errors import SettingsError
from launcher.pools.callers import Caller

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from launcher.deploy.aws import Account
    from launcher.pools.callers import GaroCaller
    from launcher.pools.pool import Pools

API, ACCOUNT = "api", "account"
"""The parts that are named in the stacks' names."""
SHARED = (
    "CodeBucket",
    "CodeKey",
    "Runtime",
    "Architecture",
    "Deployment",
    "GitHubUrl",
    "Scope",
    "GitHubAppId",
    "KmsKeyArn",
    "LogLevel",
)
"""Parameters of launcher.yaml that api.yaml has, too."""
NETWORK = {
    "InVpc": "WorkerInVpc",
    "Subnets": "WorkerSubnets",
    "SecurityGroups": "WorkerSecurityGroups",
}
"""Those whose names differ: where the worker needs a VPC to reach GitHub, so does the API."""
OUTPUTS = {"TableName": "TableName", "AlarmTopicArn": "AlarmTopicArn"}
"""Outputs of launcher.yaml that are parameters of api.yaml."""


def check_callers(pools: Pools) -> None:
    """Refuse to deploy an API that nobody may call. Raises SettingsError."""
    if not pools.callers and not pools.garo:
        raise SettingsError("--api yes needs a [[caller]] or a [[garo]] in the pools")


def is_deployed(account: Account, deployment: str) -> bool:
    """Return whether this deployment has an API."""
    return read_status(account, stack_name(deployment, API)) is not None


def deploy_api(
    account: Account,
    pools: Pools,
    launcher: Stack,
    outputs: Mapping[str, str],
    options: Mapping[str, str],
    say: Callable[[str], None],
) -> dict[str, str]:
    """Deploy the API beside the stack `launcher`, whose outputs are given; return its outputs.

    `options` are parameters of api.yaml alone. Raises LaunchError.
    """
    given = launcher.parameters
    chosen = {name: given[name] for name in SHARED if name in given}
    chosen |= {name: given[theirs] for name, theirs in NETWORK.items()}
    chosen |= {name: outputs[theirs] for name, theirs in OUTPUTS.items()}
    chosen |= {**options, **find_api_rights(account, pools).parameters()}
    name = stack_name(given["Deployment"], API)
    return deploy(account, Stack(name, read_template("api.yaml"), chosen, launcher.tags), say)


def delete_api(account: Account, deployment: str, say: Callable[[str], None]) -> None:
    """Delete the API of a deployment, if it has one. Raises LaunchError."""
    delete(account, stack_name(deployment, API), say)


def deploy_account(
    account: Account,
    pools: Pools,
    name: str,
    api_role: str,
    deployment: str,
    say: Callable[[str], None],
) -> dict[str, str]:
    """Make the role that the API assumes for the caller `name`, in this account of the caller's.

    Raises LaunchError.
    """
    caller = _find_caller(pools, name)
    home = caller.account
    if home is None:
        raise SettingsError(f"{name} has no account of its own: its runners need no other role")
    if home.number != account.id:
        text = f"the account of {name} is {home.number}, and you are signed in to {account.id}"
        raise SettingsError(text)
    path, _, role = f"/{home.role.partition(':role/')[2]}".rpartition("/")
    chosen = {
        "Deployment": deployment,
        "Caller": name,
        "RoleName": role,
        "RolePath": f"{path}/",
        "ApiRoleArn": api_role,
        "ExternalId": home.external_id,
        "TagsSessions": "yes" if isinstance(caller, Caller) else "no",
        **find_account_rights(account, pools, caller).parameters(),
    }
    named = Stack(
        f"{stack_name(deployment, ACCOUNT)}-{name}",
        read_template("account.yaml"),
        chosen,
        {TAG: deployment},
        "CAPABILITY_NAMED_IAM",
    )
    return deploy(account, named, say)


def _find_caller(pools: Pools, name: str) -> Caller | GaroCaller:
    callers: list[Caller | GaroCaller] = [*pools.callers, *pools.garo]
    for caller in callers:
        if caller.name == name:
            return caller
    raise SettingsError(f"--caller {name} is none of the callers in the pools")
