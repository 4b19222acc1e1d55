"""The three files a runner keeps, as a JIT configuration carries them.

JIT differs from `configure`: keys begin with a capital, every value is text, and no GitHub URL is
among them (actions/runner, `RunnerSettings`; issues 2920 and 3330).
"""

import base64
import json
from collections.abc import Mapping

from local.github.runners import Runner

BOM = b"\xef\xbb\xbf"


def tenant(runner_scope_key: str, site: str) -> str:
    """Give the address of the service behind GitHub that a scope's runners talk to."""
    name = base64.urlsafe_b64encode(runner_scope_key.encode()).decode().rstrip("=")
    return tenant_of_name(name, site)


def tenant_of_name(name: str, site: str) -> str:
    """Give that address by its own name."""
    return f"{site}/_services/pipelines/{name}"


def of_jit(runner: Runner, key: Mapping[str, str], site: str, work: str) -> dict[str, bytes]:
    """Write the files of a JIT runner; `key` is the content of its key file."""
    address = tenant(runner.scope.key, site)
    settings = {
        "AgentId": str(runner.id),
        "AgentName": runner.name,
        "DisableUpdate": "True",
        "Ephemeral": "True",
        "PoolId": str(runner.group_id),
        "PoolName": "Default",
        "ServerUrl": address,
        "ServerUrlV2": f"{site}/broker/",
        "UseV2Flow": "True",
        "WorkFolder": work,
    }
    credentials = {
        "Scheme": "OAuth",
        "Data": {
            "AuthorizationUrl": f"{site}/oauth/token",
            "AuthorizationUrlV2": f"{site}/oauth/token",
            "EnableAuthMigrationByDefault": "False",
            "ClientId": runner.client_id,
            "RequireFipsCryptography": "True",
        },
    }
    # Indented as the runner's own serializer does it: the size decides what SSM tier holds it.
    written = {
        ".runner": settings,
        ".credentials": credentials,
        ".credentials_rsaparams": dict(key),
    }
    return {name: BOM + json.dumps(each, indent=2).encode() for name, each in written.items()}
