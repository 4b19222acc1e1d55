"""Check the settings against each other and the system; describe each mistake in one line."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sidecar import host, values
from sidecar.roles.document import RolesError
from sidecar.settings.given_roles import describe_roles
from sidecar.settings.model import DOCUMENTS, SOURCES, Settings, variable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sidecar.roles.rules import Roles
    from sidecar.settings import contracts

LAUNCH = ("launch_config", "launch_id")
"""Settings that say where a launcher puts the token of this machine or task."""


BRINGING_LABELS = {"token_parameter", "token", *LAUNCH}
"""Settings whose token may bring labels; whether it does is known when it is read."""


def check_contradictions(given: Mapping[str, Any]) -> list[str]:
    """Check that no setting contradicts another one."""
    problems = []
    is_on = partial(_is_on, given)
    relay, proxy = _word(given, "relay"), _word(given, "docker_proxy")
    if "name" in given and "name_prefix" in given:
        problems.append(
            "SIDECAR_NAME_PREFIX contradicts SIDECAR_NAME: a given name has no prefix "
            "(example: leave SIDECAR_NAME_PREFIX out)"
        )
    labels = str(given.get("labels", "")).strip(" ,")
    if is_on("no_default_labels") and not labels and not BRINGING_LABELS & given.keys():
        problems.append(
            "SIDECAR_NO_DEFAULT_LABELS leaves the runner without any label: set SIDECAR_LABELS "
            "(example: SIDECAR_LABELS=ecs)"
        )
    if is_on("relay_required") and relay == "off":
        problems.append(
            "SIDECAR_RELAY_REQUIRED contradicts SIDECAR_RELAY=off (example: SIDECAR_RELAY=auto)"
        )
    if is_on("docker_strict") and proxy == "off":
        problems.append(
            "SIDECAR_DOCKER_STRICT contradicts SIDECAR_DOCKER_PROXY=off: only the proxy refuses "
            "anything (example: SIDECAR_DOCKER_PROXY=auto)"
        )
    return problems + _check_job_roles(given, relay)


def _check_job_roles(given: Mapping[str, Any], relay: str) -> list[str]:
    """Check what gives jobs a role of their own against the relay, and against each other."""
    problems = []
    for field in ("job_role_arn", "job_policy", "roles"):
        if field in given and relay == "off":
            problems.append(
                f"{variable(field)} contradicts SIDECAR_RELAY=off: jobs get it through the relay "
                "(example: SIDECAR_RELAY=auto)"
            )
        if field in given and relay == "pass-through":
            problems.append(
                f"{variable(field)} contradicts SIDECAR_RELAY=pass-through: containers would get "
                "the task role (example: SIDECAR_RELAY=auto)"
            )
        if field != "roles" and field in given and "roles" in given:
            problems.append(
                f"{variable(field)} contradicts SIDECAR_ROLES, whose rules say which role and "
                f"policy a job gets (example: leave {variable(field)} out)"
            )
    return problems


def check_roles(settings: Settings, roles: Roles | None, *, supervising: bool = False) -> list[str]:
    """Check the rules for roles against the other settings.

    `supervising`: whether a command is run, and no runner. `roles`: None where SSM holds them.
    """
    problems = []
    if settings.roles is not None and supervising:
        problems.append(
            "SIDECAR_ROLES contradicts a command after --: only the hooks of the agent's own "
            "runner say who a job is (example: SIDECAR_JOB_ROLE_ARN)"
        )
    if roles is not None and roles.containers and settings.docker_proxy == "off":
        problems.append(
            "SIDECAR_ROLES has [[container]], which contradicts SIDECAR_DOCKER_PROXY=off: only "
            "the proxy sees which container is created (example: SIDECAR_DOCKER_PROXY=auto)"
        )
    return problems


def check_quotes(given: Mapping[str, Any], variables: Mapping[str, str]) -> list[str]:
    """Check that no value has a quotation mark of which there is no second one.

    `variables`: the launcher's variable of each setting that was read from one.
    """
    problems = []
    for field, value in given.items():
        if field in DOCUMENTS:
            continue
        try:
            values.check_quotes(str(value))
        except ValueError as error:
            subject = variables.get(field, variable(field))
            problems.append(f"{subject} {error} (example: {variable(field)}={example(field)})")
    return problems


def check_token_sources(given: Mapping[str, Any], variables: Mapping[str, str]) -> list[str]:
    """Check that the settings name one source of the registration token, completely.

    `variables`: the launcher's variable of each setting that was read from one.
    """
    app, pat = "github_app_id" in given or "github_app_key" in given, "github_pat" in given
    launch = [field for field in LAUNCH if field in given]
    token = "token_parameter" in given or "token" in given or bool(launch)
    problems = []
    if not (app or pat or token):
        problems.append(
            "SIDECAR_TOKEN_PARAMETER is missing, and so are SIDECAR_GITHUB_APP_ID and "
            "SIDECAR_GITHUB_PAT (example: SIDECAR_TOKEN_PARAMETER=/actions/tokens/0f3a)"
        )
    if "token_parameter" in given and "token" in given:
        problems.append(
            "SIDECAR_TOKEN contradicts SIDECAR_TOKEN_PARAMETER: one of them holds the token "
            "(example: leave SIDECAR_TOKEN out)"
        )
    sources = [variables.get(field, variable(field)) for field in SOURCES if field in given]
    if launch and sources:
        problems.append(
            f"{variable(launch[0])} contradicts {sources[0]}: both say where the token comes from "
            f"(example: leave {variable(launch[0])} out)"
        )
    problems += _check_credentials(given, app=app, pat=pat)
    if (app or pat) and "github_url" not in given and not token:
        problems.append(
            "SIDECAR_GITHUB_URL is missing: there is no token parameter that could hold it "
            "(example: SIDECAR_GITHUB_URL=https://github.com/octo-org/octo-repo)"
        )
    if _is_on(given, "just_in_time") and (token or not (app or pat)):
        problems.append(
            "SIDECAR_JUST_IN_TIME needs SIDECAR_GITHUB_APP_ID or SIDECAR_GITHUB_PAT, and no "
            "SIDECAR_TOKEN_PARAMETER (example: leave SIDECAR_JUST_IN_TIME out)"
        )
    return problems


def _check_credentials(given: Mapping[str, Any], *, app: bool, pat: bool) -> list[str]:
    problems = []
    if app and not ("github_app_id" in given and "github_app_key" in given):
        missing = "KEY" if "github_app_id" in given else "ID"
        problems.append(
            f"SIDECAR_GITHUB_APP_{missing} is missing: an App is its id and its key "
            "(example: SIDECAR_GITHUB_APP_KEY=file:/run/secrets/app.pem)"
        )
    if app and pat:
        problems.append(
            "SIDECAR_GITHUB_PAT contradicts SIDECAR_GITHUB_APP_ID: the agent is one or the other "
            "(example: leave SIDECAR_GITHUB_PAT out)"
        )
    return problems


def check_runner_dir(given: Mapping[str, Any]) -> list[str]:
    """Check that the runner's folder holds a runner."""
    try:
        check_installed_runner(Path(given.get("runner_dir", host.DEFAULT_RUNNER_DIR)))
    except ValueError as error:
        shown = _shown("runner_dir", {"runner_dir": host.DEFAULT_RUNNER_DIR, **given})
        problem = f"SIDECAR_RUNNER_DIR {error}{shown} "
        return [f"{problem}(example: SIDECAR_RUNNER_DIR={example('runner_dir')})"]
    return []


def default_user(launcher: contracts.Reading, command: Sequence[str]) -> str:
    """Return the user that the runner, or a command, runs as where no setting says it.

    A launcher's command does not run as root: actions/runner would refuse to be configured.
    """
    if not command:
        return "runner"
    return "runner" if launcher.contract and host.find_user("runner") else "root"


def choose_user(given: str | None, default: str) -> tuple[host.User | None, list[str]]:
    """Choose the user of the runner's processes, None for the agent's own; and list problems."""
    if not host.is_root():
        if given is None or given == host.agent_user_name():
            return None, []
        problem = (
            f"SIDECAR_RUNNER_USER cannot be {given!r}: the agent is not root and stays "
            f"{host.agent_user_name()!r} (example: leave SIDECAR_RUNNER_USER out)"
        )
        return None, [problem]
    name = given or default
    if name == "root":
        return None, []
    user = host.find_user(name)
    if user is None:
        problem = (
            f"SIDECAR_RUNNER_USER names no user of this system: {name!r} "
            "(example: SIDECAR_RUNNER_USER=runner, after useradd runner)"
        )
        return None, [problem]
    return user, []


def describe_problems(
    detail: Any, given: Mapping[str, Any], variables: Mapping[str, str]
) -> list[str]:
    """Describe what is wrong with one setting; a document may have several mistakes.

    `variables`: the launcher's variable of each setting that was read from one.
    """
    error = detail.get("ctx", {}).get("error")
    if isinstance(error, RolesError):
        return describe_roles(error)
    return [_describe_problem(detail, given, variables)]


def _describe_problem(detail: Any, given: Mapping[str, Any], variables: Mapping[str, str]) -> str:
    """Describe one mistake: the setting, what is wrong with its value, and an example.

    `variables`: the launcher's variable of each setting that was read from one.
    """
    field = str(detail["loc"][0])
    if detail["type"] == "missing":
        what = "is missing"
    elif detail["type"] == "value_error":
        what = f"{detail['ctx']['error']}{_shown(field, given)}"
    else:
        message = re.sub(r"^Input should be ", "must be ", detail["msg"])
        what = f"{message}{_shown(field, given)}"
    subject = variables.get(field, variable(field))
    return f"{subject} {what} (example: {variable(field)}={example(field)})"


def check_installed_runner(value: Path) -> Path:
    """Check that a folder holds the actions runner; return it as an absolute path."""
    try:
        found = (value / host.LISTENER).is_file()
    except OSError as error:
        message = f"cannot be looked into: {error.strerror or error}"
        raise ValueError(message) from error
    if not found:
        message = f"holds no {host.LISTENER.as_posix()}; it must be the actions runner's folder"
        raise ValueError(message)
    return value.absolute()


def example(field: str) -> str:
    """Return the example value of a setting."""
    return str((Settings.model_fields[field].examples or [""])[0])


def _shown(field: str, given: Mapping[str, Any]) -> str:
    """Quote the wrong value, unless it may be a secret in the wrong place."""
    if not Settings.model_fields[field].repr:
        return ""
    value = re.sub(r"//[^/@]*@", "//***@", str(given.get(field)))
    return f", not {value!r}"


def _word(given: Mapping[str, Any], field: str) -> str:
    return str(given.get(field, "")).lower()


def _is_on(given: Mapping[str, Any], field: str) -> bool:
    """Return whether a switch is on; its value may still be wrong."""
    return _word(given, field) in {"1", "true", "yes", "on", "t", "y"}
