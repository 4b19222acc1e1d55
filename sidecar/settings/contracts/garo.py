"""Read what GARO (github-actions-runner-orchestration) sets on its machines.

Its user data exports these variables and calls a script of the image, with the labels as an
argument. The labels follow from the name too, except the additional one: that is in the tag Label.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.settings.contracts.contract import Contract, Form, tag

if TYPE_CHECKING:
    from sidecar.settings.contracts.contract import Draft

PAT_PARAMETER = "ssm:/github/runner/pat"
LABEL = tag("Label")


def _read(draft: Draft) -> None:
    draft.take("github_pat", "RUNNER_CFG_PAT")
    if "github_pat" not in draft.settings:
        draft.set("github_pat", PAT_PARAMETER, "RUNNER_REPO")
    draft.set_url("RUNNER_REPO")
    draft.take("name", "RUNNER_NAME")
    labels = draft.env["RUNNER_NAME"].split("-")[2:]  # github-runner-<type>-<unique id>
    labels += [draft.env[LABEL]] if LABEL in draft.env else []
    draft.set("labels", ",".join(labels), "RUNNER_NAME")
    draft.region = draft.env.get("RUNNER_REGION")
    draft.ignored.append("RUNNER_NAME: the runner runs one job, and does not wait for another")


GARO = Contract(
    name="garo",
    marks=(("RUNNER_REPO", "RUNNER_NAME"),),
    forms={
        "RUNNER_REPO": Form(r"[\w.-]+/[\w.-]+", "owner/name"),
        "RUNNER_NAME": Form(r"github-runner-[a-z]+-[A-Za-z0-9]+", "github-runner-<type>-<id>"),
    },
    names=frozenset(
        {
            "INSTANCE_ID",
            "RUNNER_CFG_PAT",
            "RUNNER_NAME",
            "RUNNER_REGION",
            "RUNNER_REPO",
        }
    ),
    read=_read,
)
