"""Read the variables of PasseiDireto's gh-runner-task-action: a workflow's job starts a task."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.settings.contracts.contract import GITHUB, LONGEST_NAME, Contract

if TYPE_CHECKING:
    from sidecar.settings.contracts.contract import Draft


def _read(draft: Draft) -> None:
    draft.take("github_pat", "GITHUB_PERSONAL_TOKEN")
    draft.take("labels", "RUNNER_LABELS")
    if "RUNNER_NAME" in draft.env:  # every run of the workflow uses the same name
        draft.set("name_prefix", draft.env["RUNNER_NAME"][:LONGEST_NAME] + "_", "RUNNER_NAME")
    # The name of a repository, in older versions owner/name; empty for an organization.
    parts = [draft.server or GITHUB, draft.env["GITHUB_OWNER"]]
    repository = draft.env.get("GITHUB_REPOSITORY", "").rpartition("/")[2]
    name = "GITHUB_REPOSITORY" if repository else "GITHUB_OWNER"
    draft.set("github_url", "/".join([*parts, repository]).rstrip("/"), name)


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
