"""Read the variables of myoung34's docker-github-actions-runner, which many launchers set."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

from sidecar.settings.contracts.contract import GITHUB, Contract

if TYPE_CHECKING:
    from sidecar.settings.contracts.contract import Draft

LONGEST = 39
"""Characters of a name's prefix that are kept: `-` and a unique rest still fit."""


def _read(draft: Draft) -> None:
    _read_token(draft)
    _read_url(draft)
    _read_name(draft)
    draft.take("labels", "RUNNER_LABELS", "LABELS")
    if "labels" not in draft.settings:  # the image's own default, which workflows ask for
        draft.set("labels", "default", "RUNNER_LABELS")
    if draft.env.get("RUNNER_GROUP") != "Default":
        draft.take("runner_group", "RUNNER_GROUP")
    draft.take("work_dir", "RUNNER_WORKDIR")
    if "NO_DEFAULT_LABELS" in draft.env:  # the image takes any text as true
        draft.set("no_default_labels", "true", "NO_DEFAULT_LABELS")
    if draft.env.get("RUN_AS_ROOT") == "true":
        draft.set("runner_user", "root", "RUN_AS_ROOT")
    draft.ignored += [text for is_set, text in _list_ignored(draft) if is_set]


def _read_token(draft: Draft) -> None:
    app = [name for name in ("APP_ID", "APP_PRIVATE_KEY") if name in draft.env]
    others = [name for name in ("ACCESS_TOKEN", "RUNNER_TOKEN") if name in draft.env]
    if app and others:
        draft.missing["github_app_id"] = (
            f"{app[0]} contradicts {others[0]}: the agent is one or the other "
            f"(example: leave {app[0]} out)"
        )
    elif app:
        draft.take("github_app_id", "APP_ID")
        draft.take("github_app_key", "APP_PRIVATE_KEY")
    elif "ACCESS_TOKEN" in draft.env:
        draft.take("github_pat", "ACCESS_TOKEN")
    else:
        draft.take("token", "RUNNER_TOKEN")


def _read_url(draft: Draft) -> None:
    scope = draft.env.get("RUNNER_SCOPE", "").lower()
    scope = scope or ("org" if draft.env.get("ORG_RUNNER") == "true" else "repo")
    host = draft.env.get("GITHUB_HOST", GITHUB).removeprefix("http://").removeprefix("https://")
    server = f"https://{host.strip('/')}"
    if scope.startswith("org"):
        draft.set_url("ORG_NAME", host=server)
    elif scope.startswith("ent"):
        draft.set_url("ENTERPRISE_NAME", host=server)
        if "github_url" in draft.settings:
            base, _, name = draft.settings["github_url"].rpartition("/")
            draft.set("github_url", f"{base}/enterprises/{name}", "ENTERPRISE_NAME")
    elif "REPO_URL" in draft.env:
        draft.take("github_url", "REPO_URL")
    else:
        draft.set_url("REPO_URL")


def _read_name(draft: Draft) -> None:
    prefix = draft.env.get("RUNNER_NAME_PREFIX", "github-runner")
    if "RUNNER_NAME" in draft.env:
        draft.take("name", "RUNNER_NAME")
    elif draft.env.get("RANDOM_RUNNER_SUFFIX", "true") != "true" and "HOSTNAME" in draft.env:
        draft.set("name", f"{prefix}-{draft.env['HOSTNAME']}", "RUNNER_NAME_PREFIX")
    else:
        draft.set("name_prefix", prefix[:LONGEST] + "-", "RUNNER_NAME_PREFIX")


def _list_ignored(draft: Draft) -> list[tuple[bool, str]]:
    """List what the image does and the agent does not: whether it is asked for, and the text."""
    env = draft.env
    return [
        ("EPHEMERAL" not in env, "EPHEMERAL is not set: the runner runs one job all the same"),
        (
            env.get("DISABLE_AUTOMATIC_DEREGISTRATION", "false") != "false",
            "DISABLE_AUTOMATIC_DEREGISTRATION: a runner for one job is always deregistered",
        ),
        (
            "CONFIGURED_ACTIONS_RUNNER_FILES_DIR" in env,
            "CONFIGURED_ACTIONS_RUNNER_FILES_DIR: a registration is never used again",
        ),
        (
            "RUNNER_TOKEN" in env and "ACCESS_TOKEN" in env,
            "RUNNER_TOKEN: ACCESS_TOKEN makes a new one, as in that image",
        ),
        (
            "APP_LOGIN" in env,
            "APP_LOGIN: the installation is looked up by the URL to register with",
        ),
    ]


MYOUNG34 = Contract(
    name="myoung34",
    marks=tuple(
        product(
            ("ACCESS_TOKEN", "APP_ID", "RUNNER_TOKEN"),
            ("REPO_URL", "ORG_NAME", "ENTERPRISE_NAME"),
        )
    ),
    names=frozenset(
        {
            "ACCESS_TOKEN",
            "APP_ID",
            "APP_LOGIN",
            "APP_PRIVATE_KEY",
            "CONFIGURED_ACTIONS_RUNNER_FILES_DIR",
            "DEBUG_ONLY",
            "DEBUG_OUTPUT",
            "DISABLE_AUTOMATIC_DEREGISTRATION",
            "DISABLE_AUTO_UPDATE",
            "ENABLE_RUNNER_WORKDIR_SUFFIX",
            "ENTERPRISE_NAME",
            "EPHEMERAL",
            "GITHUB_HOST",
            "LABELS",
            "NO_DEFAULT_LABELS",
            "ORG_NAME",
            "ORG_RUNNER",
            "RANDOM_RUNNER_SUFFIX",
            "REPO_URL",
            "RUNNER_GROUP",
            "RUNNER_LABELS",
            "RUNNER_NAME",
            "RUNNER_NAME_PREFIX",
            "RUNNER_SCOPE",
            "RUNNER_TOKEN",
            "RUNNER_WORKDIR",
            "RUN_AS_ROOT",
            "START_DOCKER_SERVICE",
            "UNSET_CONFIG_VARS",
        }
    ),
    read=_read,
)
