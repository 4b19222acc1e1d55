"""The environment of the runner's processes: everything, but for what is the agent's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sidecar.host import Identity

RELAY_URI = "RUNNER_SIDECAR_RELAY_URI"
"""Where a job finds the relay: what AWS SDKs call AWS_CONTAINER_CREDENTIALS_FULL_URI."""

CONTAINER_CREDENTIALS = frozenset(
    {
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    }
)
"""What leads to the ECS agent's credentials, or to those of an endpoint like it."""
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
"""By which AWS SDKs come to credentials: all of them win over, or stand beside, a job's own."""
AGENTS_ENDPOINT = "ECS_AGENT_URI"
"""What is asked there is done with the task role: a job could lift the task's protection."""
METADATA_ENDPOINTS = frozenset({"ECS_CONTAINER_METADATA_URI", "ECS_CONTAINER_METADATA_URI_V4"})
"""Behind the same address as the credentials, and so out of reach where that leads to the relay."""
_NEVER_PROXIED = ("127.0.0.1", "169.254.169.254", "169.254.170.2")


def environment(passed_on: Mapping[str, str], user: Identity | None) -> dict[str, str]:
    """Return what the runner and so every job sees.

    `passed_on` is the agent's own environment without what the agent consumed: proxies,
    certificates and the tool cache go through.
    """
    env = of_user(user, passed_on)
    # Otherwise "this version is too old" is just exit code 1 (Runner.Listener, Program.cs).
    env["ACTIONS_RUNNER_RETURN_VERSION_DEPRECATED_EXIT_CODE"] = "1"
    return env


def of_user(user: Identity | None, passed_on: Mapping[str, str]) -> dict[str, str]:
    """Return `passed_on` as it is for another user; None leaves it as it is."""
    if user is None:
        return dict(passed_on)
    return {**passed_on, "HOME": user.home, "USER": user.name, "LOGNAME": user.name}


def without_agents(
    passed_on: Mapping[str, str], *, separate_job_role: bool, redirected: bool
) -> dict[str, str]:
    """Return `passed_on` without what a job shall not use, or cannot.

    Jobs with a role of their own (`apart`) get nothing that leads to the agent's. Where the ECS
    agent's address leads to the relay (`redirected`), nothing else that is asked there is answered
    either, and what names it goes too.
    """
    withheld: frozenset[str] = frozenset()
    if separate_job_role:
        withheld |= AGENTS_CREDENTIALS | {AGENTS_ENDPOINT}
    if redirected:
        withheld |= CONTAINER_CREDENTIALS | METADATA_ENDPOINTS | {AGENTS_ENDPOINT}
    return {name: value for name, value in passed_on.items() if name not in withheld}


def no_credentials(passed_on: Mapping[str, str]) -> dict[str, str]:
    """Return what keeps a job without credentials from falling through to the instance's."""
    return {"AWS_EC2_METADATA_DISABLED": passed_on.get("AWS_EC2_METADATA_DISABLED") or "true"}


def credentials(passed_on: Mapping[str, str], uri: str, relative: str | None) -> dict[str, str]:
    """Return, as one set, what AWS SDKs need to come to a job's own credentials, and no other.

    `uri` is the relay's; `relative` its path, where the ECS agent's address leads to it. Only one
    of the two is named: SDKs do not agree on which one wins.
    """
    env = no_credentials(passed_on) | {RELAY_URI: uri}
    if relative is not None:
        env["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"] = relative
    else:
        env["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = uri
    region = passed_on.get("AWS_REGION") or passed_on.get("AWS_DEFAULT_REGION")
    if region:  # with the instance's metadata off, some have nowhere else to look for it
        env["AWS_REGION"] = region
        env["AWS_DEFAULT_REGION"] = passed_on.get("AWS_DEFAULT_REGION") or region
    return env | _no_proxy(passed_on)


def _no_proxy(passed_on: Mapping[str, str]) -> dict[str, str]:
    """Keep requests for credentials from a proxy: some SDKs would send them there."""
    if not any(name.lower() in ("http_proxy", "all_proxy") for name in passed_on):
        return {}
    given = passed_on.get("NO_PROXY") or passed_on.get("no_proxy") or ""
    hosts = [word.strip() for word in given.split(",") if word.strip()]
    merged = ",".join(dict.fromkeys((*hosts, *_NEVER_PROXIED)))
    return {"NO_PROXY": merged, "no_proxy": merged}
