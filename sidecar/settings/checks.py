"""Check the settings against each other, and write one line for each mistake."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sidecar import host
from sidecar.settings.model import Settings, variable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sidecar.settings import contracts


def contradictions(given: Mapping[str, Any]) -> list[str]:
    problems = []
    said = partial(_is_on, given)
    if "name" in given and "name_prefix" in given:
        problems.append(
            "SIDECAR_NAME_PREFIX contradicts SIDECAR_NAME: a given name has no prefix "
            "(example: leave SIDECAR_NAME_PREFIX out)"
        )
    if said("no_default_labels") and not str(given.get("labels", "")).strip(" ,"):
        problems.append(
            "SIDECAR_NO_DEFAULT_LABELS leaves the runner without any label: set SIDECAR_LABELS "
            "(example: SIDECAR_LABELS=ecs)"
        )
    if said("relay_required") and str(given.get("relay", "auto")).lower() == "off":
        problems.append(
            "SIDECAR_RELAY_REQUIRED contradicts SIDECAR_RELAY=off (example: SIDECAR_RELAY=auto)"
        )
    if said("docker_strict") and str(given.get("docker_proxy", "auto")).lower() == "off":
        problems.append(
            "SIDECAR_DOCKER_STRICT contradicts SIDECAR_DOCKER_PROXY=off: it is the proxy that "
            "refuses (example: SIDECAR_DOCKER_PROXY=auto)"
        )
    for field in ("job_role_arn", "job_policy"):
        if field in given and str(given.get("relay", "auto")).lower() == "off":
            problems.append(
                f"{variable(field)} contradicts SIDECAR_RELAY=off: jobs get it through the relay "
                "(example: SIDECAR_RELAY=auto)"
            )
        if field in given and str(given.get("relay", "auto")).lower() == "pass-through":
            problems.append(
                f"{variable(field)} contradicts SIDECAR_RELAY=pass-through: containers would get "
                "the task role (example: SIDECAR_RELAY=auto)"
            )
    return problems


def token_sources(given: Mapping[str, Any]) -> list[str]:
    """Check that there is one way to the right to register, and that it is whole."""
    app, pat = "github_app_id" in given or "github_app_key" in given, "github_pat" in given
    brought = "token_parameter" in given or "token" in given
    problems = []
    if not (app or pat or brought):
        problems.append(
            "SIDECAR_TOKEN_PARAMETER is missing, and so are SIDECAR_GITHUB_APP_ID and "
            "SIDECAR_GITHUB_PAT (example: SIDECAR_TOKEN_PARAMETER=/actions/tokens/0f3a)"
        )
    if "token_parameter" in given and "token" in given:
        problems.append(
            "SIDECAR_TOKEN contradicts SIDECAR_TOKEN_PARAMETER: one of them holds the token "
            "(example: leave SIDECAR_TOKEN out)"
        )
    problems += _credentials(given, app=app, pat=pat)
    if (app or pat) and "github_url" not in given and not brought:
        problems.append(
            "SIDECAR_GITHUB_URL is missing: there is no parameter to bring it "
            "(example: SIDECAR_GITHUB_URL=https://github.com/octo-org/octo-repo)"
        )
    if _is_on(given, "just_in_time") and (brought or not (app or pat)):
        problems.append(
            "SIDECAR_JUST_IN_TIME needs SIDECAR_GITHUB_APP_ID or SIDECAR_GITHUB_PAT, and no "
            "SIDECAR_TOKEN_PARAMETER (example: leave SIDECAR_JUST_IN_TIME out)"
        )
    return problems


def _credentials(given: Mapping[str, Any], *, app: bool, pat: bool) -> list[str]:
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


def runner_dir(given: Mapping[str, Any]) -> list[str]:
    """Check that the runner is where it is said to be."""
    try:
        installed_runner(Path(given.get("runner_dir", host.DEFAULT_RUNNER_DIR)))
    except ValueError as error:
        shown = _shown("runner_dir", {"runner_dir": host.DEFAULT_RUNNER_DIR, **given})
        return [
            f"SIDECAR_RUNNER_DIR {error}{shown} "
            f"(example: SIDECAR_RUNNER_DIR={example('runner_dir')})"
        ]
    return []


def default_user(launcher: contracts.Reading, command: Sequence[str]) -> str:
    """Say who the runner's processes, or a command, run as where nobody says it.

    The command of a launcher is root nowhere: actions/runner would refuse to be configured.
    """
    if not command:
        return "runner"
    return "runner" if launcher.contract and host.identity("runner") else "root"


def runner_user(given: str | None, default: str) -> tuple[host.Identity | None, list[str]]:
    """Decide who the runner's processes run as; None means: as the agent itself."""
    if not host.is_root():
        if given is None or given == host.own_name():
            return None, []
        problem = (
            f"SIDECAR_RUNNER_USER cannot be {given!r}: the agent is not root and stays "
            f"{host.own_name()!r} (example: leave SIDECAR_RUNNER_USER out)"
        )
        return None, [problem]
    name = given or default
    if name == "root":
        return None, []
    user = host.identity(name)
    if user is None:
        problem = (
            f"SIDECAR_RUNNER_USER names no user of this system: {name!r} "
            "(example: SIDECAR_RUNNER_USER=runner, after useradd runner)"
        )
        return None, [problem]
    return user, []


def problem(detail: Any, given: Mapping[str, Any], variables: Mapping[str, str]) -> str:
    """Write one mistake: the setting, what is wrong with the value, and an example.

    `variables` are a launcher's, by the settings that were read from them.
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


def installed_runner(value: Path) -> Path:
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
    """Quote a wrong value, but for what may be a secret in the wrong place."""
    if not Settings.model_fields[field].repr:
        return ""
    value = re.sub(r"//[^/@]*@", "//***@", str(given.get(field)))
    return f", not {value!r}"


def _is_on(given: Mapping[str, Any], field: str) -> bool:
    """Whether a switch is on, as far as that can be told of a value that may be wrong."""
    return str(given.get(field, "")).lower() in {"1", "true", "yes", "on", "t", "y"}
