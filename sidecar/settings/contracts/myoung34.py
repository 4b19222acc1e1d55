"""Who starts myoung34's docker-github-actions-runner: people, compose files, other launchers."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

from sidecar.settings.contracts.contract import GITHUB, Contract

if TYPE_CHECKING:
    from sidecar.settings.contracts.contract import Draft

LONGEST = 39
"""Characters of a name's beginning that leave room for `-` and what makes it unique."""


def _read(draft: Draft) -> None:
    _right(draft)
    _scope(draft)
    _name(draft)
    draft.take("labels", "RUNNER_LABELS", "LABELS")
    if "labels" not in draft.settings:  # as that image does: people's workflows ask for it
        draft.say("labels", "default", "RUNNER_LABELS")
    if draft.env.get("RUNNER_GROUP") != "Default":
        draft.take("runner_group", "RUNNER_GROUP")
    draft.take("work_dir", "RUNNER_WORKDIR")
    if "NO_DEFAULT_LABELS" in draft.env:  # there any text is a yes
        draft.say("no_default_labels", "true", "NO_DEFAULT_LABELS")
    if draft.env.get("RUN_AS_ROOT") == "true":
        draft.say("runner_user", "root", "RUN_AS_ROOT")
    draft.unheeded += [why for said, why in _otherwise(draft) if said]


def _right(draft: Draft) -> None:
    app = [name for name in ("APP_ID", "APP_PRIVATE_KEY") if name in draft.env]
    others = [name for name in ("ACCESS_TOKEN", "RUNNER_TOKEN") if name in draft.env]
    if app and others:
        draft.missing["github_app_id"] = (
            f"{app[0]} contradicts {others[0]}: the agent is an App or it is not "
            f"(example: leave {app[0]} out)"
        )
    elif app:
        draft.take("github_app_id", "APP_ID")
        draft.take("github_app_key", "APP_PRIVATE_KEY")
    elif "ACCESS_TOKEN" in draft.env:
        draft.take("github_pat", "ACCESS_TOKEN")
    else:
        draft.take("token", "RUNNER_TOKEN")


def _scope(draft: Draft) -> None:
    scope = draft.env.get("RUNNER_SCOPE", "").lower()
    scope = scope or ("org" if draft.env.get("ORG_RUNNER") == "true" else "repo")
    host = draft.env.get("GITHUB_HOST", GITHUB).removeprefix("http://").removeprefix("https://")
    server = f"https://{host.strip('/')}"
    if scope.startswith("org"):
        draft.at("ORG_NAME", host=server)
    elif scope.startswith("ent"):
        draft.at("ENTERPRISE_NAME", host=server)
        if "github_url" in draft.settings:
            front, _, name = draft.settings["github_url"].rpartition("/")
            draft.say("github_url", f"{front}/enterprises/{name}", "ENTERPRISE_NAME")
    elif "REPO_URL" in draft.env:
        draft.take("github_url", "REPO_URL")
    else:
        draft.at("REPO_URL")


def _name(draft: Draft) -> None:
    prefix = draft.env.get("RUNNER_NAME_PREFIX", "github-runner")
    if "RUNNER_NAME" in draft.env:
        draft.take("name", "RUNNER_NAME")
    elif draft.env.get("RANDOM_RUNNER_SUFFIX", "true") != "true" and "HOSTNAME" in draft.env:
        draft.say("name", f"{prefix}-{draft.env['HOSTNAME']}", "RUNNER_NAME_PREFIX")
    else:
        draft.say("name_prefix", prefix[:LONGEST] + "-", "RUNNER_NAME_PREFIX")


def _otherwise(draft: Draft) -> list[tuple[bool, str]]:
    env = draft.env
    return [
        ("EPHEMERAL" not in env, "EPHEMERAL is not set: the runner runs one job all the same"),
        (
            env.get("DISABLE_AUTOMATIC_DEREGISTRATION", "false") != "false",
            "DISABLE_AUTOMATIC_DEREGISTRATION: a runner for one job is always taken away",
        ),
        (
            "CONFIGURED_ACTIONS_RUNNER_FILES_DIR" in env,
            "CONFIGURED_ACTIONS_RUNNER_FILES_DIR: no registration is used twice",
        ),
        (
            "RUNNER_TOKEN" in env and "ACCESS_TOKEN" in env,
            "RUNNER_TOKEN: ACCESS_TOKEN makes a fresh one, as in that image",
        ),
        (
            "APP_LOGIN" in env,
            "APP_LOGIN: the installation is looked up by where to register",
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
