"""Put the secrets and the pools into SSM, where the functions find them."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from launcher.demand.delivery import SHORTEST_SECRET
from launcher.errors import SettingsError
from launcher.pools.document import ADVANCED_PARAMETER, Problems, parse_pools
from sidecar.github.app_key import read_app_key

if TYPE_CHECKING:
    from launcher.deploy.aws import Account
    from launcher.pools.pool import Pools

WEBHOOK_SECRETS = "webhook-secrets"
APP_KEY, PAT, POOLS = "github-app-key", "github-pat", "pools"


@dataclass(frozen=True, slots=True)
class Secret:
    """One secret and the last part of its parameter's name."""

    name: str
    text: str = field(repr=False)


def parameter(deployment: str, name: str) -> str:
    """Return the name of a parameter of a deployment; launcher.yaml has the same."""
    return f"/runner-launcher/{deployment}/{name}"


def check(given: list[Secret]) -> list[Secret]:
    """Check secrets; return them without the white space around them. Raises SettingsError."""
    problems = [problem for secret in given if (problem := _find_problem(secret))]
    if problems:
        raise SettingsError(*problems)
    return [Secret(secret.name, secret.text.strip()) for secret in given]


def _find_problem(secret: Secret) -> str | None:
    text = secret.text.strip()
    match secret.name:
        case "github-app-key" if read_app_key(text) is None:
            return f"{secret.name} must be a private key in PEM"
        case "github-pat" if not text.startswith(("ghp_", "github_pat_")):
            return f"{secret.name} must be a token that begins with ghp_ or github_pat_"
        case "webhook-secrets" if _shortest_line(text) < SHORTEST_SECRET:
            return f"{secret.name} must have {SHORTEST_SECRET} bytes or more in each line"
    return None


def _shortest_line(text: str) -> int:
    return min((len(line.strip().encode()) for line in text.splitlines()), default=0)


def make_webhook_secret() -> str:
    """Make a secret that nobody can guess."""
    return secrets.token_urlsafe(32)


def put_secrets(
    account: Account, deployment: str, given: list[Secret], key: str | None = None
) -> list[str]:
    """Write secrets as SecureStrings, over those that are there; return the parameters' names."""
    names = []
    for secret in check(given):
        name = parameter(deployment, secret.name)
        account.call(
            "ssm",
            "put_parameter",
            f"cannot write the parameter {name}",
            quotes_aws=False,  # its text may quote the value
            Name=name,
            Value=secret.text,
            Type="SecureString",
            Overwrite=True,
            **({"KeyId": key} if key else {}),
        )
        names.append(name)
    return names


def read_pools(text: str) -> Pools:
    """Read a document of pools that a parameter can hold. Raises SettingsError."""
    pools = parse_pools(text, ADVANCED_PARAMETER)
    if isinstance(pools, Problems):
        raise SettingsError(*pools.lines)
    return pools


def put_pools(account: Account, deployment: str, text: str) -> str:
    """Write the pools' document; return the parameter's name. Over 4 KB it costs money."""
    name = parameter(deployment, POOLS)
    account.call(
        "ssm",
        "put_parameter",
        f"cannot write the parameter {name}",
        Name=name,
        Value=text,
        Type="String",
        Overwrite=True,
        Tier="Intelligent-Tiering",  # Advanced from 4 KB on, and from then on
    )
    return name
