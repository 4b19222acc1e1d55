"""Read the variables of pagopa's terraform-aws-githubrunner: an action starts a task."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.settings.contracts.contract import Contract, Form

if TYPE_CHECKING:
    from sidecar.settings.contracts.contract import Draft


def _read(draft: Draft) -> None:
    draft.take("token", "GITHUB_TOKEN")  # a registration token, in spite of its name
    draft.take("github_url", "GITHUB_REPOSITORY")
    draft.take("name", "RUNNER_NAME")  # its action looks for the runner by this name
    draft.take("labels", "LABELS")
    draft.take("work_dir", "WORK_DIR")
    draft.take("lifetime_limit", "ECS_TASK_MAX_DURATION_SECONDS")
    if draft.env.get("INTERACTIVE_MODE", "").lower() == "true":
        draft.ignored.append("INTERACTIVE_MODE: the agent never asks")


PAGOPA = Contract(
    name="pagopa",
    marks=(("GITHUB_TOKEN", "GITHUB_REPOSITORY"),),
    forms={"GITHUB_REPOSITORY": Form(r"https?://[^/]+/[^/]+/[^/]+/?", "a URL")},
    names=frozenset(
        {
            "ECS_TASK_MAX_DURATION_SECONDS",
            "GITHUB_REPOSITORY",
            "GITHUB_TOKEN",
            "INTERACTIVE_MODE",
            "LABELS",
            "REPLACE_EXISTING_RUNNER",
            "RUNNER_NAME",
            "WORK_DIR",
        }
    ),
    read=_read,
)
