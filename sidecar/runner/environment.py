"""Build the environment of the runner's processes: all variables but those of the agent alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.net import proxy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sidecar.host import User

RELAY_URI = "RUNNER_SIDECAR_RELAY_URI"
"""The relay's URI for a job, as in AWS_CONTAINER_CREDENTIALS_FULL_URI of the AWS SDKs."""

CONTAINER_CREDENTIALS = frozenset(
    {
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    }
)
"""Variables that lead to the ECS agent's credentials, or to an endpoint like it."""
AGENTS_CREDENTIALS = CONTAINER_CREDENTIALS | frozenset(
    {
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_SECURITY_TOKEN",
        "AWS_CREDENTIAL_EXPIRATION",
        "AWS_PROFILE",
        "AWS_DEFAULT_PROFILE",
        "AWS_SHARED_CREDENTIALS_FILE",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_ROLE_ARN",
        "AWS_ROLE_SESSION_NAME",
    }
)
"""Variables with which AWS SDKs find credentials; some win over the job's own."""
AGENTS_ENDPOINT = "ECS_AGENT_URI"
"""Calls to this endpoint use the task role: a job could remove the task's protection."""
METADATA_ENDPOINTS = frozenset({"ECS_CONTAINER_METADATA_URI", "ECS_CONTAINER_METADATA_URI_V4"})
"""At the same address as the credentials: not reachable where that leads to the relay."""
_NEVER_PROXIED = ("127.0.0.1", "169.254.169.254", "169.254.170.2")


def build_environment(passed_on: Mapping[str, str], user: User | None) -> dict[str, str]:
    """Return the environment of the runner, and so of every job.

    `passed_on` is the agent's own environment without what the agent consumed: proxies,
    certificates and the tool cache go through.
    """
    env = variables_for_user(user, passed_on)
    # Without it "this version is too old" is only exit code 1 (Runner.Listener, Program.cs).
    env["ACTIONS_RUNNER_RETURN_VERSION_DEPRECATED_EXIT_CODE"] = "1"
    return env


def variables_for_user(user: User | None, passed_on: Mapping[str, str]) -> dict[str, str]:
    """Return `passed_on` with HOME and names of `user`; unchanged if that is None."""
    if user is None:
        return dict(passed_on)
    return {**passed_on, "HOME": user.home, "USER": user.name, "LOGNAME": user.name}


def remove_agent_variables(
    passed_on: Mapping[str, str], *, separate_job_role: bool, redirected: bool
) -> dict[str, str]:
    """Return `passed_on` without the variables that a job must not use, or cannot.

    With a separate job role, nothing may lead to the agent's credentials. Where the ECS agent's
    address leads to the relay (`redirected`), its other endpoints do not answer, so the variables
    that name them are removed too.
    """
    withheld: frozenset[str] = frozenset()
    if separate_job_role:
        withheld |= AGENTS_CREDENTIALS | {AGENTS_ENDPOINT}
    if redirected:
        withheld |= CONTAINER_CREDENTIALS | METADATA_ENDPOINTS | {AGENTS_ENDPOINT}
    return {name: value for name, value in passed_on.items() if name not in withheld}


def disable_instance_role(passed_on: Mapping[str, str]) -> dict[str, str]:
    """Return the variable that keeps a job without credentials from using the instance role."""
    return {"AWS_EC2_METADATA_DISABLED": passed_on.get("AWS_EC2_METADATA_DISABLED") or "true"}


def credential_variables(
    passed_on: Mapping[str, str], uri: str, relative: str | None
) -> dict[str, str]:
    """Return the variables with which AWS SDKs find the job's own credentials, and no others.

    `uri` is the relay's; `relative` is its path, where the ECS agent's address leads to it. Only
    one of the two is set: SDKs do not agree on which one wins.
    """
    env = disable_instance_role(passed_on) | {RELAY_URI: uri}
    if relative is not None:
        env["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"] = relative
    else:
        env["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = uri
    region = passed_on.get("AWS_REGION") or passed_on.get("AWS_DEFAULT_REGION")
    if region:  # without instance metadata, some SDKs have no other source for it
        env["AWS_REGION"] = region
        env["AWS_DEFAULT_REGION"] = passed_on.get("AWS_DEFAULT_REGION") or region
    return env | _no_proxy(passed_on)


def _no_proxy(passed_on: Mapping[str, str]) -> dict[str, str]:
    """Return NO_PROXY for the relay's addresses: some SDKs would send requests to a proxy."""
    if not proxy.names_proxy(passed_on):
        return {}
    merged = proxy.add_hosts(proxy.read_hosts(passed_on), _NEVER_PROXIED)
    return dict.fromkeys(proxy.NO_PROXY, merged)
