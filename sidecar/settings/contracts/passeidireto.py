"""The launcher of PasseiDireto's gh-runner-task-action: a workflow's job that starts a task."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.settings.contracts.contract import GITHUB, Contract

if TYPE_CHECKING:
    from sidecar.settings.contracts.contract import Draft

LONGEST = 39
"""Characters of a name that leave room for `_` and what makes it unique."""


def _read(draft: Draft) -> None:
    draft.take("github_pat", "GITHUB_PERSONAL_TOKEN")
    draft.take("labels", "RUNNER_LABELS")
    if "RUNNER_NAME" in draft.env:  # a workflow's job, as many tasks as there are runs of it
        draft.say("name_prefix", draft.env["RUNNER_NAME"][:LONGEST] + "_", "RUNNER_NAME")
    # The bare name of a repository; older versions sent owner/name. Empty: the organization.
    parts = [draft.server or GITHUB, draft.env["GITHUB_OWNER"]]
    repository = draft.env.get("GITHUB_REPOSITORY", "").rpartition("/")[2]
    name = "GITHUB_REPOSITORY" if repository else "GITHUB_OWNER"
    draft.say("github_url", "/".join([*parts, repository]).rstrip("/"), name)


PASSEIDIRETO = Contract(
    name="passeidireto",
    marks=(("GITHUB_PERSONAL_TOKEN", "GITHUB_OWNER"),),
    names=frozenset(
        {
            "GITHUB_PERSONAL_TOKEN",
            "GITHUB_OWNER",
            "GITHUB_REPOSITORY",
            "RUNNER_NAME",
            "RUNNER_LABELS",
        }
    ),
    read=_read,
)
